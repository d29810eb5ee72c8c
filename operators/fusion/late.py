"""Decision-level fusion: every stream decides for itself, then the opinions are weighed."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from operators.fusion import Layout
from operators.fusion.steps import Opinion


class LateHead(nn.Module):
    """A mixture of the streams' own logits, weighed by a learned confidence and by how much of the stream is there.

    A stream that is missing altogether weighs nothing; with all missing the learned prior is left. It cannot see that two streams
    disagree, only that each is sure: the plain yardstick for the other heads.
    Source: Kittler et al. 1998, "On combining classifiers"; confidence gating as in Jacobs et al. 1991, mixtures of experts.
    """

    def __init__(self, layout: Layout, *, width: int = 64, dropout: float = 0.1) -> None:
        super().__init__()
        self.opinions = nn.ModuleDict(
            {name: Opinion(shape, layout, layout.outputs + 1, width, dropout) for name, shape in layout.inputs.items()}
        )
        self.prior = nn.Parameter(torch.zeros(layout.outputs))
        self.prior_weight = nn.Parameter(torch.tensor(-2.0))

    def forward(self, features: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        total = F.softplus(self.prior_weight).expand(presence[next(iter(presence))].shape[0], 1)  # (B, 1)
        mixed = total * self.prior  # (B, labels)
        for name, opinion in self.opinions.items():
            said = opinion(features[name], presence[name])  # (B, labels + 1)
            weight = F.softplus(said[:, -1:]) * presence[name].mean(1, keepdim=True)  # (B, 1), 0 where nothing is present
            mixed, total = mixed + weight * said[:, :-1], total + weight
        return mixed / total
