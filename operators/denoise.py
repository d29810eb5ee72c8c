"""Steady noise taken out of sound: a Wiener gain in short spectra, over a noise floor that is followed by its minima."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.errors import ContractError
from operators.packet import AudioBlock, Closed, Dropped, Packet, StreamEvent, Watermark
from operators.resample import downmix
from operators.segment import Block, Grid, blocks_of

Bins = NDArray[np.float64]

SMOOTHING_MS = 30.0
"""Time constant of the periodograms before their minimum is taken: short, so that it falls to the noise between two syllables."""
SEARCH_MS = 1500
"""The floor is the minimum of this long: longer than a spoken phrase, so that a voice is not taken for noise."""
PARTS = 6
BIAS = 3.9
"""Mean of white noise over the minimum of its smoothed periodogram; tests/operators/test_denoise.py holds it to that."""
PRIOR = 0.92
SILENCE = 1e-12
"""Power below which there is nothing to divide by."""


class NoiseFloor:
    """Minimum statistics (Martin 2001) with a fixed smoothing: the power of the noise in each bin, from sound with or without a voice."""

    def __init__(self, bins: int, hop_ms: int) -> None:
        self._keep = float(np.exp(-hop_ms / SMOOTHING_MS))
        self._part = max(1, SEARCH_MS // (PARTS * hop_ms))
        self._smooth: Bins = np.zeros(bins)
        self._minima: Bins = np.full((PARTS, bins), np.inf)
        self._count = 0

    def follow(self, power: Bins) -> Bins:
        """The next periodogram in, the noise's mean power out. (bins,) each."""
        self._smooth = self._keep * self._smooth + (1 - self._keep) * power if self._count else power
        if self._count % self._part == 0:
            # The oldest part of the search is forgotten, a new one begins.
            self._minima = np.concatenate([self._minima[1:], self._smooth[None]])
        else:
            self._minima[-1] = np.minimum(self._minima[-1], self._smooth)
        self._count += 1
        floor: Bins = BIAS * self._minima.min(axis=0)
        return floor

    def snapshot(self) -> dict[str, Any]:
        return {"smooth": self._smooth.copy(), "minima": self._minima.copy(), "count": self._count}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._smooth, self._minima = np.array(state["smooth"], np.float64), np.array(state["minima"], np.float64)
        self._count = state["count"]


