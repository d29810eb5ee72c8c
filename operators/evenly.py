"""Jittering stamps of an evenly sampled stream -> even ones, by the packets' numbers.

 stamps   |  | |   |  |x |  | |      of frames 0 1 2 3 ...; x: one was lost, its number is missing
 even     |  |  |  |  |  |  |  |     the straight line through stamp against number

Each stamp is the truth plus an error of mean zero (the moment a driver was scheduled), so the line that a least-squares fit draws through
the last N of them is sqrt(N) / 2 times better than one stamp. It is the fading-memory fit of Morrison, "Introduction to Sequential
Smoothing and Prediction" (1969): 1/n, then a constant gain; a cousin of Adriaensen's delay-locked loop (2005) whose gains start right.

It helps where numbers count what the source made, lost packets too (`Packet.seq`), at a rate that is steady for seconds: frames of a
camera in steady light, blocks of a microphone. Not for text, and not for arrival times: those have a tail, see `operators.clockmap`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from operators.errors import ContractError
from operators.packet import Packet, StreamEvent, Watermark

RESTART_AFTER = 3
"""So many packets in a row off the line by half a period: the rate changed or time jumped, and a new line starts."""

SETTLED = 300


@dataclass(slots=True, kw_only=True)
class EvenLine:
    """stamp = at_ns + (seq - seq0) * period_ns, fitted to the last `memory` packets or so."""

    memory: int
    seq: int = 0
    at_ns: int = 0
    over_ns: float = 0.0  # the fraction of a nanosecond, and what the fit moved at_ns by
    period_ns: float = 0.0
    count: int = 0
    off: int = 0

    def fit(self, seq: int, stamp_ns: int) -> int:
        """Learns one stamp; its even time. An older packet than the newest is only looked up."""
        if self.count == 0 or self.off >= RESTART_AFTER:
            self._start(seq, stamp_ns)
            return stamp_ns
        if seq <= self.seq:
            return self._time_of(seq)
        if self.count == 1:
            self.period_ns = (stamp_ns - self.at_ns) / (seq - self.seq)
        self._advance(seq)
        error = stamp_ns - self.at_ns - self.over_ns
        far = self.count > 10 and abs(error) > max(0.5 * self.period_ns, 1.0)
        self.off = self.off + 1 if far else 0
        if not far:
            self._learn(error)
        return self._time_of(seq)

    @property
    def settled(self) -> bool:
        """Whether even times are better than the stamps by a factor of 8 or more."""
        return self.count >= min(SETTLED, self.memory)

    def _learn(self, error: float) -> None:
        self.count += 1
        n = min(self.count, self.memory)
        self.over_ns += error * 2 * (2 * n - 1) / (n * (n + 1))
        self.period_ns += error * 6 / (n * (n + 1))

    def _advance(self, seq: int) -> None:
        self.over_ns += (seq - self.seq) * self.period_ns
        whole = int(self.over_ns)
        self.seq, self.at_ns, self.over_ns = seq, self.at_ns + whole, self.over_ns - whole

    def _time_of(self, seq: int) -> int:
        return self.at_ns + round(self.over_ns + (seq - self.seq) * self.period_ns)

    def _start(self, seq: int, stamp_ns: int) -> None:
        self.seq, self.at_ns, self.over_ns, self.count, self.off = seq, stamp_ns, 0.0, 1, 0


class EvenStamps:
    """Packets of an even stream with their jitter taken out: [even start, even start + period). Numbers and payloads stay.

    memory: the fit forgets after so many packets (>= 10); 900 are 30 s of video. Promises are moved back by what even times and
    stamps can differ, half a period, and never fall.
    """

    def __init__(self, *, memory: int = 900) -> None:
        if memory < 10:
            raise ContractError(f"memory of 10 packets or more wanted, got {memory}")
        self._line = EvenLine(memory=memory)
        self._floor_ns: int | None = None

    def process(self, event: StreamEvent) -> Iterator[StreamEvent]:
        if isinstance(event, Packet):
            yield self._even(event)
        elif isinstance(event, Watermark):
            floor_ns = event.time_ns - round(self._line.period_ns / 2)
            self._floor_ns = floor_ns if self._floor_ns is None else max(self._floor_ns, floor_ns)
            yield replace(event, time_ns=self._floor_ns)
        else:
            yield event

    def _even(self, packet: Packet) -> Packet:
        start_ns = self._line.fit(packet.seq, packet.start_ns)
        if self._floor_ns is not None and packet.start_ns >= self._floor_ns:
            start_ns = max(start_ns, self._floor_ns)
        length_ns = packet.end_ns - packet.start_ns
        if length_ns and self._line.count > 10:
            length_ns = max(0, round(self._line.period_ns))
        return replace(packet, start_ns=start_ns, end_ns=start_ns + length_ns)

    def snapshot(self) -> Mapping[str, Any]:
        return {"line": asdict(self._line), "floor_ns": self._floor_ns}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._line, self._floor_ns = EvenLine(**state["line"]), state["floor_ns"]
