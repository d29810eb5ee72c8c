"""Fusion by attention: every step of every stream is a token, and a query token reads the decision out of them."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor, nn

from operators.fusion import Layout
from operators.fusion.steps import CLOSED, Fill, LocalCorrelation, time_blocks


class AttentionHead(nn.Module):
    """A small transformer over the tokens of all streams.

    token = projected step + its stream's and step's embedding; inputs that share a time axis also get their local correlation added.
    Missing steps are closed by an additive mask. One more token a stream says how much of it is missing and, like the query, is always
    open: no row of the attention is ever fully masked.
    Source: Vaswani et al. 2017; over several modalities with missing ones: Tsai et al. 2019 (MulT), Ma et al. 2022.
    """

    def __init__(
        self, layout: Layout, *, width: int = 64, layers: int = 2, heads: int = 4, lags: int = 4, views: int = 4, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.names = list(layout.inputs)
        self.tokens = nn.ModuleDict({name: _Tokens(shape.dim, shape.steps, width, dropout) for name, shape in layout.inputs.items()})
        self.pairs = [pair for names in layout.timed().values() for pair in combinations(names, 2)]
        self.agree = nn.ModuleList(LocalCorrelation(width, lags=lags, views=views) for _ in self.pairs)
        self.tell = nn.ModuleList(nn.Linear((2 * lags + 1) * views, width) for _ in self.pairs)
        self.absent = nn.ParameterDict({name: 0.02 * torch.randn(width) for name in self.names})
        self.query = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.layers = nn.ModuleList(_Layer(width, heads, dropout) for _ in range(layers))
        self.read_out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, layout.outputs))

    def forward(self, features: dict[str, Tensor], presence: dict[str, Tensor]) -> Tensor:
        tokens = {name: make(features[name], presence[name]) for name, make in self.tokens.items()}  # (B, T, W) each
        told = dict(tokens)
        for (a, b), agree, tell in zip(self.pairs, self.agree, self.tell, strict=True):
            agreement = tell(agree(tokens[a], tokens[b], presence[a], presence[b]))  # (B, T, W)
            told[a], told[b] = told[a] + agreement, told[b] + agreement
        missing = [self.absent[name] * (1 - presence[name].mean(1))[:, None, None] for name in self.names]  # (B, 1, W) each
        query = self.query.expand(missing[0].shape[0], -1, -1)  # (B, 1, W)
        x = torch.cat([query, *missing, *(told[name] for name in self.names)], dim=1)  # (B, S, W)
        closed = torch.cat([torch.zeros_like(x[:, : 1 + len(missing), 0]), *(1 - presence[name] for name in self.names)], dim=1)  # (B, S)
        mask = (CLOSED * closed)[:, None, None]  # (B, 1, 1, S)
        for layer in self.layers:
            x = layer(x, mask)
        return self.read_out(x[:, 0])  # type: ignore[no-any-return]


class _Tokens(nn.Module):
    """One stream's steps as tokens, (B, T, D) -> (B, T, W), its place among them included."""

    def __init__(self, dim: int, steps: int, width: int, dropout: float) -> None:
        super().__init__()
        self.fill = Fill(dim, width)
        self.context = time_blocks(width, (1, 2) if steps > 1 else (), dropout)
        self.place = nn.Parameter(0.02 * torch.randn(steps, width))

    def forward(self, x: Tensor, presence: Tensor) -> Tensor:
        return self.context(self.fill(x, presence)) + self.place  # type: ignore[no-any-return]


class _Layer(nn.Module):
    """Pre-norm attention and MLP. Written out in matmul and softmax: it exports to opset 18 as exactly that."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (
            self.qkv(self.attention_norm(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        )  # (B, H, S, W / H) each
        weights = torch.softmax(q @ k.transpose(2, 3) * self.scale + mask, dim=-1)  # (B, H, S, S)
        x = x + self.dropout(self.out((weights @ v).transpose(1, 2).flatten(2)))  # (B, S, W)
        return x + self.dropout(self.mlp(self.mlp_norm(x)))  # type: ignore[no-any-return]
