"""Faults put on any source, on purpose and exactly known: what a network, a driver or a loose plug does to a stream.

    sources:
      media:
        use: "pipeline.sources.file:MediaFile"
        path: talk.mp4
        faults: {audio: {dead: [[10, 20]]}, video: {delay_ms: 45, jitter: 0.5}}

Stamps say when something happened, due_ns says when it arrives. Delays move only the arrival; a drifting clock moves only the stamps.
Promises stay true: a watermark never arrives before a packet that it speaks of, and a stream that is dead promises nothing.
"""

from __future__ import annotations

import heapq
import math
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from pydantic import ConfigDict

from operators.errors import ContractError
from operators.packet import Closed, Dropped, Packet, Payload, StreamEvent, Watermark
from pipeline.ports import Source, StreamSpec, Wanted

MAX_HELD_BYTES = 256 << 20
Intervals = tuple[tuple[float, float | None], ...]
"""[from, to) in seconds of session time; to None: until the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFaults:
    """What happens to one stream.

    delay_ms, jitter  each packet arrives delay_ms * exp(jitter * normal) later: log-normal with that median
    reorder           True: packets may overtake each other (UDP); False: they wait for the one before (TCP, USB)
    drift_ppm         the device's clock is this much too fast, from the session's start on
    drop              share of packets lost, 0 to 1; counted as "injected_loss", and their numbers are missing
    stalls            what should arrive in one of these comes at its end, in a burst
    freezes           packets go on, but all show what the last one before showed
    dead              nothing arrives, not even a promise; counted as "injected_outage"
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    delay_ms: float = 0.0
    jitter: float = 0.0
    reorder: bool = False
    drift_ppm: float = 0.0
    drop: float = 0.0
    stalls: Intervals = ()
    freezes: Intervals = ()
    dead: Intervals = ()

    def __post_init__(self) -> None:
        # ValueError and not ContractError, and only what is expected: pydantic then names the config's key and what was got.
        if not (0 <= self.delay_ms <= 600_000 and 0 <= self.jitter <= 5 and 0 <= self.drop <= 1 and abs(self.drift_ppm) <= 100_000):
            raise ValueError("delay_ms of 0 to 600000, jitter of 0 to 5, drop of 0 to 1, drift_ppm of -100000 to 100000")
        if any(not 0 <= start < (math.inf if end is None else end) for start, end in (*self.stalls, *self.freezes, *self.dead)):
            raise ValueError("intervals [from, to) of seconds with 0 <= from < to")
        if any(end is None for _, end in self.stalls):
            raise ValueError("a stall that ends; what never comes is `dead`")


class Faulty:
    """A source with faults. fault_seed: the same seed, the same faults, wherever the source is restarted."""

    def __init__(self, source: Source, faults: Mapping[str, StreamFaults], *, fault_seed: int = 0) -> None:
        self.live = source.live
        self._source, self._faults, self._seed = source, dict(faults), fault_seed
        self._running: Generator[tuple[int, StreamEvent], None, None] | None = None

    def open(self, wanted: Mapping[str, Wanted]) -> Sequence[StreamSpec]:
        return self._source.open(wanted)

    def events(self, from_ns: int = 0) -> Iterator[tuple[int, StreamEvent]]:
        self._running = inject(self._source.events(from_ns), self._faults, seed=self._seed)
        return self._running

    def end_ns(self) -> int | None:
        return self._source.end_ns()

    def close(self) -> None:
        if self._running is not None:
            self._running.close()
            self._running = None
        self._source.close()


def check_streams(faults: Mapping[str, StreamFaults] | None, streams: Sequence[str]) -> dict[str, StreamFaults]:
    """Raises ContractError if faults are meant for a stream that the source never has."""
    for name in faults or {}:
        if name not in streams:
            raise ContractError(f"faults: there is no stream {name!r}; it has {', '.join(streams)}")
    return dict(faults or {})


