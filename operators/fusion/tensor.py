"""Feature-level fusion by the outer product: every feature of each stream times every feature of the others."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from operators.errors import ContractError
from operators.fusion import Layout
from operators.fusion.steps import StreamSummary

_LARGEST = 1 << 16


class TensorHead(nn.Module):
    """Each stream is a short vector with a 1 in front; their outer product holds all single features, pairs, triples ...

    rank: length of each stream's vector. The product has (rank + 1) ** streams entries, at most 65536, else ContractError:
    `lowrank` does the same for more streams. Source: Zadeh et al. 2017, "Tensor fusion network" (TFN).
    """

    def __init__(self, layout: Layout, *, width: int = 64, rank: int = 12, dropout: float = 0.1) -> None:
        super().__init__()
        entries = (rank + 1) ** len(layout.inputs)
        if entries > _LARGEST:
            raise ContractError(
                f"TensorHead: {len(layout.inputs)} streams of rank {rank} make a product of {entries} entries, {_LARGEST} are allowed"
            )
        self.summaries = nn.ModuleDict({name: StreamSummary(shape, layout, width, dropout) for name, shape in layout.inputs.items()})
        self.shorten = nn.ModuleDict({name: nn.Sequential(nn.Linear(2 * width, rank), nn.Tanh()) for name in layout.inputs})
        self.read_out = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(entries, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, layout.outputs)
        )

    def forward(self, features: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        short = [self.shorten[name](summary(features[name], presence[name])) for name, summary in self.summaries.items()]  # (B, R) each
        with_one = [torch.cat([torch.ones_like(part[:, :1]), part], dim=1) for part in short]  # (B, R + 1) each
        product = with_one[0]
        for part in with_one[1:]:
            product = (product.unsqueeze(2) * part.unsqueeze(1)).flatten(1)  # (B, (R + 1) ** so many)
        return self.read_out(product)  # type: ignore[no-any-return]
