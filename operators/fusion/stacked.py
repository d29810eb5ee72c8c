"""Decision-level fusion by stacking: a second model reads the streams' verdicts, and only those."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from operators.fusion import Layout
from operators.fusion.steps import Opinion, there


class StackedHead(nn.Module):
    """Every stream's log-probabilities and whether it is there go into a small network that has the last word.

    It can learn which stream to believe when they disagree. Trained together with the streams, not on held-out folds as in the paper:
    early stopping on validation data stands for that.
    Source: Wolpert 1992, "Stacked generalization".
    """

    def __init__(self, layout: Layout, *, width: int = 64, dropout: float = 0.1) -> None:
        super().__init__()
        self.opinions = nn.ModuleDict(
            {name: Opinion(shape, layout, layout.outputs, width, dropout) for name, shape in layout.inputs.items()}
        )
        seen = (layout.outputs + 1) * len(layout.inputs)
        self.read_out = nn.Sequential(nn.Linear(seen, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, layout.outputs))

    def forward(self, features: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        verdicts = []
        for name, opinion in self.opinions.items():
            present = there(presence[name])  # (B, 1)
            said = torch.log_softmax(opinion(features[name], presence[name]), dim=1)  # (B, labels)
            verdicts += [present * said, present]
        return self.read_out(torch.cat(verdicts, dim=1))  # type: ignore[no-any-return]
