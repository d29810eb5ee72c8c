"""Fusion by a recurrent network that reads the whole window both ways: for what the neighbours of an instant tell of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from operators.errors import ContractError
from operators.fusion import Layout
from operators.fusion.steps import Fill
from operators.gates import gated


class BothWays(nn.Module):
    """A gated recurrent unit forwards and another backwards over the steps: (B, T, W) -> (B, T, 2 W).

    Source: Schuster and Paliwal 1997, "Bidirectional recurrent neural networks". Step by step, both directions as one product, so that it
    exports to plain operations whatever an engine has for recurrent layers.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        reach = width**-0.5
        self.new = nn.Parameter(torch.empty(2, width, 3 * width).uniform_(-reach, reach))
        self.old = nn.Parameter(torch.empty(2, width, 3 * width).uniform_(-reach, reach))
        self.new_bias = nn.Parameter(torch.empty(2, 1, 3 * width).uniform_(-reach, reach))
        self.old_bias = nn.Parameter(torch.empty(2, 1, 3 * width).uniform_(-reach, reach))

    def forward(self, x: Tensor) -> Tensor:
        steps = x.unbind(1)  # (B, W) each
        state = torch.stack([torch.zeros_like(steps[0])] * 2)  # (2, B, W)
        states = []
        for forwards, backwards in zip(steps, reversed(steps), strict=True):
            new = torch.stack([forwards, backwards]) @ self.new + self.new_bias  # (2, B, 3 W)
            state = gated(new, state @ self.old + self.old_bias, state)
            states.append(state)
        told = [torch.cat([there[0], back[1]], dim=1) for there, back in zip(states, reversed(states), strict=True)]
        return torch.stack(told, dim=1)


class RecurrentHead(nn.Module):
    """Every step's streams as one sum of projections, read both ways, decided at the instant's step.

    Inputs of one step are in every step's sum. All others must have the same number of steps.
    dropout: of the features, and of what is read.
    Source: the utterance-level context of Poria et al. 2017, "Context-dependent sentiment analysis in user-generated videos".
    """

    def __init__(self, layout: Layout, *, width: int = 48, dropout: float = 0.1) -> None:
        super().__init__()
        timed = layout.timed()
        if len(timed) > 1:
            raise ContractError(f"RecurrentHead wants inputs on one time axis, got step counts {sorted(timed)}")
        self.instant_step = layout.instant_step(next(iter(timed), 1))
        self.fill = nn.ModuleDict({name: Fill(shape.dim, width) for name, shape in layout.inputs.items()})
        self.read = BothWays(width)
        self.decide = nn.Linear(2 * width, layout.outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        filled = [fill(self.dropout(features[name]), presence[name]) for name, fill in self.fill.items()]  # (B, T or 1, W) each
        joined = filled[0]
        for part in filled[1:]:
            joined = joined + part  # (B, T, W)
        read = self.read(self.dropout(F.relu(joined)))[:, self.instant_step]  # (B, 2 W)
        return self.decide(self.dropout(read))  # type: ignore[no-any-return]
