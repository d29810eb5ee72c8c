"""Hours of faults in virtual time, through the whole of a live source and the core: nothing is missed, lost count of, or piled up."""

from __future__ import annotations

import gc
import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from fakeplan import FakePlan
from livescript import UP, ScriptCapture, Step

from operators.decision import Decision
from operators.packet import Dropped, Embedding, Packet, StreamEvent
from operators.stamps import SourceClock
from pipeline.clock import FakeClock
from pipeline.live.captured import Captured, Ended, Happened, Item, Lost
from pipeline.live.feed import Feed
from pipeline.live.link import LinkPolicy
from pipeline.live.stream import LiveStream, StreamRules
from pipeline.ports import Status, StreamSpec, Wanted
from pipeline.runtime.inline import run_inline

MS = 1_000_000
STEP_MS = 50
EPISODE_MS = 60_000
"""So long a connection holds at most."""


class Troubled:
    """A live source whose device has every fault, by a seed, in virtual time: it can be read by the reference runner, which waits for no one.

    Each connection holds for up to EPISODE_MS and ends in one way or another; in it stamps jitter, drift, repeat, jump back and begin again.
    """

    live = False

    def __init__(self, name: str, seconds: int, seed: int) -> None:
        self.name, self.seconds = name, seconds
        self.clock, self.lot = FakeClock(), random.Random(seed)
        self.capture = Counting(self.clock, Episodes(self), exclusive=False)
        stream = LiveStream(name, StreamRules(kind="series"), seq=0, from_ns=0)
        self.feed = Feed(name, {name: stream}, self.capture, LinkPolicy(), self.clock.now_ns, self.lot, SourceClock)
        self.gave: Counter[str] = Counter()

    def open(self, wanted: Mapping[str, Wanted]) -> Sequence[StreamSpec]:
        return [StreamSpec(name=self.name, kind="series")]

    def events(self, from_ns: int = 0) -> Iterator[tuple[int, StreamEvent]]:
        for due_ns, event in self.feed.events():
            if isinstance(event, Packet):
                self.gave["packets"] += 1
            elif isinstance(event, Dropped):
                self.gave["dropped"] += event.count
            yield due_ns, event
            if due_ns > self.seconds * 1000 * MS:
                self.feed.stop()

    def end_ns(self) -> int | None:
        return None

    def close(self) -> None:
        pass


class Counting(ScriptCapture):
    """How many payloads were handed over, lost ones too."""

    def __init__(self, clock: FakeClock, attempts: Episodes, *, exclusive: bool) -> None:
        super().__init__(clock, [[]], exclusive=exclusive)
        self.attempts, self.handed = attempts, 0  # type: ignore[assignment]

    def take(self, timeout_ns: int) -> list[Item]:
        items = super().take(timeout_ns)
        self.handed += sum(isinstance(item, Captured | Lost) for item in items)
        return items


class Episodes(Sequence[list[Step]]):
    """What comes of each attempt to connect, made when it is needed."""

    def __init__(self, source: Troubled) -> None:
        self.source = source

    def __len__(self) -> int:
        return 1 << 30

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return list(self.steps())

    def steps(self) -> Iterator[Step]:
        lot = self.source.lot
        if lot.random() < 0.3:
            yield lot.randrange(5, 200), Ended(why="refused")
            return
        yield 20, type(UP)(details={self.source.name: "scripted"})
        device_ms, rate = float(lot.randrange(0, 10**7)), 1 + lot.uniform(-300e-6, 300e-6)
        after_ms, end_ms = 30, lot.randrange(1000, EPISODE_MS)
        while after_ms < end_ms:
            match lot.randrange(400):
                case 0:
                    device_ms = 0.0  # begun again
                case 1:
                    device_ms -= lot.randrange(100, 900)
                case 2:
                    device_ms += lot.randrange(1000, 10**6)
                case 3:
                    device_ms -= STEP_MS * rate  # the same again
                case 4:
                    after_ms += lot.randrange(100, 1400)  # a stall
                case 5:
                    yield after_ms, Lost(stream=self.source.name, reason="corrupt")
                case 6:
                    yield after_ms, Happened(stream=self.source.name, what="overflow")
            yield after_ms + min(20, int(lot.expovariate(0.3))), captured(self.source.name, device_ms)
            after_ms += STEP_MS
            device_ms += STEP_MS * rate
        if lot.random() < 0.5:
            yield after_ms + 25, Ended(why="cut")  # else: it falls silent, and the watchdog has to find out


def captured(name: str, device_ms: float) -> Captured:
    payload = Embedding(data=np.array([device_ms % 7 / 7], np.float32))
    return Captured(stream=name, payload=payload, arrival_ns=0, device_ns=round(device_ms * MS), length_ns=0)


class Watching:
    """A sink that keeps no decision, but looks how many objects there are."""

    def __init__(self) -> None:
        self.windows = 0
        self.in_order = True
        self.objects: list[int] = []
        self.presence: Counter[str] = Counter()
        self.final: Status | None = None

    def decision(self, decision: Decision) -> None:
        self.in_order = self.in_order and decision.window == self.windows
        self.windows += 1
        self.presence.update(decision.presence.values())
        if self.windows % 1000 == 0:
            gc.collect()
            self.objects.append(len(gc.get_objects()))

    def status(self, status: Status) -> None:
        self.final = status

    def close(self) -> None:
        pass


def test_a_decision_at_every_tick_whatever_the_devices_do() -> None:
    seconds = int(os.environ.get("LONG_RUN_S", "300"))  # 14400: four hours
    sources = {name: Troubled(name, seconds, seed) for seed, name in enumerate(("cam", "mic"))}
    watching = Watching()
    plan = FakePlan(sources, speed=1, duration=seconds)  # type: ignore[arg-type]
    status = run_inline(plan, [watching], FakeClock())  # type: ignore[arg-type]
    assert watching.in_order
    assert abs(watching.windows - seconds * 10) <= 2
    assert (status.skipped, status.missed_deadlines) == (0, 0)
    for name, source in sources.items():
        assert source.capture.handed == sum(source.gave.values())
        faults = source.feed.health()[name].faults
        assert {"reconnect", "hung"} & set(faults)
        print(name, source.capture.handed, "handed over:", dict(source.gave), dict(faults))
    print(watching.windows, "decisions, inputs:", dict(watching.presence), "objects:", watching.objects[:1], watching.objects[-1:])
    assert watching.presence["present"] > 0.5 * watching.windows
    assert watching.objects[-1] < watching.objects[0] * 1.02 + 500
    for edge in status.edges:
        assert edge.entered == edge.left + edge.waiting + sum(edge.dropped.values())
