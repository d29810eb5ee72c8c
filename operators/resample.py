"""Sound to another rate and one channel, streaming: the same samples whatever the chunks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import gcd
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from operators.errors import ContractError
from operators.packet import AudioBlock, Closed, Dropped, Packet, StreamEvent, Watermark
from operators.sample_clock import SampleClock, time_of

ZERO_CROSSINGS = 24
KAISER_BETA = 8.0
ROLLOFF = 0.93


def downmix(data: NDArray[np.float32]) -> NDArray[np.float32]:
    """(channels, samples) -> (1, samples), the mean of the channels."""
    return data if data.shape[0] == 1 else data.mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32)


def polyphase(up: int, down: int) -> NDArray[np.float64]:
    """Kaiser-windowed sinc for rate * up / down: (up, taps); row p makes the outputs p/up of an input sample after an input sample.

    Each row sums to 1, so a constant stays exactly that constant. Beta 8 keeps images and aliases 80 dB down
    (Kaiser 1974: beta = 0.1102 (A - 8.7)); the pass band ends at about 0.86 of the lower Nyquist frequency.
    """
    cutoff = ROLLOFF * min(1.0, up / down)
    half = int(np.ceil(ZERO_CROSSINGS / cutoff))
    offset = np.arange(up)[:, None] / up - np.arange(1 - half, half + 1)[None, :]
    taper = np.i0(KAISER_BETA * np.sqrt(np.maximum(0.0, 1.0 - (offset / half) ** 2))) / np.i0(KAISER_BETA)
    rows = np.sinc(cutoff * offset) * taper
    table: NDArray[np.float64] = rows / rows.sum(axis=1, keepdims=True)
    return table


class Resample:
    """AudioBlock at any rate and channels -> AudioBlock (1, samples) at rate_hz. One packet in, at most one out, same seq.

    Linear phase and stamped without delay: a sound at time t in stays at t. What cannot be computed yet (the filter looks
    ZERO_CROSSINGS / lower rate ahead, 1.6 ms at 16 kHz) comes with the next packet, and the watermark waits for it.
    A packet that already fits passes through untouched; one with NaN or infinity is Dropped(not_finite). At a gap the
    stream starts afresh, and the filter's look-ahead is cut.
    """

    def __init__(self, *, rate_hz: int = 16_000) -> None:
        if rate_hz <= 0:
            raise ContractError(f"Resample wants rate_hz > 0, got {rate_hz}")
        self._rate_hz = rate_hz
        self._clock: SampleClock | None = None
        self._tail: NDArray[np.float32] = np.zeros(0, np.float32)
        self._made = 0
        self._seq = 0
        self._floor_ns: int | None = None
        self._tables: dict[int, NDArray[np.float64]] = {}

    def process(self, event: StreamEvent) -> Iterator[StreamEvent]:
        if isinstance(event, Packet):
            yield from self._packet(event)
        elif isinstance(event, Watermark):
            yield self._promise(event)
        elif isinstance(event, Closed):
            yield from self._flush(event.stream)
            yield event
        else:
            yield event

    def _packet(self, packet: Packet) -> Iterator[StreamEvent]:
        block = packet.payload
        if not isinstance(block, AudioBlock):
            raise ContractError(f"Resample wants AudioBlock, got {block!r} on {packet.stream}")
        if not np.isfinite(block.data).all():
            yield Dropped(stream=packet.stream, reason="not_finite", start_ns=packet.start_ns)
            return
        data = downmix(block.data)
        if block.rate_hz == self._rate_hz:
            self._clock = None
            fits = data is block.data
            payload = block if fits else AudioBlock(data=data, rate_hz=block.rate_hz)
            yield packet if fits else _like(packet, packet.start_ns, packet.end_ns, payload)
            return
        clock = self._clock
        if clock is None or clock.rate_hz != block.rate_hz or clock.is_gap(packet.start_ns):
            clock = self._begin(block.rate_hz, packet.start_ns)
        known = clock.overlap(packet.start_ns)
        if known >= data.shape[1]:
            yield Dropped(stream=packet.stream, reason="overlap", start_ns=packet.start_ns)
            return
        if not known:
            clock.follow(packet.start_ns)
        self._seq = packet.seq
        yield from self._emit(clock, packet.stream, packet.seq, self._feed(clock, data[0, known:]))

    def _begin(self, rate_hz: int, start_ns: int) -> SampleClock:
        """Before the first sample there was silence: the filter's left half."""
        self._clock = SampleClock(rate_hz=rate_hz, anchor_ns=start_ns)
        self._tail = np.zeros(self._half(rate_hz) - 1, np.float32)
        self._made = 0
        return self._clock

    def _table(self, rate_hz: int) -> NDArray[np.float64]:
        if rate_hz not in self._tables:
            common = gcd(rate_hz, self._rate_hz)
            self._tables[rate_hz] = polyphase(self._rate_hz // common, rate_hz // common)
        return self._tables[rate_hz]

    def _half(self, rate_hz: int) -> int:
        half: int = self._table(rate_hz).shape[1] // 2
        return half

    def _feed(self, clock: SampleClock, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Takes samples (n,) in, gives every output that is complete. The tail starts `half - 1` before the next output's input sample."""
        table = self._table(clock.rate_hz)
        up, taps = table.shape
        common = gcd(clock.rate_hz, self._rate_hz)
        down = clock.rate_hz // common
        buffer = np.concatenate([self._tail, samples])
        clock.count += samples.size
        # Output m lies at input m * down / up; it needs inputs up to half a filter beyond.
        ready = max(0, -(-(clock.count - taps // 2) * up // down))
        outputs = np.arange(self._made, max(ready, self._made))
        first = self._made * down // up
        made = _filter(buffer, table, outputs * down // up - first, outputs * down % up)
        self._made += outputs.size
        keep = self._made * down // up - first
        self._tail = buffer[keep:].copy()
        return made

    def _emit(self, clock: SampleClock, stream: str, seq: int, made: NDArray[np.float32]) -> Iterator[Packet]:
        if not made.size:
            return
        start_ns = self._output_ns(clock, self._made - made.size)
        end_ns = max(start_ns, self._output_ns(clock, self._made))
        block = AudioBlock(data=made[None, :], rate_hz=self._rate_hz)
        yield Packet(stream=stream, seq=seq, start_ns=start_ns, end_ns=end_ns, payload=block)

    def _output_ns(self, clock: SampleClock, sample: int) -> int:
        """Never before a promise already given: the clock may follow stamps back by some microseconds."""
        at_ns = clock.anchor_ns + time_of(sample, self._rate_hz)
        return at_ns if self._floor_ns is None else max(at_ns, self._floor_ns)

    def _promise(self, mark: Watermark) -> Watermark:
        clock = self._clock
        if clock is not None and clock.is_gap(mark.time_ns):
            clock = self._clock = None
        time_ns = mark.time_ns if clock is None else min(mark.time_ns, self._output_ns(clock, self._made))
        self._floor_ns = time_ns if self._floor_ns is None else max(self._floor_ns, time_ns)
        return Watermark(stream=mark.stream, time_ns=self._floor_ns)

    def _flush(self, stream: str) -> Iterator[Packet]:
        """After the last sample comes silence; outputs end with the input, ceil(n * up / down) of them."""
        clock = self._clock
        if clock is None:
            return
        total = -(-clock.count * self._rate_hz // clock.rate_hz)
        made = self._feed(clock, np.zeros(self._half(clock.rate_hz), np.float32))
        extra = max(0, self._made - total)
        self._made -= extra
        yield from self._emit(clock, stream, self._seq + 1, made[: made.size - extra])
        self._clock = None

    def snapshot(self) -> Mapping[str, Any]:
        clock = None if self._clock is None else self._clock.snapshot()
        return {"clock": clock, "tail": self._tail.copy(), "made": self._made, "seq": self._seq, "floor_ns": self._floor_ns}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._clock = None if state["clock"] is None else SampleClock.of(state["clock"])
        self._tail, self._made = np.array(state["tail"], np.float32), state["made"]
        self._seq, self._floor_ns = state["seq"], state["floor_ns"]


def _filter(
    buffer: NDArray[np.float32], table: NDArray[np.float64], at: NDArray[np.int64], phase: NDArray[np.int64]
) -> NDArray[np.float32]:
    """One dot product per output, each of the same length and order whatever the chunk: so the bits never depend on it."""
    if not at.size:
        return np.zeros(0, np.float32)
    windows = sliding_window_view(buffer.astype(np.float64), table.shape[1])[at]
    out: NDArray[np.float32] = (windows * table[phase]).sum(axis=1).astype(np.float32)
    return out


def _like(packet: Packet, start_ns: int, end_ns: int, payload: AudioBlock) -> Packet:
    return Packet(stream=packet.stream, seq=packet.seq, start_ns=start_ns, end_ns=end_ns, payload=payload)
