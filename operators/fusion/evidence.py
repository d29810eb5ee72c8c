"""Decision-level fusion for little data: every step of every stream gives evidence by a linear map, and evidence adds up."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from operators.fusion import InputLayout, Layout


class Evidence(nn.Module):
    """One stream: (B, T, D), (B, T) -> (B, outputs): the decided step's evidence, and `around` times the mean of the other steps'.

    Steps that are missing give none, whatever the features hold there.
    """

    own: Tensor

    def __init__(self, shape: InputLayout, instant_step: int, outputs: int, width: int, around: float, dropout: float) -> None:
        super().__init__()
        narrow = [nn.Linear(shape.dim, width)] if width else []
        self.tell = nn.Sequential(*narrow, nn.Dropout(dropout), nn.Linear(width or shape.dim, outputs))
        self.around = around
        self.register_buffer("own", (torch.arange(shape.steps) == instant_step).float(), persistent=False)

    def forward(self, x: Tensor, presence: Tensor) -> Tensor:
        told = torch.where(presence.unsqueeze(-1) > 0.5, self.tell(x), torch.zeros(()))  # (B, T, O)
        others = presence * (1 - self.own)  # (B, T)
        weights = self.own + self.around * others / others.sum(1, keepdim=True).clamp(min=1)
        return (weights.unsqueeze(-1) * told).sum(1)


class EvidenceHead(nn.Module):
    """Logits: a learned prior and the evidence of each stream that is there.

    Nothing in it sees two streams or two steps at once, so it has little to overfit with: a few hundred examples will do. It suits what
    comes in runs (the mood of a speaker, who is at home) and cannot compare streams. How far neighbours count is told, not learned: a
    stream that knows the training labels too well would learn that they do not.
    width: 0, or the rank of each stream's map. around: what the mean of the other steps counts, the decided one being 1.
    Source: a product of experts, Hinton 2002, of log-linear experts over neighbouring observations.
    """

    def __init__(self, layout: Layout, *, width: int = 0, around: float = 0.5, dropout: float = 0.1) -> None:
        super().__init__()
        self.streams = nn.ModuleDict(
            {
                name: Evidence(shape, layout.instant_step(shape.steps), layout.outputs, width, around, dropout)
                for name, shape in layout.inputs.items()
            }
        )
        self.prior = nn.Parameter(torch.zeros(layout.outputs))

    def forward(self, features: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        logits = self.prior.expand(next(iter(presence.values())).shape[0], -1)  # (B, O)
        for name, stream in self.streams.items():
            logits = logits + stream(features[name], presence[name])
        return logits
