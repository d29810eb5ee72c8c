"""Fusion for streams that belong together in time, lips and voice above all: is what is seen what is heard?"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor, nn

from operators.errors import ContractError
from operators.fusion import Layout
from operators.fusion.steps import Fill, InstantPool, LocalCorrelation, convolutions


class SyncHead(nn.Module):
    """Every stream gets a wide temporal context of its own; then all pairs are compared at every delay, step by step.

    Like ConcatHead, with what a lip-sync judgement needs: batch-normalised convolutions over 2 x `blocks` steps to either side before the
    streams meet, one long vector a step to compare, and dilated convolutions behind it: a verdict on a dub is the sum of many steps.
    Inputs of one step join before the last layers. All inputs of more than one step must have the same number of them.
    Source: SyncNet, Chung and Zisserman 2016, "Out of time: automated lip sync in the wild", here with a classifier on top.
    """

    def __init__(self, layout: Layout, *, width: int = 96, blocks: int = 3, lags: int = 8, dropout: float = 0.1) -> None:
        super().__init__()
        timed = layout.timed()
        if len(timed) != 1:
            raise ContractError(f"SyncHead wants inputs on one time axis, got step counts {sorted(timed)}")
        ((steps, self.names),) = timed.items()
        self.single = layout.single()
        self.fill = nn.ModuleDict({name: Fill(shape.dim, width) for name, shape in layout.inputs.items()})
        self.context = nn.ModuleDict({name: convolutions(width, (1,) * blocks) for name in self.names})
        self.pairs = list(combinations(self.names, 2))
        self.agree = nn.ModuleList(LocalCorrelation(width, lags=lags, views=1, dim=width) for _ in self.pairs)
        # Log: cosines are small numbers beside features.
        self.loudness = nn.ParameterList(nn.Parameter(torch.tensor(2.0)) for _ in self.pairs)
        self.join = nn.Linear((width + 1) * len(self.names) + (2 * lags + 1) * len(self.pairs), width)
        self.trunk = convolutions(width, tuple(2**block for block in range(blocks)))
        self.pool = InstantPool(width, steps, layout.instant_step(steps))
        joined = 2 * width + width * len(self.single)
        self.read_out = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(joined, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, layout.outputs)
        )

    def forward(self, features: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        filled = {name: fill(features[name], presence[name]) for name, fill in self.fill.items()}  # (B, T, W) each
        context = {name: block(filled[name]) for name, block in self.context.items()}  # (B, T, W) each
        agreement = [
            loud.exp() * agree(context[a], context[b], presence[a], presence[b])  # (B, T, lags)
            for loud, agree, (a, b) in zip(self.loudness, self.agree, self.pairs, strict=True)
        ]
        present = [presence[name].unsqueeze(-1) for name in self.names]  # (B, T, 1) each
        joined = self.join(torch.cat([*context.values(), *present, *agreement], dim=2))  # (B, T, W)
        parts = [self.pool(self.trunk(joined)), *(filled[name][:, 0] for name in self.single)]  # (B, 2 W), (B, W) each
        return self.read_out(torch.cat(parts, dim=1))  # type: ignore[no-any-return]
