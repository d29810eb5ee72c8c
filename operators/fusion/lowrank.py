"""Feature-level fusion by an outer product that is never written out: its weights are a sum of few products."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from operators.fusion import Layout
from operators.fusion.steps import StreamSummary


class LowRankHead(nn.Module):
    """What TensorHead computes, with a weight tensor of rank `rank`: cost grows with the number of streams, not exponentially.

    Source: Liu et al. 2018, "Efficient low-rank multimodal fusion with modality-specific factors" (LMF).
    """

    def __init__(self, layout: Layout, *, width: int = 64, rank: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.summaries = nn.ModuleDict({name: StreamSummary(shape, layout, width, dropout) for name, shape in layout.inputs.items()})
        # The bias is the 1 in front of each stream's vector.
        self.factors = nn.ModuleDict({name: _from_one(nn.Linear(2 * width, rank * width)) for name in layout.inputs})
        self.rank = rank
        self.mix = nn.Parameter(torch.full((rank,), rank**-0.5))
        self.read_out = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, layout.outputs)
        )

    def forward(self, features: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        parts = [
            self.factors[name](summary(features[name], presence[name])).unflatten(1, (self.rank, -1))  # (B, R, W)
            for name, summary in self.summaries.items()
        ]
        product = parts[0]
        for part in parts[1:]:
            product = product * part
        return self.read_out((product * self.mix[:, None]).sum(1))  # type: ignore[no-any-return]


def _from_one(linear: nn.Linear) -> nn.Linear:
    """Starts out around 1: a product of many small numbers would vanish."""
    nn.init.ones_(linear.bias)
    return linear
