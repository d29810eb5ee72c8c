"""Encoders that remember: each packet's embedding is made from it and from the embedding of the packet encoded before it.

Encoder(dim, shape, **options)       with `carries = True`, and `carry: true` beside it in model.yaml
encoder(x, before) -> (N, dim)       before: (N, dim), zeros where nothing came before

The embedding is the whole state: whoever keeps the last one can go on from it, and a packet is still encoded once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from operators.encoders import Standardised
from operators.errors import ContractError
from operators.gates import gated


class PacketGRU(nn.Module):
    """A gated recurrent unit over the packets of a stream, (N, *shape), (N, dim) -> (N, dim): readings, blocks of log-mel frames."""

    carries = True

    def __init__(self, dim: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        numbers = torch.Size(shape).numel()
        self.standardise = Standardised(torch.Size(shape).numel(), shape)
        self.see = nn.Sequential(nn.Linear(numbers, dim), nn.ReLU())
        self.new, self.old = nn.Linear(dim, 3 * dim), nn.Linear(dim, 3 * dim)

    def set_normalisation(self, mean: Tensor, deviation: Tensor) -> None:
        self.standardise.set_normalisation(mean, deviation)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        return gated(self.new(self.see(self.standardise(x))), self.old(before), before)


class PacketTransformer(nn.Module):
    """Causal self-attention over the last `memory` packets of a stream, (N, *shape), (N, dim) -> (N, dim).

    dim is memory x width. An embedding is [what is said | this packet's token | the memory - 2 tokens before it], width numbers each:
    the cache of tokens travels in it, so no packet is looked at twice. A place that is still empty is a token of zeros.
    Source: Vaswani et al. 2017; caching what was computed for earlier positions: Shazeer 2019, "Fast transformer decoding".
    """

    carries = True

    def __init__(self, dim: int, shape: tuple[int, ...], *, memory: int = 8, heads: int = 2) -> None:
        super().__init__()
        width = dim // memory
        if memory < 3 or dim % memory or width % heads:
            raise ContractError(f"PacketTransformer wants memory >= 3 and dim = memory x heads x n, got {dim}, {memory} and {heads}")
        self.memory, self.heads, self.scale = memory, heads, (width // heads) ** -0.5
        self.standardise = Standardised(torch.Size(shape).numel(), shape)
        self.token = nn.Linear(torch.Size(shape).numel(), width)
        self.place = nn.Parameter(0.02 * torch.randn(memory - 1, width))  # of the newest token first
        self.query, self.key_value, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))

    def set_normalisation(self, mean: Tensor, deviation: Tensor) -> None:
        self.standardise.set_normalisation(mean, deviation)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        token = torch.tanh(self.token(self.standardise(x)))  # (N, W)
        earlier = before.reshape(before.shape[0], self.memory, -1)[:, 1 : self.memory - 1]  # (N, memory - 2, W)
        tokens = torch.cat([token.unsqueeze(1), earlier], dim=1)  # (N, memory - 1, W)
        seen = self.norm(tokens + self.place)
        q = self.query(seen[:, :1]).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (N, H, 1, W / H)
        k, v = self.key_value(seen).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)  # (N, H, memory - 1, W / H) each
        weights = torch.softmax(q @ k.transpose(2, 3) * self.scale, dim=-1)
        said = token + self.out((weights @ v).transpose(1, 2).flatten(1))  # (N, W)
        said = said + self.mlp(self.mlp_norm(said))
        return torch.cat([said, tokens.flatten(1)], dim=1)
