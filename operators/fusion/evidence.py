"""Decision-level fusion for little data: every step of every stream gives evidence by a linear map, and evidence adds up."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from operators.fusion import InputLayout, Layout


class Evidence(nn.Module):
    """One stream: (B, T, D), (B, T) -> (B, outputs), the mean of its steps' evidence by a learned weight for each place in the window.

    The weights begin as a bell around the decided step; missing steps have none, whatever the features hold there.
    """

    def __init__(self, shape: InputLayout, instant_step: int, outputs: int, width: int, dropout: float) -> None:
        super().__init__()
        self.tell = nn.Sequential(nn.Linear(shape.dim, width), nn.Dropout(dropout), nn.Linear(width, outputs))
        self.reach = nn.Parameter(-(torch.arange(shape.steps) - instant_step).abs().float())

    def forward(self, x: Tensor, presence: Tensor) -> Tensor:
        told = torch.where(presence.unsqueeze(-1) > 0.5, self.tell(x), torch.zeros(()))  # (B, T, O)
        weights = F.softplus(self.reach) * presence  # (B, T)
        return (weights.unsqueeze(-1) * told).sum(1) / (weights.sum(1, keepdim=True) + 1e-6)


class EvidenceHead(nn.Module):
    """Logits: a learned prior and the evidence of each stream that is there.

    Nothing in it sees two streams or two steps at once, so it has little to overfit with: a few hundred examples will do. It suits what
    comes in runs (the mood of a speaker, who is at home) and cannot compare streams.
    Source: a product of experts, Hinton 2002, of log-linear experts over neighbouring observations.
    """

    def __init__(self, layout: Layout, *, width: int = 32, dropout: float = 0.1) -> None:
        super().__init__()
        self.streams = nn.ModuleDict(
            {
                name: Evidence(shape, layout.instant_step(shape.steps), layout.outputs, width, dropout)
                for name, shape in layout.inputs.items()
            }
        )
        self.prior = nn.Parameter(torch.zeros(layout.outputs))

    def forward(self, features: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        logits = self.prior.expand(next(iter(presence.values())).shape[0], -1)  # (B, O)
        for name, stream in self.streams.items():
            logits = logits + stream(features[name], presence[name])
        return logits
