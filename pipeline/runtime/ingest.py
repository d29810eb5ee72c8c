"""The loop of one source's process: read, transform, pace, send; say that it lives; after the end, stay and repeat the end.

One thread does it all, so a heartbeat means progress: a source that hangs falls silent and is started again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from queue import SimpleQueue
from typing import Any

import zmq

from operators.packet import Closed, Dropped, StreamEvent
from pipeline.clock import Clock
from pipeline.runtime.bus import EdgeSender, Outbox
from pipeline.runtime.intake import Intake
from pipeline.runtime.pace import Pace
from pipeline.runtime.parts import RunPlan, session_of, speed_of, until_of
from pipeline.runtime.view import View
from pipeline.runtime.viewfeed import Feed
from pipeline.runtime.wires import Wires
from pipeline.session.layout import Recording

REPORT_NS = 200_000_000
SLICE_NS = 20_000_000
"""The longest sleep: what waits in a queue is looked after at least so often."""


class IngestLoop:
    """One start of one source. open, run, close."""

    def __init__(self, plan: RunPlan, name: str, wires: Wires, generation: int, clock: Clock, stop: Callable[[], bool]) -> None:
        self._speed, self._until_ns = speed_of(plan), until_of(plan)
        self._wires = wires
        self._recorder = wires.recorder(generation, clock, paced=self._speed is not None)
        self._context: zmq.Context[Any] = zmq.Context()
        self._view = View(Feed(self._context, wires.view, session_of(plan)), clock, name)
        self._intake = Intake(plan, name, None if self._recorder is None else self._recorder.source(name), self._view.note)
        self._orders: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._name, self._generation, self._clock, self._stop = name, generation, clock, stop
        self._outbox = Outbox(self._context, wires.engine, keys=wires.keys)
        self._edges = {wanted: self._edge(plan, wires, wanted) for wanted in self._intake.inputs}
        self._closed: dict[str, Closed] = {}
        self._report_due_ns = clock.now_ns()
        self._ended = False

    def open(self) -> dict[str, Any]:
        """What it offers, as plain values. Raises SourceError."""
        specs = self._intake.open()
        return {"inputs": {wanted: asdict(spec) for wanted, spec in specs.items()}, "end_ns": self._intake.end_ns()}

    def run(self, epoch_ns: int, from_ns: int, edges: Mapping[str, str]) -> None:
        """Until told to stop, also past the source's end. edges: input -> where it is received. Raises what the source raises."""
        self.connect(edges)
        self._heed_orders()
        pace = None if self._speed is None else Pace(clock=self._clock, epoch_ns=epoch_ns, speed=self._speed)
        if (live := self._intake.live_source) is not None:
            live.begin((pace or Pace(clock=self._clock, epoch_ns=epoch_ns)).now_ns)
        for due_ns, event in self._intake.events(from_ns, self._until_ns):
            if not self._wait_until(pace, due_ns):
                return
            self._send(event)
            self._view.show()
        self._ended = True
        if self._recorder is not None:
            self._recorder.close()
        self._report()
        self._stay()

    def record(self, recording: Recording | None) -> None:
        """Record from now on, or no longer. May be called from another thread, as may the next."""
        self._orders.put(partial(self._record, recording))

    def connect(self, edges: Mapping[str, str]) -> None:
        """Inputs are received elsewhere from now on: at their core's successor."""
        self._orders.put(partial(self._connect, dict(edges)))

    def close(self) -> None:
        self._intake.close()
        if self._recorder is not None:
            self._recorder.close()
        for edge in self._edges.values():
            edge.close()
        self._view.close()
        self._outbox.close()
        self._context.term()

    def _edge(self, plan: RunPlan, wires: Wires, name: str) -> EdgeSender:
        place = wires.inputs.index(name)
        return EdgeSender(self._context, "", plan.edge(name), self._clock, stream=place, generation=self._generation, keys=wires.keys)

    def _wait_until(self, pace: Pace | None, due_ns: int) -> bool:
        """False: told to stop."""
        target_ns = 0 if pace is None else pace.clock_ns(due_ns)
        while not self._stop():
            now_ns = self._clock.now_ns()
            self._look_after(now_ns)
            if now_ns >= target_ns:
                return True
            self._clock.sleep_until(min(target_ns, now_ns + SLICE_NS))
        return False

    def _send(self, event: StreamEvent) -> None:
        self._view.passed(event)
        if isinstance(event, Dropped):
            return  # counted by the intake
        edge = self._edges[event.stream]
        while edge.full and not self._stop():
            edge.wait(SLICE_NS // 1_000_000)
            edge.flush()
            self._look_after(self._clock.now_ns())
        self._view.lost(edge.put(event))
        if isinstance(event, Closed):
            self._closed[event.stream] = event

    def _stay(self) -> None:
        # Who is listening may be another one than before, who does not know: so the close is said again and again.
        while not self._stop():
            now_ns = self._clock.now_ns()
            if self._look_after(now_ns):
                for name, close in self._closed.items():
                    self._edges[name].put(close)
            self._clock.sleep_until(now_ns + SLICE_NS)

    def _look_after(self, now_ns: int) -> bool:
        """Sends what waits; now and then a report, and then True."""
        self._heed_orders()
        for edge in self._edges.values():
            if len(edge.queue):
                self._view.lost(edge.flush())
        self._view.look_after(now_ns)
        if now_ns < self._report_due_ns:
            return False
        self._report_due_ns = now_ns + REPORT_NS
        self._report()
        self._tell_news()
        return True

    def _heed_orders(self) -> None:
        while not self._orders.empty():
            self._orders.get()()

    def _record(self, recording: Recording | None) -> None:
        before = self._recorder
        self._wires = replace(self._wires, recording=recording)
        self._recorder = self._wires.recorder(self._generation, self._clock, paced=self._speed is not None)
        self._intake.record(None if self._recorder is None else self._recorder.source(self._name))
        if before is not None:
            threading.Thread(target=before.close).start()  # the disk may take its time; decisions may not

    def _connect(self, edges: Mapping[str, str]) -> None:
        for name, edge in self._edges.items():
            edge.connect(edges[name])

    def _tell_news(self) -> None:
        for line in () if self._intake.live_source is None else self._intake.live_source.news():
            self._outbox.letter({"from": self._name, "generation": self._generation, "event": line})

    def _report(self) -> None:
        for line in [] if self._recorder is None else self._recorder.take_lines():
            self._outbox.letter({"from": self._name, "generation": self._generation, "event": line})
        self._outbox.report(
            {
                "from": self._name,
                "generation": self._generation,
                "edges": {name: _counts(edge) for name, edge in self._edges.items()},
                "dropped": {name: dict(dropped) for name, dropped in self._intake.dropped.items()},
                "health": {name: asdict(health) for name, health in self._intake.health().items()},
                "doors": self._intake.doors(),
                "ended": self._ended,
                "unrecorded": None if self._recorder is None else self._recorder.stopped,
            }
        )


def _counts(edge: EdgeSender) -> dict[str, Any]:
    queue = edge.queue
    return {"entered": queue.entered, "left": queue.left, "waiting": queue.waiting, "dropped": dict(queue.dropped)}
