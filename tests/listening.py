"""A live source read in a thread, for tests of real parts: what it says, as it stands."""

from __future__ import annotations

import threading
from collections import Counter

from waiting import until

from operators.packet import Closed, Dropped, Packet, StreamEvent, Watermark
from pipeline.clock import SystemClock
from pipeline.ports import LiveSource, Wanted
from pipeline.runtime.pace import Pace


class Listening:
    """with Listening(source) as heard: ..."""

    def __init__(self, source: LiveSource, wanted: dict[str, Wanted] | None = None) -> None:
        self.source = source
        self.events: list[tuple[int, StreamEvent]] = []
        self.error: BaseException | None = None
        self.specs = {spec.name: spec for spec in source.open(wanted or {})}
        clock = SystemClock()
        self.now_ns = Pace(clock=clock, epoch_ns=clock.now_ns()).now_ns
        source.begin(self.now_ns)
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Listening:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.source.stop()
        self._thread.join(5)
        self.source.close()
        assert not self._thread.is_alive(), "the source does not end"
        if self.error is not None:
            raise self.error

    def _read(self) -> None:
        try:
            for timed in self.source.events():
                self.events.append(timed)
        except BaseException as error:  # noqa: BLE001 - told in the test's own thread
            self.error = error

    def state(self, stream: str = "text") -> str:
        health = self.source.health()
        return health[stream].state if stream in health else "waiting"

    def faults(self, stream: str = "text") -> dict[str, int]:
        return dict(self.source.health()[stream].faults)

    def live(self, stream: str = "text", within_s: float = 10.0) -> None:
        until(lambda: self.state(stream) == "live", within_s, f"{stream} live; it is {self.state(stream)}: {self.source.health()}")

    def packets(self, stream: str = "text") -> list[Packet]:
        return [event for _, event in list(self.events) if isinstance(event, Packet) and event.stream == stream]

    def texts(self) -> list[str]:
        return [packet.payload.text for packet in self.packets()]

    def promised_ns(self, stream: str = "text") -> int:
        return max((e.time_ns for _, e in list(self.events) if isinstance(e, Watermark) and e.stream == stream), default=-1)

    def dropped(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for _, event in list(self.events):
            if isinstance(event, Dropped):
                counts[event.reason] += event.count
        return counts

    def closed(self) -> bool:
        return any(isinstance(event, Closed) for _, event in list(self.events))
