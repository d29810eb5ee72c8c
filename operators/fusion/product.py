"""Decision-level fusion by the product: every stream adds its evidence, and one that is sure can veto."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from operators.fusion import Layout
from operators.fusion.steps import Opinion, there


class ProductHead(nn.Module):
    """Logits of a product of experts: a learned prior plus the evidence of each stream that is there.

    An expert that is missing is left out of the product, which is exact where streams are independent given the label.
    Source: Hinton 2002, "Training products of experts"; with missing streams: Wu and Goodman 2018.
    """

    def __init__(self, layout: Layout, *, width: int = 64, dropout: float = 0.1) -> None:
        super().__init__()
        self.opinions = nn.ModuleDict(
            {name: Opinion(shape, layout, layout.outputs, width, dropout) for name, shape in layout.inputs.items()}
        )
        self.prior = nn.Parameter(torch.zeros(layout.outputs))

    def forward(self, features: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        logits = self.prior.expand(next(iter(presence.values())).shape[0], -1)  # (B, labels)
        for name, opinion in self.opinions.items():
            logits = logits + there(presence[name]) * opinion(features[name], presence[name])
        return logits
