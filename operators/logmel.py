"""Log-mel energies, computed once per hop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.errors import ContractError
from operators.packet import Dropped, Embedding, Packet, StreamEvent
from operators.resample import downmix
from operators.segment import Block, Grid, blocks_of

FLOOR = 1e-6
"""About the energy per band of white noise at -82 dB full scale; digital silence is log(FLOOR) = -13.8 everywhere."""


def mel_filters(*, rate_hz: int, size: int, bands: int, fmin: float, fmax: float) -> NDArray[np.float64]:
    """(size // 2 + 1, bands): triangles of height 1, equally spaced in mel between fmin and fmax.

    HTK mel scale (O'Shaughnessy 1987): 2595 * log10(1 + f / 700).
    """
    low, high = (2595 * np.log10(1 + f / 700) for f in (fmin, fmax))
    corners = 700 * (10 ** (np.linspace(low, high, bands + 2) / 2595) - 1)
    bins = np.arange(size // 2 + 1)[:, None] * rate_hz / size
    rising = (bins - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - bins) / (corners[2:] - corners[1:-1])
    filters: NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
    return filters


class LogMel:
    """Mono AudioBlocks of any length -> one Embedding per block of block_ms: float32 (block_ms / hop_ms, bands), natural log.

    The blocks are those of `operators.segment.Segment` (which see for gaps, stamps and seq). Frame i of a block looks at the window_ms that
    end with its hop, so nothing after the block's end is used; before the first block and after a hole there is silence.
    Power of a periodic Hann window's spectrum (not normalised), summed under triangles, floored at FLOOR. Several channels are averaged.
    """

    def __init__(
        self,
        *,
        block_ms: int = 40,
        bands: int = 40,
        window_ms: int = 25,
        hop_ms: int = 10,
        fmin: float = 60.0,
        fmax: float = 7600.0,
    ) -> None:
        if block_ms % hop_ms or window_ms < hop_ms or bands < 1 or not 0 <= fmin < fmax:
            raise ContractError(
                "LogMel wants block_ms a multiple of hop_ms, window_ms >= hop_ms, bands >= 1 and 0 <= fmin < fmax, got "
                f"block_ms={block_ms} hop_ms={hop_ms} window_ms={window_ms} bands={bands} fmin={fmin} fmax={fmax}"
            )
        self._block_ns = block_ms * 1_000_000
        self._window_ms, self._hop_ms, self._bands, self._fmin, self._fmax = window_ms, hop_ms, bands, fmin, fmax
        self._grid = Grid(self._block_ns)
        self._last = -1
        self._tail: NDArray[np.float32] = np.zeros(0, np.float32)
        self._rate_hz = 0
        self._window: NDArray[np.float64] = np.zeros(0)
        self._filters: NDArray[np.float64] = np.zeros((0, bands))
        self._frames: NDArray[np.int64] = np.zeros((0, 0), np.int64)

    def process(self, event: StreamEvent) -> Iterator[StreamEvent]:
        for item in blocks_of(self._grid, event):
            yield self._packet(event.stream, item) if isinstance(item, Block) else item

    def _packet(self, stream: str, block: Block) -> StreamEvent:
        start_ns = block.number * self._block_ns
        if block.data is None:
            return Dropped(stream=stream, reason=block.reason, start_ns=start_ns)
        payload = Embedding(data=self._energies(block.number, block.rate_hz, block.data))
        return Packet(stream=stream, seq=block.number, start_ns=start_ns, end_ns=start_ns + self._block_ns, payload=payload)

    def _energies(self, number: int, rate_hz: int, data: NDArray[np.float32]) -> NDArray[np.float32]:
        self._prepare(rate_hz)
        hop = self._hop_ms * rate_hz // 1000
        if number != self._last + 1 or not self._tail.size:
            self._tail = np.zeros(self._window.size - hop, np.float32)
        sound = np.concatenate([self._tail, downmix(data)[0]])
        self._tail, self._last = sound[sound.size - self._tail.size :].copy(), number
        spectrum = np.fft.rfft(sound[self._frames] * self._window, n=2 * (self._filters.shape[0] - 1), axis=1)
        power = spectrum.real**2 + spectrum.imag**2
        return np.log(np.maximum(power @ self._filters, FLOOR)).astype(np.float32)

    def _prepare(self, rate_hz: int) -> None:
        """Window and filters for this rate; the sound before a change of rate is forgotten."""
        if rate_hz == self._rate_hz:
            return
        if rate_hz < 2 * self._fmax or self._hop_ms * rate_hz % 1000 or self._window_ms * rate_hz % 1000:
            raise ContractError(
                f"LogMel wants rate_hz >= 2 * fmax ({2 * self._fmax:g}) and whole samples per hop, got {rate_hz}: "
                "put operators.audio:Resample before it"
            )
        samples = self._window_ms * rate_hz // 1000
        size = 1 << (samples - 1).bit_length()
        self._window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(samples) / samples)
        self._filters = mel_filters(rate_hz=rate_hz, size=size, bands=self._bands, fmin=self._fmin, fmax=self._fmax)
        # (frames of a block, samples of a window), counted from where the tail begins.
        starts = np.arange(0, self._block_ns // 1_000_000, self._hop_ms) * rate_hz // 1000
        self._frames = starts[:, None] + np.arange(samples)
        self._rate_hz, self._tail = rate_hz, np.zeros(0, np.float32)

    def snapshot(self) -> Mapping[str, Any]:
        return {"grid": self._grid.snapshot(), "last": self._last, "rate_hz": self._rate_hz, "tail": self._tail.copy()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._grid.restore(state["grid"])
        if state["rate_hz"]:
            self._prepare(state["rate_hz"])
        self._last, self._tail = state["last"], np.array(state["tail"], np.float32)
