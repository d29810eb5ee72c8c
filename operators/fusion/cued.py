"""Fusion where something else says when: word boundaries, a beat, a trigger."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from operators.errors import ContractError
from operators.fusion import Layout
from operators.fusion.steps import Fill, convolutions


class CuedHead(nn.Module):
    """One input is the cue: where in what is to be named each step lies. Every stream reads it, and so do the layers where they meet.

    Known boundaries are worth more to a network as numbers (so long since the start, so long until the end) than as a window that is cut
    there: the context on either side stays, and one pass names every word of it. Context reaches 6 steps to either side of a stream and
    14 more where they have met, so a window of 20 steps on either side of the decided one loses nothing.
    cue: the input's name; left out: no stream is one. Inputs of one step hold for all of them, all others must have the same number.
    Source: own; the two-stage convolutional trunk after Martinez et al. 2020, "Lipreading using temporal convolutional networks".
    """

    def __init__(self, layout: Layout, *, cue: str = "", width: int = 128, joint: int = 192, dropout: float = 0.3) -> None:
        super().__init__()
        timed = layout.timed()
        if len(timed) != 1 or (cue and cue not in layout.inputs):
            raise ContractError(f"CuedHead wants inputs on one time axis and its cue among them, got {sorted(layout.inputs)}, cue {cue!r}")
        ((self.window, names),) = timed.items()
        self.cue, self.names, self.instant_step = cue, [name for name in names if name != cue], layout.instant_step(self.window)
        self.fill = nn.ModuleDict({name: Fill(shape.dim, width) for name, shape in layout.inputs.items()})
        self.context = nn.ModuleDict({name: convolutions(width, (1, 2)) for name in self.names})
        self.drop = nn.Dropout(dropout)
        self.join = nn.Linear((width + 1) * len(layout.inputs), joint)
        self.trunk = convolutions(joint, (1, 2, 4))
        self.say = nn.Linear(joint, layout.outputs)

    def forward(self, features: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        return self.steps(features, presence)[:, self.instant_step]

    def steps(self, features: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        """The same for each of the window's steps as if it were the decided one: (B, T, outputs)."""
        there = {name: presence[name].expand(-1, self.window) for name in self.fill}  # (B, T) each
        filled = {name: fill(features[name], presence[name]).expand(-1, self.window, -1) for name, fill in self.fill.items()}  # (B, T, W)
        cue = filled[self.cue] if self.cue else 0.0
        parts = {**filled, **{name: self.drop(self.context[name](filled[name] + cue)) for name in self.names}}
        met = self.trunk(self.join(torch.cat([*parts.values(), *(mask.unsqueeze(-1) for mask in there.values())], dim=2)))  # (B, T, J)
        return self.say(self.drop(met))  # type: ignore[no-any-return]
