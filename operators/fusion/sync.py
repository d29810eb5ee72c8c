"""Fusion for streams that belong together in time, lips and voice above all: is what is seen what is heard?"""

from __future__ import annotations

from itertools import combinations
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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

    def coalitions(self, features: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        """(B, 2 ** inputs, outputs), see `operators.fusion`; the row of all inputs is there too. Only the last layers see every row."""
        filled = {name: fill(features[name], presence[name]) for name, fill in self.fill.items()}  # (B, T, W) each
        pooled = self._pooled(filled, presence)  # (B, 1, 2 W) each
        rows, bits = range(1 << len(filled)), {name: bit for bit, name in enumerate(filled)}
        timed = [sum((row >> bits[name] & 1) << bit for bit, name in enumerate(self.names)) for row in rows]
        parts = [torch.cat([pooled[chosen] for chosen in timed], dim=1)]  # (B, rows, 2 W)
        for name in self.single:
            kinds = self._null(name, 1).expand_as(filled[name]), filled[name]
            parts.append(torch.cat([kinds[row >> bits[name] & 1] for row in rows], dim=1))  # (B, rows, W)
        return self.read_out(torch.cat(parts, dim=2))  # type: ignore[no-any-return]

    def _pooled(self, filled: dict[str, Tensor], presence: dict[str, Tensor]) -> list[Tensor]:
        """(B, 1, 2 W) for every set of timed inputs; bit i of its number is the i-th of them.

        A context is that of the input or that of its absence, computed once each, and so is agreement; the trunk sees each set once.
        """
        joined = self._joined(filled, presence)
        # Without any input it is the same in every window: a constant, which engines compute when they load the graph.
        none = self.pool(self.trunk(joined[0])).unsqueeze(1).expand(joined[-1].shape[0], -1, -1)
        some = self.pool(self.trunk(torch.stack(joined[1:], dim=1).flatten(0, 1)))  # (B * sets, 2 W)
        return [none, *some.reshape(-1, len(joined) - 1, some.shape[1]).split(1, dim=1)]

    def _joined(self, filled: dict[str, Tensor], presence: dict[str, Tensor]) -> list[Tensor]:
        """(B, T, W) for every set of timed inputs; for none of them (1, T, W).

        The join is a sum: of what each input brings, there or not, and of what each pair does where both are there.
        """
        context = {name: block(filled[name]) for name, block in self.context.items()}  # (B, T, W) each
        absent = {name: block(self._null(name, filled[name].shape[1])) for name, block in self.context.items()}  # (1, T, W) each
        agreement = [
            cast(LocalCorrelation, agree).product(context[a], context[b], presence[a], presence[b])  # (B, T, lags)
            for agree, (a, b) in zip(self.agree, self.pairs, strict=True)
        ]
        count = len(self.names)
        sizes = [self.join.out_features] * count + [1] * count + [pair.shape[-1] for pair in agreement]
        shares = torch.split(self.join.weight, sizes, dim=1)
        gone = [F.linear(absent[name], share) for name, share in zip(self.names, shares, strict=False)]
        there = [F.linear(context[name], share) for name, share in zip(self.names, shares, strict=False)]
        told = [presence[name].unsqueeze(-1) * share.squeeze(1) for name, share in zip(self.names, shares[count:], strict=False)]
        agreed = [
            F.linear(pair, loud.exp() * share) for pair, loud, share in zip(agreement, self.loudness, shares[2 * count :], strict=True)
        ]
        joined = []
        for chosen in range(1 << count):
            kept = [bit for bit in range(count) if chosen >> bit & 1]
            terms = [there[bit] + told[bit] if bit in kept else gone[bit] for bit in range(count)]
            terms += [pair for pair, bits in zip(agreed, combinations(range(count), 2), strict=True) if set(bits) <= set(kept)]
            joined.append(sum(terms, self.join.bias))
        return joined

    def _null(self, name: str, steps: int) -> Tensor:
        """(1, steps, W): an input that is not there."""
        return cast(Fill, self.fill[name]).null.expand(1, steps, -1)
