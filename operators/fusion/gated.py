"""Feature-level fusion by gates: for every feature, how much of each stream to let through."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from operators.fusion import Layout
from operators.fusion.steps import StreamSummary, there


class GatedHead(nn.Module):
    """Each stream's summary is squashed, weighed feature by feature with a gate that sees all streams, and added up.

    A gate also knows which streams are there: one that is missing is closed, and what is left is scaled up to keep the sum's size.
    Source: Arevalo et al. 2017, "Gated multimodal units for information fusion".
    """

    def __init__(self, layout: Layout, *, width: int = 64, dropout: float = 0.1) -> None:
        super().__init__()
        self.summaries = nn.ModuleDict({name: StreamSummary(shape, layout, width, dropout) for name, shape in layout.inputs.items()})
        seen = (2 * width + 1) * len(layout.inputs)
        self.squash = nn.ModuleDict({name: nn.Linear(2 * width, width) for name in layout.inputs})
        self.gate = nn.ModuleDict({name: nn.Linear(seen, width) for name in layout.inputs})
        self.nothing = nn.Parameter(torch.zeros(width))
        self.read_out = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, layout.outputs))

    def forward(self, features: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        summaries = {name: summary(features[name], presence[name]) for name, summary in self.summaries.items()}  # (B, 2 W) each
        present = {name: there(presence[name]) for name in summaries}  # (B, 1) each
        seen = torch.cat([*summaries.values(), *present.values()], dim=1)  # (B, M (2 W + 1))
        mixed, total = self.nothing * 1e-2, torch.full_like(seen[:, :1], 1e-2)  # (W,), (B, 1): all that is left when nothing is there
        for name, gate in self.gate.items():
            weight = torch.sigmoid(gate(seen)) * present[name]  # (B, W)
            mixed, total = mixed + weight * torch.tanh(self.squash[name](summaries[name])), total + weight
        return self.read_out(mixed / total)  # type: ignore[no-any-return]
