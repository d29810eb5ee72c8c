"""A live device by script, in virtual time: what comes after each attempt to connect, and the events that a Feed makes of it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from operators.packet import AudioBlock, Dropped, Frame, Packet, StreamEvent, TextSpan, Watermark
from operators.stamps import SourceClock
from pipeline.clock import FakeClock
from pipeline.live.captured import Captured, Connected, Ended, Item
from pipeline.live.feed import Feed
from pipeline.live.link import LinkPolicy
from pipeline.live.placement import Placement
from pipeline.live.stream import LiveStream, StreamRules

MS = 1_000_000
S = 1000 * MS
Step = tuple[int, Item]
"""(milliseconds after the attempt, what comes)."""

UP = Connected(details={"video": "64x48", "audio": "mono", "text": ""})
POLICY = LinkPolicy(jitter=0)


class ScriptCapture:
    """Each attempt plays the next script (the last one again and again); waiting moves the clock."""

    def __init__(self, clock: FakeClock, attempts: Sequence[Sequence[Step]], *, exclusive: bool = True, lets_go: bool = True) -> None:
        self.clock, self.attempts = clock, [list(steps) for steps in attempts]
        self.exclusive, self.lets_go = exclusive, lets_go
        self.connects: list[int] = []
        self.calls: list[str] = []
        self._waiting: list[tuple[int, Item]] = []

    def connect(self) -> None:
        steps = self.attempts[min(len(self.connects), len(self.attempts) - 1)]
        now_ns = self.clock.now_ns()
        self.connects.append(now_ns // MS)
        self._waiting = [(now_ns + after * MS, item) for after, item in steps]

    def release(self) -> None:
        self.calls.append("release")
        self._waiting = [(self.clock.now_ns(), Ended(why="let go"))] if self.lets_go else []

    def abandon(self) -> bool:
        self.calls.append("abandon")
        return not self.exclusive

    def take(self, timeout_ns: int) -> list[Item]:
        until_ns = self.clock.now_ns() + timeout_ns
        if self._waiting and self._waiting[0][0] <= until_ns:
            at_ns = max(self.clock.now_ns(), self._waiting[0][0])
            self.clock.sleep_until(at_ns)
            items = [item for when, item in self._waiting if when <= at_ns]
            self._waiting = [timed for timed in self._waiting if timed[0] > at_ns]
            return [arrived(item, at_ns) for item in items]
        self.clock.sleep_until(until_ns)
        return []


def arrived(item: Item, at_ns: int) -> Item:
    if not isinstance(item, Captured):
        return item
    return Captured(**{name: getattr(item, name) for name in Captured.__slots__} | {"arrival_ns": at_ns})


def picture(device_ms: float | None = None, *, at_ms: float | None = None, width: int = 64) -> Captured:
    data = np.zeros((48, width), np.uint8)
    return Captured(stream="video", payload=Frame(data=data), arrival_ns=0, device_ns=ns(device_ms), at_ns=ns(at_ms))


def sound(device_ms: float | None = None, *, length_ms: int = 20, value: float = 0.5, rate_hz: int = 1000) -> Captured:
    data = np.full((1, length_ms * rate_hz // 1000), value, np.float32)
    block = AudioBlock(data=data, rate_hz=rate_hz)
    return Captured(stream="audio", payload=block, arrival_ns=0, device_ns=ns(device_ms), length_ns=length_ms * MS)


def line(text: str) -> Captured:
    return Captured(stream="text", payload=TextSpan(text=text), arrival_ns=0, length_ns=0)


def ns(ms: float | None) -> int | None:
    return None if ms is None else round(ms * MS)


class Story:
    """A Feed in virtual time. attempts: see ScriptCapture. kinds: its streams. placements: of the streams that are recorded."""

    def __init__(
        self,
        attempts: Sequence[Sequence[Step]],
        *,
        kinds: str = "video",
        policy: LinkPolicy = POLICY,
        exclusive: bool = True,
        lets_go: bool = True,
        wrap_ms: int | None = None,
        placements: Mapping[str, Placement] | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.capture = ScriptCapture(self.clock, attempts, exclusive=exclusive, lets_go=lets_go)
        rules = {name: StreamRules(kind=name, quiet_ns=50 * MS if name == "text" else None) for name in kinds.split()}  # type: ignore[arg-type]
        placing = placements or {}
        self.streams = {name: LiveStream(name, rule, seq=0, from_ns=0, placement=placing.get(name)) for name, rule in rules.items()}
        self.feed = Feed(
            "cam",
            self.streams,
            self.capture,
            policy,
            self.clock.now_ns,
            random.Random(1),
            lambda: SourceClock(wrap_ns=None if wrap_ms is None else wrap_ms * MS),
        )
        self.events: list[tuple[int, StreamEvent]] = []
        self._running = self.feed.events()

    def until(self, ms: int) -> Story:
        for due_ns, event in self._running:
            self.events.append((due_ns, event))
            if due_ns >= ms * MS:
                break
        return self

    def packets(self, stream: str = "video") -> list[Packet]:
        return [event for _, event in self.events if isinstance(event, Packet) and event.stream == stream]

    def starts(self, stream: str = "video") -> list[float]:
        return [packet.start_ns / MS for packet in self.packets(stream)]

    def dropped(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for _, event in self.events:
            if isinstance(event, Dropped):
                counts[event.reason] = counts.get(event.reason, 0) + event.count
        return counts

    def promises(self, stream: str = "video") -> Iterator[tuple[int, int]]:
        """(when in ms, promised until in ms)."""
        for due_ns, event in self.events:
            if isinstance(event, Watermark) and event.stream == stream:
                yield due_ns // MS, event.time_ns // MS

    def state(self, stream: str = "video") -> str:
        return self.feed.health()[stream].state

    def faults(self, stream: str = "video") -> dict[str, int]:
        return dict(self.feed.health()[stream].faults)


def pictures(count: int, *, first_ms: int = 0, step_ms: int = 40, device_ms: int | None = None) -> list[Step]:
    """Pictures every step_ms after the attempt; device_ms: the stamp of the first, None: they have none."""
    return [(first_ms + i * step_ms, picture(None if device_ms is None else device_ms + i * step_ms)) for i in range(count)]
