"""Fusion for streams that belong together in time, lips and voice above all: is what is seen what is heard?"""

from __future__ import annotations

from itertools import combinations
from typing import cast

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
        filled, context, agreement = self._by_stream(features, presence)
        joined = torch.cat([*context.values(), *self._present(presence), *agreement], dim=2)
        parts = [self._verdict(joined), *(filled[name][:, 0] for name in self.single)]  # (B, 2 W), (B, W) each
        return self.read_out(torch.cat(parts, dim=1))  # type: ignore[no-any-return]

    def coalitions(self, features: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        """(B, 2 ** inputs, outputs), see `operators.fusion`: streams by themselves once, behind them once for each set of timed inputs.

        The last row, of all inputs, is computed as in `forward`, by the same operations on the same shapes.
        """
        filled, context, agreement = self._by_stream(features, presence)
        verdicts = self._verdicts(context, presence, agreement)  # (B, 1, 2 W) each
        rows, bits = range(1 << len(filled)), {name: bit for bit, name in enumerate(filled)}
        timed = [sum((row >> bits[name] & 1) << bit for bit, name in enumerate(self.names)) for row in rows]
        parts = [[verdicts[chosen] for chosen in timed]]
        for name in self.single:
            kinds = self._null(name, 1).expand_as(filled[name]), filled[name]
            parts.append([kinds[row >> bits[name] & 1] for row in rows])  # (B, 1, W) each
        some = self.read_out(torch.cat([torch.cat(part[:-1], dim=1) for part in parts], dim=2))  # (B, rows - 1, outputs)
        every = self.read_out(torch.cat([part[-1][:, 0] for part in parts], dim=1))  # (B, outputs)
        return torch.cat([some, every.unsqueeze(1)], dim=1)

    def _by_stream(
        self, features: dict[str, Tensor], presence: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], list[Tensor]]:
        """filled and context, (B, T, W) each, and for every pair how far the two agree, (B, T, lags) each."""
        filled = {name: fill(features[name], presence[name]) for name, fill in self.fill.items()}
        context = {name: block(filled[name]) for name, block in self.context.items()}
        agreement = [
            loud.exp() * agree(context[a], context[b], presence[a], presence[b])
            for loud, agree, (a, b) in zip(self.loudness, self.agree, self.pairs, strict=True)
        ]
        return filled, context, agreement

    def _present(self, presence: dict[str, Tensor]) -> list[Tensor]:
        return [presence[name].unsqueeze(-1) for name in self.names]  # (B, T, 1) each

    def _verdict(self, joined: Tensor) -> Tensor:
        return self.pool(self.trunk(self.join(joined)))  # type: ignore[no-any-return]  # (B, T, joined) -> (B, 2 W)

    def _verdicts(self, context: dict[str, Tensor], presence: dict[str, Tensor], agreement: list[Tensor]) -> list[Tensor]:
        """(B, 1, 2 W) for every set of timed inputs; bit i of its number is the i-th of them."""
        there = [*context.values(), *self._present(presence), *agreement]  # (B, T, parts) each
        absent = [block(self._null(name, context[name].shape[1])) for name, block in self.context.items()]
        gone = [*absent, *(part.new_zeros(1, *part.shape[1:]) for part in there[len(absent) :])]  # (1, T, parts) each
        alone = [1 << bit for bit in range(len(self.names))]
        wanted = [*alone, *alone, *(a | b for a, b in combinations(alone, 2))]  # the sets in which a part is there have these
        joined = [
            torch.cat([a if chosen & want == want else b.expand_as(a) for a, b, want in zip(there, gone, wanted, strict=True)], dim=2)
            for chosen in range(1, (1 << len(alone)) - 1)
        ]
        # Without any input it is the same in every window: a constant, which engines compute when they load the graph.
        none = self._verdict(torch.cat(gone, dim=2)).unsqueeze(1).expand(there[0].shape[0], -1, -1)
        every = self._verdict(torch.cat(there, dim=2)).unsqueeze(1)
        if not joined:
            return [none, every]
        some = self._verdict(torch.stack(joined, dim=1).flatten(0, 1))  # (B * sets, 2 W)
        return [none, *torch.split(some.reshape(-1, len(joined), some.shape[1]), 1, dim=1), every]

    def _null(self, name: str, steps: int) -> Tensor:
        """(1, steps, W): an input that is not there."""
        return cast(Fill, self.fill[name]).null.expand(1, steps, -1)
