"""Decision-level fusion: every stream decides for itself, then the opinions are weighed."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from operators.fusion import InputLayout, Layout
from operators.fusion.steps import Fill, InstantPool, time_blocks


class LateHead(nn.Module):
    """A mixture of the streams' own logits, weighed by a learned confidence and by how much of the stream is there.

    A stream that is missing altogether weighs nothing; with all missing the learned prior is left. It cannot see that two streams
    disagree, only that each is sure: the plain yardstick for the other heads.
    Source: Kittler et al. 1998, "On combining classifiers"; confidence gating as in Jacobs et al. 1991, mixtures of experts.
    """

    def __init__(self, layout: Layout, *, width: int = 64, dropout: float = 0.1) -> None:
        super().__init__()
        self.opinions = nn.ModuleDict({name: _Opinion(shape, layout, width, dropout) for name, shape in layout.inputs.items()})
        self.prior = nn.Parameter(torch.zeros(layout.labels))
        self.prior_weight = nn.Parameter(torch.tensor(-2.0))

    def forward(self, features: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        total = F.softplus(self.prior_weight).expand(presence[next(iter(presence))].shape[0], 1)  # (B, 1)
        mixed = total * self.prior  # (B, labels)
        for name, opinion in self.opinions.items():
            logits, weight = opinion(features[name], presence[name])  # (B, labels), (B, 1)
            mixed, total = mixed + weight * logits, total + weight
        return mixed / total


class _Opinion(nn.Module):
    """(B, T, D), (B, T) -> logits (B, labels) and weight (B, 1) >= 0; the weight is 0 where nothing is present."""

    def __init__(self, shape: InputLayout, layout: Layout, width: int, dropout: float) -> None:
        super().__init__()
        self.fill = Fill(shape.dim, width)
        self.context = time_blocks(width, (1, 2, 4) if shape.steps > 1 else (), dropout)
        self.pool = InstantPool(width, shape.steps, layout.instant_step(shape.steps))
        self.classify = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, layout.labels + 1))

    def forward(self, x: Tensor, presence: Tensor) -> tuple[Tensor, Tensor]:
        out = self.classify(self.pool(self.context(self.fill(x, presence))))  # (B, labels + 1)
        weight = F.softplus(out[:, -1:]) * presence.mean(1, keepdim=True)
        return out[:, :-1], weight
