"""Counting what a person wants to know of a run: by stream, and as the Status that sinks are sent."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from operators.decision import Decision
from operators.packet import Closed, CoreEvent, Dropped, Packet, Watermark
from operators.window import Late, Skipped
from pipeline.ports import Kind, StreamStatus

STALLED_NS = 1_000_000_000
"""A stream that promised nothing for so long of session time is called stalled."""

RATE_PACKETS = 64
"""The rate of a stream is that of its last so many packets, on its own timeline."""


@dataclass(slots=True)
class StreamTally:
    """One input as the aligner sees it."""

    name: str
    kind: Kind
    packets: int = 0
    late: int = 0
    promised_ns: int = 0
    newest_end_ns: int | None = None
    closed: bool = False
    lost: bool = False
    dropped: Counter[str] = field(default_factory=Counter)
    _starts: deque[int] = field(default_factory=lambda: deque(maxlen=RATE_PACKETS))

    def take(self, event: CoreEvent | Dropped) -> None:
        """An event of this stream on its way into the core."""
        match event:
            case Packet():
                self.packets += 1
                self.newest_end_ns = max(self.newest_end_ns or 0, event.end_ns)
                self._starts.append(event.start_ns)
            case Watermark():
                self.promised_ns = max(self.promised_ns, event.time_ns)
            case Closed():
                self.closed = True
            case Dropped():
                self.dropped[event.reason] += event.count

    def rate_hz(self) -> float:
        """Packets a second of its own timeline; 0.0 before the second packet."""
        span_ns = self._starts[-1] - self._starts[0] if len(self._starts) > 1 else 0
        return (len(self._starts) - 1) * 1e9 / span_ns if span_ns > 0 else 0.0

    def status(self, now_ns: int, *, paced: bool) -> StreamStatus:
        """now_ns: session time. Only a paced stream can stall: else nothing says when it should have spoken."""
        return StreamStatus(
            name=self.name,
            kind=self.kind,
            state=self._state(now_ns, paced),
            packets=self.packets,
            rate_hz=round(self.rate_hz(), 3),
            age_ns=None if self.newest_end_ns is None else max(0, now_ns - self.newest_end_ns),
            late=self.late,
            dropped=dict(self.dropped),
        )

    def _state(self, now_ns: int, paced: bool) -> Literal["waiting", "live", "stalled", "closed", "lost"]:
        if self.lost:
            return "lost"
        if self.closed:
            return "closed"
        if paced and now_ns - max(self.promised_ns, self.newest_end_ns or 0) > STALLED_NS:
            return "stalled"
        return "live" if self.packets or self.promised_ns else "waiting"


class Tallies:
    """All inputs of a core, and the lines that its mishaps are worth."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self.streams = {name: StreamTally(name, kind) for name, kind in kinds.items()}
        self.events: list[str] = []
        self._dropped: Counter[tuple[str, str]] = Counter()  # of what is no stream's; under overload there are many

    def take(self, event: CoreEvent | Dropped) -> None:
        if isinstance(event, Packet | Watermark | Closed | Dropped):
            self.streams[event.stream].take(event)

    def lose(self, names: Iterable[str], why: str) -> None:
        """Their source has failed for good."""
        for name in names:
            self.streams[name].lost = True
        self.events.append(why)

    @property
    def any_lost(self) -> bool:
        return any(tally.lost for tally in self.streams.values())

    def gave(self, out: Decision | Late | Dropped | Skipped) -> None:
        """What came out of the core for it."""
        match out:
            case Late():
                tally = self.streams[out.packet.stream]
                tally.late += 1
                if not out.kept:
                    tally.dropped["late"] += 1
            case Dropped(stream=name) if name in self.streams:
                self.streams[name].take(out)
            case Dropped():
                self._dropped[out.stream, out.reason] += out.count
            case Skipped():
                self.events.append(f"skipped {out.count} windows from {out.index}: time jumped to {out.end_ns / 1e9:.3f} s")

    def take_events(self) -> list[str]:
        """The lines since the last call."""
        dropped = [f"{count} {stream} dropped: {reason}" for (stream, reason), count in self._dropped.items()]
        events, self.events = [*self.events, *dropped], []
        self._dropped.clear()
        return events

    def statuses(self, now_ns: int, *, paced: bool) -> list[StreamStatus]:
        return [tally.status(now_ns, paced=paced) for tally in self.streams.values()]


def add_drops(status: StreamStatus, dropped: Mapping[str, int]) -> StreamStatus:
    """The status with what was dropped before the core counted in."""
    return replace(status, dropped=dict(Counter(status.dropped or {}) + Counter(dropped)))
