"""A network that somebody else wrote, as an encoder or a head: named in a training config, never imported by who runs the model.

    encoder: {use: "operators.own:OwnModule", of: "mine.nets:LipNet", dim: 64, ...}     -> LipNet(dim, shape, ...)
    head: {use: "operators.own:OwnModule", of: "mine.nets:Fuse", ...}                   -> Fuse(layout, ...)

A model directory stays data: the trained network is in its ONNX graphs, and `of` is a remark there.
"""

from __future__ import annotations

from torch import nn

from operators.errors import ContractError


class OwnModule(nn.Module):
    """Stands for the class in `of`; `operators.network.build_network` puts that in its place where it is told how to find it."""

    def __init__(self, *, of: str, **options: object) -> None:
        super().__init__()
        raise ContractError(f"{of} is its trainer's own network, which only training may import: run the model with the onnx backend")
