"""Fusion by cross-modal attention: every stream looks at every other for what it lacks, whatever their rates."""

from __future__ import annotations

from itertools import permutations

import torch
from torch import Tensor, nn

from operators.fusion import Layout
from operators.fusion.steps import Attention, Fill, InstantPool, open_mask, time_blocks


class CrossModalHead(nn.Module):
    """Each stream's steps ask the steps of each other stream, then one another; the answers are pooled around the decided instant.

    Streams need not share a time axis: attention finds what belongs together. Each stream has a null token that is always open.
    Source: Tsai et al. 2019, "Multimodal transformer for unaligned multimodal language sequences" (MulT).
    """

    def __init__(self, layout: Layout, *, width: int = 64, layers: int = 1, heads: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        inputs = layout.inputs
        self.fill = nn.ModuleDict({name: Fill(shape.dim, width) for name, shape in inputs.items()})
        self.context = nn.ModuleDict({name: time_blocks(width, (1,) if shape.steps > 1 else (), dropout) for name, shape in inputs.items()})
        self.place = nn.ParameterDict({name: 0.02 * torch.randn(shape.steps, width) for name, shape in inputs.items()})
        self.null = nn.ParameterDict({name: 0.02 * torch.randn(1, 1, width) for name in inputs})
        self.pairs = list(permutations(inputs, 2))
        self.ask = nn.ModuleList(_Asking(width, layers, heads, dropout) for _ in self.pairs)
        others = max(1, len(inputs) - 1)
        self.join = nn.ModuleDict({name: nn.Linear(others * width, width) for name in inputs})
        self.among = nn.ModuleDict({name: Attention(width, heads, dropout) for name in inputs})
        self.pool = nn.ModuleDict({name: InstantPool(width, s.steps, layout.instant_step(s.steps)) for name, s in inputs.items()})
        joined = (2 * width + 1) * len(inputs)
        self.read_out = nn.Sequential(nn.Linear(joined, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, layout.outputs))

    def forward(self, features: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        own = {
            name: self.context[name](fill(features[name], presence[name])) + self.place[name] for name, fill in self.fill.items()
        }  # (B, T, W) each
        seen = {name: torch.cat([self.null[name].expand(x.shape[0], -1, -1), x], dim=1) for name, x in own.items()}  # (B, 1 + T, W) each
        mask = {name: open_mask(presence[name], 1) for name in own}  # (B, 1, 1, 1 + T) each
        told: dict[str, list[Tensor]] = {name: [] for name in own}
        for (asks, asked), ask in zip(self.pairs, self.ask, strict=True):
            told[asks].append(ask(own[asks], seen[asked], mask[asked]))  # (B, T, W)
        parts = []
        for name, x in own.items():
            joined = self.join[name](torch.cat(told[name] or [x], dim=2))  # (B, T, W)
            tokens = torch.cat([self.null[name].expand(x.shape[0], -1, -1), joined], dim=1)
            parts += [
                self.pool[name](self.among[name](joined, tokens, mask[name])),
                presence[name].mean(1, keepdim=True),
            ]  # (B, 2 W), (B, 1)
        return self.read_out(torch.cat(parts, dim=1))  # type: ignore[no-any-return]


class _Asking(nn.Module):
    """One stream's steps, changed layer by layer by what they find in another stream: (B, S, W), (B, K, W) -> (B, S, W)."""

    def __init__(self, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Attention(width, heads, dropout) for _ in range(layers))

    def forward(self, x: Tensor, seen: Tensor, mask: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, seen, mask)
        return x