class Denoise:
    """AudioBlocks of any length -> mono AudioBlocks of block_ms without steady noise, on the grid of `operators.segment.Segment`.

    A spectrum spans two blocks, so block k comes out when block k + 1 is there, or can no longer come: then silence stands for it.
    That is all the delay there is, one block. Stamps are those of the sound itself, and a watermark waits for the block that is held.
    The gain is Wiener's, its signal-to-noise ratio decision-directed (Ephraim and Malah 1984), never under -floor_db. Nothing is mixed
    across a gap; the noise floor is kept over it. The rate must give whole samples in a block: else put Resample before.
    """

    def __init__(self, *, block_ms: int = 16, floor_db: float = 15.0) -> None:
        if not 4 <= block_ms <= 100 or floor_db < 0:
            raise ContractError(f"Denoise wants block_ms in 4 .. 100 and floor_db >= 0, got {block_ms=} {floor_db=}")
        self._block_ms, self._block_ns = block_ms, block_ms * 1_000_000
        self._lowest = 10 ** (-floor_db / 20)
        self._grid = Grid(self._block_ns)
        self._rate_hz = 0
        self._window: Bins = np.zeros(0)
        self._noise = NoiseFloor(0, block_ms)
        self._held: int | None = None
        self._before = self._open = self._voice = self._window

    def process(self, event: StreamEvent) -> Iterator[StreamEvent]:
        for item in blocks_of(self._grid, event):
            if isinstance(item, Block):
                yield from self._block(event.stream, item)
            elif isinstance(item, Watermark):
                yield from self._promise(item)
            else:
                if isinstance(item, Closed):
                    yield from self._release(item.stream)
                yield item

    def _block(self, stream: str, block: Block) -> Iterator[StreamEvent]:
        if self._held is not None and (block.data is None or block.number != self._held + 1 or block.rate_hz != self._rate_hz):
            yield from self._release(stream)
        if block.data is None:
            yield Dropped(stream=stream, reason=block.reason, start_ns=block.number * self._block_ns)
            return
        self._prepare(block.rate_hz)
        done = self._add(downmix(block.data)[0].astype(np.float64))
        if self._held is not None:
            yield self._packet(stream, self._held, done)
        self._held = block.number

    def _promise(self, mark: Watermark) -> Iterator[StreamEvent]:
        if self._held is not None and mark.time_ns > (self._held + 1) * self._block_ns:
            yield from self._release(mark.stream)
        held_ns = mark.time_ns if self._held is None else self._held * self._block_ns
        yield Watermark(stream=mark.stream, time_ns=min(mark.time_ns, held_ns))

    def _release(self, stream: str) -> Iterator[StreamEvent]:
        """No sound follows the block that is held."""
        if self._held is not None:
            yield self._packet(stream, self._held, self._add(np.zeros(self._window.size // 2)))
        self._held = None
        self._forget()

    def _packet(self, stream: str, number: int, sound: Bins) -> Packet:
        start_ns = number * self._block_ns
        payload = AudioBlock(data=sound.astype(np.float32)[None, :], rate_hz=self._rate_hz)
        return Packet(stream=stream, seq=number, start_ns=start_ns, end_ns=start_ns + self._block_ns, payload=payload)

    def _add(self, sound: Bins) -> Bins:
        """The next block in, the one before it out, done. The window is applied on both sides, its squares add up to 1."""
        spectrum = np.fft.rfft(np.concatenate([self._before, sound]) * self._window)
        frame = np.fft.irfft(spectrum * self._gain(spectrum.real**2 + spectrum.imag**2), self._window.size) * self._window
        done = self._open + frame[: sound.size]
        self._before, self._open = sound, frame[sound.size :]
        return done

    def _gain(self, power: Bins) -> Bins:
        noise = np.maximum(self._noise.follow(power), SILENCE)
        prior = PRIOR * self._voice / noise + (1 - PRIOR) * np.maximum(power / noise - 1, 0)
        gain: Bins = np.maximum(prior / (1 + prior), self._lowest)
        self._voice = gain**2 * power
        return gain

    def _prepare(self, rate_hz: int) -> None:
        """Another rate: all is forgotten."""
        if rate_hz == self._rate_hz:
            return
        if self._block_ms * rate_hz % 1000:
            wanted = f"whole samples in {self._block_ms} ms"
            raise ContractError(f"Denoise wants {wanted}, got {rate_hz} Hz: put operators.audio:Resample before it")
        size = 2 * self._block_ms * rate_hz // 1000
        self._window = np.sin(np.pi * (np.arange(size) + 0.5) / size)
        self._noise = NoiseFloor(size // 2 + 1, self._block_ms)
        self._rate_hz = rate_hz
        self._forget()

    def _forget(self) -> None:
        """Before the next block there is silence."""
        half = self._window.size // 2
        self._before, self._open, self._voice = np.zeros(half), np.zeros(half), np.zeros(half + 1)

    def snapshot(self) -> Mapping[str, Any]:
        arrays = {"before": self._before.copy(), "open": self._open.copy(), "voice": self._voice.copy()}
        return {"grid": self._grid.snapshot(), "rate_hz": self._rate_hz, "held": self._held, "noise": self._noise.snapshot(), **arrays}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._grid.restore(state["grid"])
        if state["rate_hz"]:
            self._prepare(state["rate_hz"])
        self._held = state["held"]
        self._noise.restore(state["noise"])
        self._before, self._open, self._voice = (np.array(state[name], np.float64) for name in ("before", "open", "voice"))
