"""Decision-level fusion by fixed weights: every stream decides for itself, and each counts as it earned in training."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from operators.fusion import Layout
from operators.fusion.steps import Opinion, there

_PRIOR_SHARE = 1e-3


class WeightedHead(nn.Module):
    """The logarithm of a weighted mean of the streams' probabilities; one learned weight a stream and label, the same for all windows.

    A weight by label because a stream may be good at telling one label and useless for another. Streams that are missing weigh nothing.
    Source: Kittler et al. 1998, "On combining classifiers"; linear opinion pools, Genest and Zidek 1986.
    """

    def __init__(self, layout: Layout, *, width: int = 64, dropout: float = 0.1) -> None:
        super().__init__()
        self.opinions = nn.ModuleDict(
            {name: Opinion(shape, layout, layout.outputs, width, dropout) for name, shape in layout.inputs.items()}
        )
        self.weights = nn.ParameterDict({name: torch.zeros(layout.outputs) for name in layout.inputs})
        self.prior = nn.Parameter(torch.zeros(layout.outputs))

    def forward(self, features: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        mixed = _PRIOR_SHARE * torch.softmax(self.prior, dim=0)  # (labels,)
        total = torch.full_like(next(iter(presence.values()))[:, :1], _PRIOR_SHARE)  # (B, 1)
        for name, opinion in self.opinions.items():
            weight = F.softplus(self.weights[name]) * there(presence[name])  # (B, labels)
            mixed = mixed + weight * torch.softmax(opinion(features[name], presence[name]), dim=1)
            total = total + weight
        return torch.log(mixed / total + 1e-6)
