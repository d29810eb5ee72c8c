"""The parts that the heads are built of: sequences of steps, (B, T, W)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from operators.errors import ContractError
from operators.fusion import InputLayout, Layout

CLOSED = -1e4  # additive mask: exp() of it is 0 in float16 too, and unlike -inf it cannot make NaN


class Fill(nn.Module):
    """Projects every step to a common width and puts a learned null vector where nothing is present.

    `where`, not a product: whatever stands in a missing step, even NaN, cannot leak.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, width)
        self.null = nn.Parameter(0.02 * torch.randn(width))

    def forward(self, x: Tensor, presence: Tensor) -> Tensor:
        return torch.where(presence.unsqueeze(-1) > 0.5, self.project(x), self.null)  # (B, T, D), (B, T) -> (B, T, W)


class TimeBlock(nn.Module):
    """Residual dilated convolution over the steps; (B, T, W) -> the same. Source: Bai et al. 2018, temporal convolutional networks."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, kernel_size=3, dilation=dilation, padding=dilation)
        self.mix = nn.Conv1d(width, width, kernel_size=1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x).transpose(1, 2)  # (B, W, T)
        h = self.mix(F.relu(self.conv(h)))
        out: Tensor = x + self.dropout(h.transpose(1, 2))
        return out


def time_blocks(width: int, dilations: tuple[int, ...], dropout: float) -> nn.Sequential:
    return nn.Sequential(*(TimeBlock(width, dilation, dropout) for dilation in dilations))


class Convolution(nn.Module):
    """Residual convolution over 5 steps, `dilation` apart; (B, T, W) -> the same."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, kernel_size=5, padding=2 * dilation, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(self.norm(self.conv(x.transpose(1, 2)))).transpose(1, 2)


def convolutions(width: int, dilations: tuple[int, ...]) -> nn.Sequential:
    return nn.Sequential(*(Convolution(width, dilation) for dilation in dilations))


class LocalCorrelation(nn.Module):
    """How well two sequences agree at each step, at small relative delays: lips and voice.

    Both are projected to `views` unit vectors a step; the output at step t is the cosine of a[t] with b[t + lag], for lag in -lags..lags,
    or 0 where either step is missing or outside the window.
    (B, T, W), (B, T, W), presence (B, T) each -> (B, T, (2 * lags + 1) * views)
    Source: SyncNet, Chung and Zisserman 2016, "Out of time"; as a layer: FlowNetC's correlation, Dosovitskiy et al. 2015.
    """

    def __init__(self, width: int, *, lags: int, views: int, dim: int = 16) -> None:
        super().__init__()
        self.lags, self.views = lags, views
        self.left = nn.Linear(width, views * dim)
        self.right = nn.Linear(width, views * dim)

    @property
    def channels(self) -> int:
        return (2 * self.lags + 1) * self.views

    def forward(self, a: Tensor, b: Tensor, a_presence: Tensor, b_presence: Tensor) -> Tensor:
        steps = a.shape[1]
        left, right = self.vectors(a, b, a_presence, b_presence)
        right = F.pad(right, (0, 0, 0, 0, self.lags, self.lags))  # (B, L + T + L, V, d)
        delayed = torch.stack([right[:, lag : lag + steps] for lag in range(2 * self.lags + 1)], dim=2)  # (B, T, 2L + 1, V, d)
        return (left.unsqueeze(2) * delayed).sum(-1).flatten(2)  # (B, T, (2L + 1) * V)

    def vectors(self, a: Tensor, b: Tensor, a_presence: Tensor, b_presence: Tensor) -> tuple[Tensor, Tensor]:
        """What is compared: unit vectors (B, T, V, d) of either side, zeros where a step is missing."""
        return self._unit(self.left(a), a_presence), self._unit(self.right(b), b_presence)

    def _unit(self, x: Tensor, presence: Tensor) -> Tensor:
        x = x.reshape(x.shape[0], x.shape[1], self.views, -1)  # (B, T, V, d)
        x = x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)
        return x * presence[:, :, None, None]


class InstantPool(nn.Module):
    """(B, T, W) -> (B, 2 W): the step that is decided about, beside a softmax mean of all steps that starts out centred on it."""

    def __init__(self, width: int, steps: int, instant_step: int) -> None:
        super().__init__()
        self.instant_step = instant_step
        self.score = nn.Linear(width, 1)
        self.nearness = nn.Parameter(-0.2 * (torch.arange(steps) - instant_step).abs().float())

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.softmax(self.score(x).squeeze(-1) + self.nearness, dim=1)  # (B, T)
        mean = (weights.unsqueeze(-1) * x).sum(1)  # (B, W)
        return torch.cat([x[:, self.instant_step], mean], dim=1)


class StreamSummary(nn.Module):
    """One stream as one vector: its steps filled, put into their context, pooled around the decided instant; (B, T, D) -> (B, 2 W)."""

    def __init__(self, shape: InputLayout, layout: Layout, width: int, dropout: float) -> None:
        super().__init__()
        self.fill = Fill(shape.dim, width)
        self.context = time_blocks(width, (1, 2, 4) if shape.steps > 1 else (), dropout)
        self.pool = InstantPool(width, shape.steps, layout.instant_step(shape.steps))

    def forward(self, x: Tensor, presence: Tensor) -> Tensor:
        return self.pool(self.context(self.fill(x, presence)))  # type: ignore[no-any-return]


class Opinion(nn.Module):
    """What one stream says by itself: (B, T, D), (B, T) -> (B, outputs)."""

    def __init__(self, shape: InputLayout, layout: Layout, outputs: int, width: int, dropout: float) -> None:
        super().__init__()
        self.summary = StreamSummary(shape, layout, width, dropout)
        self.classify = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, outputs))

    def forward(self, x: Tensor, presence: Tensor) -> Tensor:
        return self.classify(self.summary(x, presence))  # type: ignore[no-any-return]


def there(presence: Tensor) -> Tensor:
    """(B, T) -> (B, 1): 1 where any step of the stream is present."""
    return presence.amax(1, keepdim=True)


class Attention(nn.Module):
    """Pre-norm attention and MLP; queries and what they look at may differ. Written out in matmul and softmax: it exports to opset 18 so.

    x: (B, S, W), seen: (B, K, W), mask: (B, 1, 1, K), 0 or CLOSED, never CLOSED in a whole row -> (B, S, W)
    Source: Vaswani et al. 2017, "Attention is all you need".
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ContractError(f"a width that {heads} attention heads can share wanted, got {width}")
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.norm, self.seen_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, seen: Tensor, mask: Tensor) -> Tensor:
        q = self.query(self.norm(x)).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, H, S, W / H)
        k, v = self.key_value(self.seen_norm(seen)).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, K, W / H)
        weights = torch.softmax(q @ k.transpose(2, 3) * self.scale + mask, dim=-1)  # (B, H, S, K)
        x = x + self.dropout(self.out((weights @ v).transpose(1, 2).flatten(2)))  # (B, S, W)
        return x + self.dropout(self.mlp(self.mlp_norm(x)))  # type: ignore[no-any-return]


def open_mask(presence: Tensor, always: int) -> Tensor:
    """Additive mask (B, 1, 1, always + T) for `always` tokens that are never closed before a stream's steps: no row is all closed."""
    closed = torch.cat([torch.zeros_like(presence[:, :1]).expand(-1, always), 1 - presence], dim=1)
    return (CLOSED * closed)[:, None, None]
