"""Sound of a device whose clock is a little off -> samples that lie exactly on session time. Resampled, never chopped.

 device    |....|....|....|....|     blocks whose mapped stamps say how long a sample of this device really is
 session   k   k+1  k+2  k+3 ...     sample k is the sound at k / rate_hz, for every k, in every session

An asynchronous sample rate converter: a windowed sinc at any fraction of a sample (J. O. Smith, "Digital Audio Resampling", CCRMA: a table
with linear interpolation) read at positions that advance by a ratio near 1. The ratio follows the stamps through the same fading fit as
`operators.evenly`, and is steered, at most by 1000 ppm, so that position and stamps agree within a second: the phase never jumps, and
what a tone gets is a change of pitch that nobody hears.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from operators.errors import ContractError
from operators.packet import AudioBlock, Closed, Dropped, Packet, StreamEvent, Watermark
from operators.sample_clock import GAP_NS, SECOND_NS, time_of

HALF = 32
PHASES = 512
KAISER_BETA = 9.0
ROLLOFF = 0.94
STEER = 1000e-6
WIDEST = 2000e-6


def sinc_table() -> NDArray[np.float64]:
    """(PHASES + 1, 2 * HALF): row p makes the sound p / PHASES of a sample after the middle. Each row sums to 1."""
    offset = np.arange(PHASES + 1)[:, None] / PHASES - np.arange(1 - HALF, HALF + 1)[None, :]
    taper = np.i0(KAISER_BETA * np.sqrt(np.maximum(0.0, 1.0 - (offset / HALF) ** 2)))
    rows = np.sinc(ROLLOFF * offset) * taper
    table: NDArray[np.float64] = rows / rows.sum(axis=1, keepdims=True)
    return table


class SessionRate:
    """AudioBlock (channels, n) at a nominal rate -> AudioBlock (channels, m) on the session's own samples, same rate_hz.

    memory: the rate is fitted to the last so many blocks. A block that starts more than 5 ms after the end of what came before is a gap:
    what is held is given out, and a new line starts, with the old one's ratio. A block that overlaps what is known is Dropped(overlap),
    one with NaN Dropped(not_finite). Comes out up to 2 ms (HALF samples) later than it went in; stamps have no delay.
    """

    def __init__(self, *, memory: int = 500) -> None:
        if memory < 10:
            raise ContractError(f"memory of 10 blocks or more wanted, got {memory}")
        self._memory = memory
        self._table = sinc_table()
        self._rate_hz = 0
        self._ratio = 1.0  # input samples in the time of one output sample, as fitted
        self._begun = False
        self._input: NDArray[np.float32] = np.zeros((1, 0), np.float32)  # from HALF - 1 before the next output on
        self._position = 0.0  # of the next output, in samples of _input
        self._next = 0  # its number
        self._head_ns = 0.0  # filtered time of the sample after the last one in _input
        self._blocks = 0
        self._seq = 0
        self._floor_ns: int | None = None

    def process(self, event: StreamEvent) -> Iterator[StreamEvent]:
        if isinstance(event, Packet):
            yield from self._packet(event)
        elif isinstance(event, Watermark):
            yield from self._promise(event)
        elif isinstance(event, Closed):
            yield from self._flush(event.stream)
            yield event
        else:
            yield event

    @property
    def drift_ppm(self) -> float:
        """How much the device's clock is fast against the session's, as fitted."""
        return (self._ratio - 1.0) * 1e6

    def _packet(self, packet: Packet) -> Iterator[StreamEvent]:
        block = packet.payload
        if not isinstance(block, AudioBlock):
            raise ContractError(f"SessionRate wants AudioBlock, got {block!r} on {packet.stream}")
        if not np.isfinite(block.data).all():
            yield Dropped(stream=packet.stream, reason="not_finite", start_ns=packet.start_ns)
            return
        other = block.rate_hz != self._rate_hz or block.data.shape[0] != self._input.shape[0]
        if self._begun and (other or packet.start_ns - self._head_ns > GAP_NS):
            yield from self._flush(packet.stream)
        if not self._begun:
            self._begin(packet, block)
        elif self._head_ns - packet.start_ns > GAP_NS:
            yield Dropped(stream=packet.stream, reason="overlap", start_ns=packet.start_ns)
            return
        self._seq = packet.seq
        self._fit(packet.start_ns, block.data.shape[1])
        self._input = np.concatenate([self._input, block.data], axis=1)
        self._head_ns += block.data.shape[1] * self._sample_ns
        yield from self._emit(packet.stream, self._convert(self._input.shape[1] - HALF))

    @property
    def _sample_ns(self) -> float:
        return SECOND_NS / (self._rate_hz * self._ratio)

    def _begin(self, packet: Packet, block: AudioBlock) -> None:
        """Before the first sample there was silence: the filter's left half."""
        if block.rate_hz != self._rate_hz:
            self._ratio = 1.0
        self._rate_hz, self._begun, self._blocks, self._head_ns = block.rate_hz, True, 0, float(packet.start_ns)
        self._input = np.zeros((block.data.shape[0], HALF - 1), np.float32)
        start_ns = packet.start_ns if self._floor_ns is None else max(packet.start_ns, self._floor_ns)
        self._next = -(-start_ns * self._rate_hz // SECOND_NS)
        self._position = HALF - 1 + (self._next * SECOND_NS / self._rate_hz - packet.start_ns) / self._sample_ns

    def _fit(self, start_ns: int, samples: int) -> None:
        """Learns the stamp of the sample that comes next (see `operators.evenly`): the same gains, on samples instead of packets."""
        error = start_ns - self._head_ns
        self._blocks += 1
        n = min(self._blocks, self._memory)
        self._head_ns += error * 2 * (2 * n - 1) / (n * (n + 1))
        if self._blocks > 1:
            by: float = error * 6 / (n * (n + 1)) / (samples * self._sample_ns)
            self._ratio = min(1 + WIDEST, max(1 - WIDEST, self._ratio / (1 + by)))

    def _convert(self, limit: int) -> NDArray[np.float32]:
        """(channels, m): every output whose filter ends before sample `limit + HALF`."""
        step = self._step()
        made = max(0, int(np.ceil((limit - self._position) / step)))
        if not made:
            return np.zeros((self._input.shape[0], 0), np.float32)
        at = self._position + step * np.arange(made)
        whole = np.floor(at).astype(np.int64)
        phase = (at - whole) * PHASES
        row = phase.astype(np.int64)
        part = (phase - row)[:, None]
        taps = self._table[row] * (1 - part) + self._table[row + 1] * part
        windows = sliding_window_view(self._input.astype(np.float64), 2 * HALF, axis=1)[:, whole - (HALF - 1)]
        self._position += step * made
        cut = int(self._position) - (HALF - 1)
        self._input, self._position = self._input[:, cut:].copy(), self._position - cut
        self._next += made
        out: NDArray[np.float32] = (windows * taps).sum(axis=2).astype(np.float32)
        return out

    def _step(self) -> float:
        """Input samples per output: the fitted ratio, and what brings position and stamps together within a second."""
        wanted_ns = self._next * SECOND_NS / self._rate_hz
        wanted: float = self._input.shape[1] - (self._head_ns - wanted_ns) / self._sample_ns
        owed: float = (wanted - self._position) / self._rate_hz
        return self._ratio * (1 + min(STEER, max(-STEER, owed)))

    def _emit(self, stream: str, made: NDArray[np.float32]) -> Iterator[Packet]:
        if made.shape[1]:
            start_ns, end_ns = (time_of(k, self._rate_hz) for k in (self._next - made.shape[1], self._next))
            payload = AudioBlock(data=made, rate_hz=self._rate_hz)
            yield Packet(stream=stream, seq=self._seq, start_ns=start_ns, end_ns=end_ns, payload=payload)

    def _promise(self, mark: Watermark) -> Iterator[StreamEvent]:
        if self._begun and mark.time_ns - self._head_ns > GAP_NS:
            yield from self._flush(mark.stream)
        time_ns = min(mark.time_ns, time_of(self._next, self._rate_hz)) if self._begun else mark.time_ns
        self._floor_ns = time_ns if self._floor_ns is None else max(self._floor_ns, time_ns)
        yield Watermark(stream=mark.stream, time_ns=self._floor_ns)

    def _flush(self, stream: str) -> Iterator[Packet]:
        """After the last sample comes silence; outputs end with the input."""
        if not self._begun:
            return
        end = self._input.shape[1]
        self._input = np.concatenate([self._input, np.zeros((self._input.shape[0], 2 * HALF), np.float32)], axis=1)
        self._head_ns += 2 * HALF * self._sample_ns
        made = self._convert(end)
        self._begun = False
        yield from self._emit(stream, made)

    def snapshot(self) -> Mapping[str, Any]:
        state = {name: value for name, value in vars(self).items() if name not in ("_table", "_memory")}
        return {**state, "_input": self._input.copy()}

    def restore(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        self._input = np.array(state["_input"], np.float32)
