"""Decision-level fusion by the mean: every stream decides for itself, and all that are there count alike."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from operators.fusion import Layout
from operators.fusion.steps import Opinion, there

_PRIOR_SHARE = 1e-3
"""So little counts the learned prior while any stream is there; alone it is all there is."""


class MeanHead(nn.Module):
    """The logarithm of the mean of the streams' probabilities: the sum rule. Streams that are missing have no vote.

    Source: Kittler et al. 1998, "On combining classifiers".
    """

    def __init__(self, layout: Layout, *, width: int = 64, dropout: float = 0.1) -> None:
        super().__init__()
        self.opinions = nn.ModuleDict(
            {name: Opinion(shape, layout, layout.outputs, width, dropout) for name, shape in layout.inputs.items()}
        )
        self.prior = nn.Parameter(torch.zeros(layout.outputs))

    def forward(self, features: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        mixed = _PRIOR_SHARE * torch.softmax(self.prior, dim=0)  # (labels,)
        total = torch.full_like(next(iter(presence.values()))[:, :1], _PRIOR_SHARE)  # (B, 1)
        for name, opinion in self.opinions.items():
            votes = there(presence[name])  # (B, 1)
            mixed = mixed + votes * torch.softmax(opinion(features[name], presence[name]), dim=1)  # (B, labels)
            total = total + votes
        return torch.log(mixed / total + 1e-6)