def inject(
    events: Iterator[tuple[int, StreamEvent]], faults: Mapping[str, StreamFaults], *, seed: int = 0
) -> Generator[tuple[int, StreamEvent], None, None]:
    """The events as they arrive after the faults, in order of due_ns. Ends `events` when it is closed itself.

    What is under way is held here: as much as the longest delay or stall, at most MAX_HELD_BYTES, then packets are lost ("overflow").
    """
    lines = {name: _Line(name, fault, seed) for name, fault in faults.items()}
    held: list[tuple[int, int, StreamEvent]] = []
    held_bytes = count = 0
    with closing(events) if isinstance(events, Generator) else nullcontext():
        for due_ns, event in events:
            while held and held[0][0] < due_ns:
                held_bytes -= _size(held[0][2])
                yield _out(heapq.heappop(held))
            for new_ns, new in _through(lines, due_ns, event):
                kept = new if held_bytes + _size(new) <= MAX_HELD_BYTES else _lost(new, "overflow")
                held_bytes += _size(kept)
                heapq.heappush(held, (new_ns, count, kept))
                count += 1
        while held:
            yield _out(heapq.heappop(held))


def _through(lines: Mapping[str, _Line], due_ns: int, event: StreamEvent) -> Iterable[tuple[int, StreamEvent]]:
    line = lines.get(event.stream)
    return ((due_ns, event),) if line is None else line.send(due_ns, event)


def _out(entry: tuple[int, int, StreamEvent]) -> tuple[int, StreamEvent]:
    return entry[0], entry[2]


def _size(event: StreamEvent) -> int:
    return event.nbytes if isinstance(event, Packet) else 0


def _lost(event: StreamEvent, reason: str) -> StreamEvent:
    return Dropped(stream=event.stream, reason=reason, start_ns=event.start_ns) if isinstance(event, Packet) else event


class _Line:
    """The way of one stream, from its device to us."""

    def __init__(self, stream: str, faults: StreamFaults, seed: int) -> None:
        self._faults = faults
        self._seed = (seed, zlib.crc32(stream.encode()))
        self._arrived_ns = 0
        self._shown: Payload | None = None

    def send(self, due_ns: int, event: StreamEvent) -> Iterator[tuple[int, StreamEvent]]:
        faults = self._faults
        if isinstance(event, Packet):
            yield self._packet(due_ns, self._stamped(self._frozen(due_ns, event)))
        elif isinstance(event, Closed):
            # The end of a file is no message of the device: it is told even if the device is dead.
            self._arrived_ns = max(self._arrived_ns, due_ns)
            yield self._arrived_ns, replace(event, time_ns=self._drifted(event.time_ns))
        elif isinstance(event, Watermark):
            if _within(faults.dead, due_ns) is None:
                # After all packets that were sent before it: each of them may be the one that it speaks of.
                self._arrived_ns = max(self._arrived_ns, self._held_up(due_ns + round(faults.delay_ms * 1e6)))
                yield self._arrived_ns, replace(event, time_ns=self._drifted(event.time_ns))
        else:
            yield due_ns, event

    def _packet(self, due_ns: int, packet: Packet) -> tuple[int, StreamEvent]:
        lot = np.random.default_rng((*self._seed, packet.seq)) if self._faults.drop or self._faults.jitter else None
        if _within(self._faults.dead, due_ns) is not None:
            return due_ns, _lost(packet, "injected_outage")
        if lot is not None and lot.random() < self._faults.drop:
            return due_ns, _lost(packet, "injected_loss")
        late = 1.0 if lot is None else float(np.exp(self._faults.jitter * lot.standard_normal()))
        arrival_ns = self._held_up(due_ns + round(self._faults.delay_ms * 1e6 * late))
        before_ns, self._arrived_ns = self._arrived_ns, max(self._arrived_ns, arrival_ns)
        return (arrival_ns if self._faults.reorder else max(before_ns, arrival_ns)), packet

    def _held_up(self, due_ns: int) -> int:
        end_ns = _within(self._faults.stalls, due_ns)
        return due_ns if end_ns is None else end_ns

    def _frozen(self, due_ns: int, packet: Packet) -> Packet:
        if _within(self._faults.freezes, due_ns) is None or self._shown is None:
            self._shown = packet.payload
            return packet
        return replace(packet, payload=self._shown)

    def _stamped(self, packet: Packet) -> Packet:
        if not self._faults.drift_ppm:
            return packet
        return replace(packet, start_ns=self._drifted(packet.start_ns), end_ns=self._drifted(packet.end_ns))

    def _drifted(self, time_ns: int) -> int:
        return time_ns + round(time_ns * self._faults.drift_ppm * 1e-6)


def _within(intervals: Intervals, time_ns: int) -> int | None:
    """The end of the interval that time_ns lies in (a far future if it has none); None if it lies in none."""
    for start, end in intervals:
        if start * 1e9 <= time_ns and (end is None or time_ns < end * 1e9):
            return 1 << 62 if end is None else round(end * 1e9)
    return None
