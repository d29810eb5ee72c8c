"""Feature-level fusion by concatenation, with the agreement of the streams as a feature of its own."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor, nn

from operators.fusion import Layout
from operators.fusion.steps import Fill, InstantPool, LocalCorrelation, time_blocks


class ConcatHead(nn.Module):
    """Concatenates what the streams say at each step, convolves over time and reads out around the decided instant.

    Inputs with the same number of steps (> 1) share a time axis: each first gets its own temporal context, each pair its local
    correlation, so that "the lips move and a voice is heard, but they do not match" can be told from "they match".
    Inputs of one step join before the last layers. Source: early fusion as in Ngiam et al. 2011, "Multimodal deep learning".
    """

    def __init__(self, layout: Layout, *, width: int = 64, lags: int = 4, views: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.single = layout.single()
        self.fill = nn.ModuleDict({name: Fill(shape.dim, width) for name, shape in layout.inputs.items()})
        self.axes = nn.ModuleList(_Axis(names, steps, layout, width, lags, views, dropout) for steps, names in layout.timed().items())
        joined = 2 * width * len(self.axes) + width * len(self.single)
        self.read_out = nn.Sequential(nn.Linear(joined, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, layout.outputs))

    def forward(self, features: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        filled = {name: fill(features[name], presence[name]) for name, fill in self.fill.items()}  # (B, T, W) each
        parts = [axis(filled, presence) for axis in self.axes]  # (B, 2 W) each
        parts += [filled[name][:, 0] for name in self.single]  # (B, W) each
        return self.read_out(torch.cat(parts, dim=1))  # type: ignore[no-any-return]


class _Axis(nn.Module):
    """All inputs of one time axis -> (B, 2 W)."""

    def __init__(self, names: list[str], steps: int, layout: Layout, width: int, lags: int, views: int, dropout: float) -> None:
        super().__init__()
        self.names, self.pairs = names, list(combinations(names, 2))
        self.context = nn.ModuleDict({name: time_blocks(width, (1, 2), dropout) for name in names})
        self.agree = nn.ModuleList(LocalCorrelation(width, lags=lags, views=views) for _ in self.pairs)
        channels = (width + 1) * len(names) + (2 * lags + 1) * views * len(self.pairs)
        self.join = nn.Linear(channels, width)
        self.trunk = time_blocks(width, (1, 2, 4), dropout)
        self.pool = InstantPool(width, steps, layout.instant_step(steps))

    def forward(self, filled: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        context = {name: block(filled[name]) for name, block in self.context.items()}  # (B, T, W) each
        agreement = [
            agree(context[a], context[b], presence[a], presence[b])  # (B, T, lags x views)
            for agree, (a, b) in zip(self.agree, self.pairs, strict=True)
        ]
        present = [presence[name].unsqueeze(-1) for name in self.names]  # (B, T, 1) each
        joined = torch.cat([*context.values(), *present, *agreement], dim=2)
        return self.pool(self.trunk(self.join(joined)))  # type: ignore[no-any-return]
