"""Fusion by attention through a bottleneck: streams tell one another only what fits into a few tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from operators.fusion import Layout
from operators.fusion.steps import Attention, Fill, open_mask, time_blocks


class BottleneckHead(nn.Module):
    """Every stream is a transformer of its own over its steps and `tokens` shared ones; after each layer the shared ones are averaged.

    Cost grows with the sum of the streams' lengths, not with its square. The shared tokens are always open.
    A stream's word in the average counts by how much of it is there.
    Source: Nagrani et al. 2021, "Attention bottlenecks for multimodal fusion" (MBT).
    """

    def __init__(self, layout: Layout, *, width: int = 64, layers: int = 2, heads: int = 4, tokens: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        inputs = layout.inputs
        self.fill = nn.ModuleDict({name: Fill(shape.dim, width) for name, shape in inputs.items()})
        self.context = nn.ModuleDict(
            {name: time_blocks(width, (1, 2) if shape.steps > 1 else (), dropout) for name, shape in inputs.items()}
        )
        self.place = nn.ParameterDict({name: 0.02 * torch.randn(shape.steps, width) for name, shape in inputs.items()})
        self.shared = nn.Parameter(0.02 * torch.randn(1, tokens, width))
        self.layers = nn.ModuleList(nn.ModuleDict({name: Attention(width, heads, dropout) for name in inputs}) for _ in range(layers))
        self.read_out = nn.Sequential(
            nn.LayerNorm(tokens * width), nn.Linear(tokens * width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, layout.outputs)
        )

    def forward(self, features: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        steps = {
            name: self.context[name](fill(features[name], presence[name])) + self.place[name] for name, fill in self.fill.items()
        }  # (B, T, W) each
        count = self.shared.shape[1]
        mask = {name: open_mask(presence[name], count) for name in steps}  # (B, 1, 1, tokens + T) each
        weight = {name: presence[name].mean(1)[:, None, None] + 1e-2 for name in steps}  # (B, 1, 1) each, never all 0
        total = torch.stack(list(weight.values())).sum(0)
        shared = self.shared.expand(next(iter(steps.values())).shape[0], -1, -1)  # (B, tokens, W)
        for layer in self.layers:
            told = []
            for name, x in steps.items():
                both = torch.cat([shared, x], dim=1)  # (B, tokens + T, W)
                both = layer[name](both, both, mask[name])  # type: ignore[index]
                steps[name] = both[:, count:]
                told.append(weight[name] * both[:, :count])
            shared = torch.stack(told).sum(0) / total
        return self.read_out(shared.flatten(1))  # type: ignore[no-any-return]
