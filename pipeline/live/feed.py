"""The loop of a live source: keeps its connection, turns what comes into events, promises where nothing can come any more.

It never waits longer than BEAT_NS and always says something, so that whoever reads it sees that it lives.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass

from operators.errors import DeviceLost
from operators.packet import Closed, StreamEvent
from operators.stamps import SourceClock
from pipeline.live.capture import Capture
from pipeline.live.captured import Captured, Compressed, Connected, Ended, Happened, Item, Lost, Now
from pipeline.live.link import Link, LinkPolicy
from pipeline.live.stream import LiveStream
from pipeline.mask import mask
from pipeline.ports import Health, StreamState

BEAT_NS = 40_000_000

Timed = tuple[int, StreamEvent]


@dataclass(slots=True)
class _Told:
    """What a person has been told of the connection last, so that an outage is one line and not one an attempt."""

    state: StreamState = "connecting"
    why: str = ""


class Feed:
    """name: what a person calls the source. make_clock: a new clock for each connection: its stamps are of another epoch."""

    def __init__(
        self,
        name: str,
        streams: Mapping[str, LiveStream],
        capture: Capture,
        policy: LinkPolicy,
        now_ns: Now,
        rng: random.Random,
        make_clock: Callable[[], SourceClock] = SourceClock,
    ) -> None:
        self._name, self._streams, self._capture, self._now_ns = name, dict(streams), capture, now_ns
        self._policy = policy
        self._link = Link(policy, rng, now_ns())
        self._make_clock = make_clock
        self._clock = make_clock()
        self._details: dict[str, str] = {}
        self._faults: Counter[str] = Counter()
        self._news: list[str] = []
        self._told = _Told()
        self._due_ns = self._beat_ns = now_ns()
        self._final = False

    def events(self) -> Generator[Timed, None, None]:
        """Until `stop`, or until the source is at its end. Raises DeviceLost where a device hangs that cannot be opened beside itself."""
        try:
            while not self._final:
                self._obey()
                for item in self._capture.take(max(0, self._beat_ns - self._now_ns())):
                    yield from self._timed(self._take(item))
                if self._now_ns() >= self._beat_ns:
                    yield from self._timed(self._silences())
                    self._beat_ns = self._now_ns() + BEAT_NS
        finally:
            for stream in self._streams.values():
                stream.end()
        self._link.close()
        for stream in self._streams.values():
            yield from self._timed(iter([Closed(stream=stream.name, time_ns=max(stream.promised_ns, self._now_ns()))]))

    def stop(self) -> None:
        """The next thing that events() does is to end."""
        self._final = True

    def health(self) -> dict[str, Health]:
        return {name: self._health(stream) for name, stream in self._streams.items()}

    def news(self) -> list[str]:
        news, self._news = self._news, []
        return news

    # -- what is done

    def _obey(self) -> None:
        for order in self._link.tick(self._now_ns()):
            match order:
                case "connect":
                    self._capture.connect()
                case "release":
                    self._capture.release()
                    self._tell()
                case "abandon":
                    self._faults["hung"] += 1
                    if not self._capture.abandon():
                        raise DeviceLost(self._name, f"{mask(self._link.why)}, and it does not let go: its process must be replaced")

    def _take(self, item: Item) -> Iterator[StreamEvent]:
        now_ns = self._now_ns()
        match item:
            case Captured():
                self._link.heard(now_ns)
                yield from self._streams[item.stream].take(item, self._clock)
            case Compressed():
                self._streams[item.stream].keep(item)
            case Lost():
                yield self._streams[item.stream].drop(item.reason, item.count)
            case Happened():
                self._streams[item.stream].happened(item.what)
            case Connected():
                self._connected(item, now_ns)
            case Ended():
                self._final = self._final or item.final
                self._link.ended(now_ns, item.why)
                self._tell()

    def _connected(self, item: Connected, now_ns: int) -> None:
        self._link.connected(now_ns)
        self._details = dict(item.details)
        self._clock = self._make_clock()
        for stream in self._streams.values():
            stream.reconnected()
        self._tell()

    def _silences(self) -> Iterator[StreamEvent]:
        now_ns = self._now_ns()
        # A connection that is being let go may still have something to give; one that was given up has not.
        away = self._link.phase in ("idle", "attempting")
        for name, stream in self._streams.items():
            absent = self._link.phase == "up" and name not in self._details
            yield stream.silent(now_ns, connected=not (away or absent))

    def _timed(self, events: Iterator[StreamEvent]) -> Iterator[Timed]:
        for event in events:
            self._due_ns = max(self._due_ns, self._now_ns())
            yield self._due_ns, event

    # -- what is told

    def _tell(self) -> None:
        state, why = self._link.state, self._link.why
        if state == "live":
            if self._told.state != "live":
                details = ", ".join(detail for detail in self._details.values() if detail)
                self._news.append(f"{self._name}: connected{f' ({details})' if details else ''}")
            self._told = _Told(state)
        elif (why and why != self._told.why) or state == "stalled" != self._told.state:
            self._news.append(f"{self._name}: {state}: {mask(why)}; trying again")
            self._told = _Told(state, why)

    def _health(self, stream: LiveStream) -> Health:
        up = self._link.phase == "up"
        return Health(
            state=self._state(stream),
            quality=stream.quality,
            drift_ppm=self._clock.drift_ppm if up and stream.quality != "arrival" else None,
            uncertainty_ns=self._clock.uncertainty_ns if up and stream.quality != "arrival" else None,
            detail=self._details.get(stream.name, "") if up else "",
            faults={**self._faults, **stream.faults, **({"reconnect": self._link.reconnects} if self._link.reconnects else {})},
        )

    def _state(self, stream: LiveStream) -> StreamState:
        if self._link.state != "live":
            return self._link.state
        quiet = stream.rules.quiet_ns is not None
        if stream.name not in self._details or not (stream.fresh or quiet):
            return "connecting" if stream.heard_ns is None else "lost"
        stall_ns = self._policy.stall_ns
        if not quiet and stall_ns is not None and self._now_ns() - (stream.heard_ns or 0) > stall_ns:
            return "stalled"
        return "muted" if stream.muted else "live"
