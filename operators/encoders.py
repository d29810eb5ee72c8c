"""One encoder a modality: one packet's array in, one embedding out; time is the fusion head's matter.

Encoder(dim, shape, **options)       dim: length of the embedding; shape: of one packet's array, from model.yaml
encoder(x) -> (N, dim)               x: (N, *shape) in the dtype of model.yaml; casting is the first operation of the graph

Encoders that carry something on from packet to packet are in `operators.encoders_carried`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from operators.errors import ContractError


class FrameCNN(nn.Module):
    """Grey picture, uint8 (N, H, W) in 0..255 -> (N, dim).

    Each picture is brought to mean 0 and deviation 1 inside the graph, so light and contrast matter little; a deviation under
    about 8 grey levels is taken for noise and not blown up.
    """

    def __init__(self, dim: int, shape: tuple[int, ...], *, width: int = 16) -> None:
        super().__init__()
        if len(shape) != 2 or min(shape) < 8:
            raise ContractError(f"FrameCNN wants shape (height, width) of 8 or more, got {shape}")
        self.layers = nn.Sequential(
            _convolve(1, width, kernel=5, stride=2),
            _convolve(width, 2 * width, kernel=3, stride=2),
            _convolve(2 * width, 3 * width, kernel=3, stride=2),
            _convolve(3 * width, 3 * width, kernel=3, stride=1),
        )
        cells = 3 * width * -(-shape[0] // 8) * -(-shape[1] // 8)
        self.project = nn.Linear(cells, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.project.weight.dtype)  # (N, H, W)
        x = x - x.mean((1, 2), keepdim=True)
        x = x * torch.rsqrt(x.square().mean((1, 2), keepdim=True) + 64.0)
        return self.project(self.layers(x.unsqueeze(1)).flatten(1))  # type: ignore[no-any-return]


def _convolve(channels: int, out: int, *, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU())


class LogMelCNN(nn.Module):
    """A block of log-mel frames, float32 (N, frames, bands), natural log of energy -> (N, dim).

    Loudness is kept (silence and speech differ in it): only the constants of the training set are taken off, band by band.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, dim: int, shape: tuple[int, ...], *, width: int = 64) -> None:
        super().__init__()
        if len(shape) != 2:
            raise ContractError(f"LogMelCNN wants shape (frames, bands), got {shape}")
        frames, bands = shape
        self.register_buffer("mean", torch.full((bands,), -6.0))  # about the middle of log(1e-6) .. log(1)
        self.register_buffer("deviation", torch.full((bands,), 4.0))
        self.layers = nn.Sequential(
            nn.Conv1d(bands, width, 3, padding=1, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Conv1d(width, width, 3, padding=1),
            nn.ReLU(),
        )
        self.project = nn.Linear(width * frames, dim)

    def set_normalisation(self, mean: Tensor, deviation: Tensor) -> None:
        """(bands,) each, of the training set; a deviation under 0.1 is raised to it."""
        self.mean.copy_(mean)
        self.deviation.copy_(deviation.clamp_min(0.1))

    def forward(self, x: Tensor) -> Tensor:
        x = (x.to(self.project.weight.dtype) - self.mean) / self.deviation  # (N, frames, bands)
        return self.project(self.layers(x.transpose(1, 2)).flatten(1))  # type: ignore[no-any-return]


class TokenBag(nn.Module):
    """Hashed tokens, int64 (N, length) in 0 .. buckets - 1, 0 for padding -> (N, dim): mean token embedding and how full the bag is."""

    def __init__(self, dim: int, shape: tuple[int, ...], *, buckets: int = 4096, width: int = 16) -> None:
        super().__init__()
        if len(shape) != 1:
            raise ContractError(f"TokenBag wants shape (tokens,), got {shape}")
        self.buckets = buckets
        self.table = nn.Embedding(buckets, width)
        self.project = nn.Sequential(nn.Linear(width + 2, dim), nn.ReLU(), nn.Linear(dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        real = (x != 0).to(self.table.weight.dtype)  # (N, length)
        count = real.sum(1, keepdim=True)  # (N, 1)
        # Clamped: a token beyond the table must not stop a live engine.
        total = (self.table(x.clamp(0, self.buckets - 1)) * real.unsqueeze(-1)).sum(1)  # (N, width)
        fullness = torch.cat([count.clamp(max=1.0), torch.log1p(count)], dim=1)  # (N, 2): is there text, and how much
        return self.project(torch.cat([total / count.clamp(min=1.0), fullness], dim=1))  # type: ignore[no-any-return]


class WordRow(nn.Module):
    """Numbered words, int64 (N, length), 0 for padding -> (N, dim): every word by itself, in order, for a head that looks for words.

    dim: length times as many numbers as there are words. Word n is 1 at place n - 1 and 0 elsewhere, padding 0 throughout; a number
    beyond the last stands for the last. Nothing is learned: what the words mean to the other streams is the head's matter.
    """

    unit: Tensor

    def __init__(self, dim: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        if len(shape) != 1 or dim % shape[0]:
            raise ContractError(f"WordRow wants shape (words,) and dim a multiple of it, got {shape} and {dim}")
        self.words = dim // shape[0]
        self.register_buffer("unit", torch.eye(self.words + 1)[:, 1:])  # (words + 1, words)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.embedding(x.clamp(0, self.words), self.unit).flatten(1)


class Standardised(nn.Module):
    """A reading as it is, of about deviation 1 by constants of the training set: (N, *shape) -> (N, dim), dim being all its numbers."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, dim: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        if dim != torch.Size(shape).numel():
            raise ContractError(f"Standardised gives a reading's numbers, so of shape {shape} dim {torch.Size(shape).numel()}, got {dim}")
        self.register_buffer("mean", torch.zeros(shape[-1]))
        self.register_buffer("deviation", torch.ones(shape[-1]))

    def set_normalisation(self, mean: Tensor, deviation: Tensor) -> None:
        """(last axis,) each; what never changes keeps deviation 1."""
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > 0, deviation, torch.ones_like(deviation)))

    def forward(self, x: Tensor) -> Tensor:
        return ((x.to(self.mean.dtype) - self.mean) / self.deviation).flatten(1)


class SeriesMLP(nn.Module):
    """One reading of a numeric sensor, (N, channels) -> (N, dim); standardised by constants of the training set.

    dropout: share of the reading's numbers that are left out in training, where there are many of them and few examples.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, dim: int, shape: tuple[int, ...], *, dropout: float = 0.0) -> None:
        super().__init__()
        if len(shape) != 1 or not 0 <= dropout < 1:
            raise ContractError(f"SeriesMLP wants shape (channels,) and dropout in [0, 1), got {shape} and {dropout}")
        self.drop = nn.Dropout(dropout)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("deviation", torch.ones(shape))
        self.layers = nn.Sequential(nn.Linear(shape[0], dim), nn.ReLU(), nn.Linear(dim, dim))

    def set_normalisation(self, mean: Tensor, deviation: Tensor) -> None:
        """(channels,) each, of the training set; a channel that never changes keeps deviation 1."""
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > 0, deviation, torch.ones_like(deviation)))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(self.drop((x.to(self.mean.dtype) - self.mean) / self.deviation))  # type: ignore[no-any-return]
