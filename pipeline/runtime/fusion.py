"""The loop of the fusion process: what comes over the edges goes into the core, what the core says goes to the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from queue import Empty, SimpleQueue
from typing import Any

import zmq

from operators.decision import Decision
from operators.packet import Closed, CoreEvent, Dropped, Tick, Watermark
from operators.window import Skipped
from pipeline.clock import Clock
from pipeline.runtime.bus import EdgeReceiver, Outbox
from pipeline.runtime.core import unused
from pipeline.runtime.pace import Pace
from pipeline.runtime.parts import RunPlan, fed_inputs, kinds_of, make_core, speed_of, takes_changes
from pipeline.runtime.tally import Tallies
from pipeline.runtime.wires import Wires
from pipeline.session.layout import Recording
from pipeline.session.replay import Replay, Resume, replayed

REPORT_NS = 200_000_000
POLL_MS = 20
SPARE_NS = 3_000_000
"""What a decision takes from the core to the one who reads it."""
AHEAD_NS = 5_000_000_000
"""At full speed no input is read further ahead of the slowest than this: what waits, waits at its source."""
STUCK_NS = 1_000_000_000
"""... unless the slow ones say nothing for so long of real time: a source that makes no promises must not stop the others."""


class FusionLoop:
    """One start of the core of one session. open, run, close. `lose` may be called from another thread."""

    def __init__(self, plan: RunPlan, wires: Wires, generation: int, clock: Clock, stop: Callable[[], bool]) -> None:
        self._plan, self._wires, self._generation, self._clock, self._stop = plan, wires, generation, clock, stop
        self._speed = speed_of(plan)
        self._tallies = Tallies(kinds_of(plan))
        self._lost: SimpleQueue[str] = SimpleQueue()
        self._vacancies: SimpleQueue[list[str]] = SimpleQueue()
        # Where streams may come and go, an input that nobody feeds is not closed, but vacant: we promise that it has nothing.
        self._vacant = sorted(kinds_of(plan).keys() - fed_inputs(plan).keys()) if takes_changes(plan) else []
        self._promise_due_ns = 0
        self._recordings: SimpleQueue[Recording | None] = SimpleQueue()
        self._context: zmq.Context[Any] = zmq.Context()
        self._outbox = Outbox(self._context, wires.engine)
        self._edges = {
            name: EdgeReceiver(self._context, wires.edge(name), wires.inputs, replays=self._speed is None)
            for name in (kinds_of(plan) if takes_changes(plan) else fed_inputs(plan))
        }
        self._recorder = wires.recorder(generation, clock, paced=self._speed is not None)
        self._log = None if self._recorder is None else self._recorder.core()
        self._pace: Pace | None = None
        self._over = self._exhausted = False
        self._report_due_ns = self._heard_ns = clock.now_ns()

    def open(self) -> dict[str, Any]:
        """Loads and warms the model. Raises BackendError."""
        backend = self._plan.make_backend()
        self._core = make_core(self._plan, backend, self._clock)
        return {"backend": backend.name, "model": self._core.config.model}

    def run(self, epoch_ns: int, decided: int, resumed: bool) -> None:
        """Until told to stop. resumed: the session ran before; decided: the last window that was decided then, -1: none."""
        if self._plan.replay is not None:
            self._again(self._plan.replay)
            return
        self._start(epoch_ns, decided, resumed)
        for close in unused(self._plan.align, self._edges):
            self._feed(close)
        while not self._stop():
            self._hear()
            self._lose_streams()
            self._promise_for_vacant()
            self._tick()
            self._look_after()

    def _again(self, replay: Replay) -> None:
        """A recorded session, from its beginning whoever ran it before: the engine knows what it had."""
        for at_ns, event in replayed(replay):
            if self._pace is None and self._speed is not None:
                epoch_ns = self._clock.now_ns() - round(at_ns / self._speed)
                self._pace = Pace(clock=self._clock, epoch_ns=epoch_ns, speed=self._speed)
            if not self._wait_until(at_ns):
                return
            if isinstance(event, Resume):
                self._core.restore(event.state)
            else:
                self._feed(event)
            if self._over:
                break
        self._exhausted = True
        while not self._stop():
            self._look_after()

    def _wait_until(self, at_ns: int) -> bool:
        """False: told to stop."""
        while not self._stop():
            self._look_after()
            left_ns = 0 if self._pace is None else self._pace.clock_ns(at_ns) - self._clock.now_ns()
            if left_ns <= 0:
                return True
            self._clock.sleep_until(self._clock.now_ns() + min(left_ns, POLL_MS * 1_000_000))
        return False

    def lose(self, names: Sequence[str]) -> None:
        """These streams will not come back."""
        for name in names:
            self._lost.put(name)

    def vacate(self, names: Sequence[str]) -> None:
        """Nobody feeds these inputs now, and all others somebody does. May be called from another thread."""
        self._vacancies.put(list(names))

    def record(self, recording: Recording | None) -> None:
        """Record the core's events from now on, or no longer. May be called from another thread."""
        self._recordings.put(recording)

    def _heed_recordings(self) -> None:
        while not self._recordings.empty():
            before = self._recorder
            self._wires = replace(self._wires, recording=self._recordings.get())
            self._recorder = self._wires.recorder(self._generation, self._clock, paced=self._speed is not None)
            self._log = None if self._recorder is None else self._recorder.core()
            if before is not None:
                threading.Thread(target=before.close).start()  # the disk may take its time; decisions may not

    def close(self) -> None:
        for edge in self._edges.values():
            edge.close()
        if self._recorder is not None:
            self._recorder.close()
        self._outbox.close()
        self._context.term()

    def _start(self, epoch_ns: int, decided: int, resumed: bool) -> None:
        if self._speed is None:
            return  # all is read again from the start: the engine knows what it had
        self._pace = Pace(clock=self._clock, epoch_ns=epoch_ns, speed=self._speed)
        first = max(decided + 1, self._core.first_open_window(self._pace.now_ns()) if resumed else 0)
        self._core.start(self._pace, first_window=first, spare_ns=SPARE_NS)
        if first > decided + 1:
            self._skipped(decided + 1, first)

    def _skipped(self, index: int, until: int) -> None:
        align = self._plan.align
        start_ns, end_ns = align.window_start_ns(index), align.window_start_ns(until)
        self._core.counts["skipped"] += until - index
        self._gave(Skipped(index=index, count=until - index, start_ns=start_ns, end_ns=end_ns))

    # -- in

    def _hear(self) -> None:
        heard = [self._hear_one(edge) for edge in self._readable()]
        now_ns = self._clock.now_ns()
        if any(heard):
            self._heard_ns = now_ns
            return
        sockets = [edge.socket for edge in self._readable()]
        timeout_ms = self._poll_ms()
        if sockets:
            zmq.select(sockets, [], [], timeout_ms / 1000)
        else:
            self._clock.sleep_until(now_ns + timeout_ms * 1_000_000)

    def _hear_one(self, edge: EdgeReceiver) -> int:
        count = 0
        for item in edge.receive():
            count += 1
            if isinstance(item, Dropped):
                continue  # counted by the edge
            self._feed(item.event, self._clock.now_ns() - item.sent_ns)
        return count

    def _readable(self) -> list[EdgeReceiver]:
        """All edges; at full speed those that are not far ahead of the slowest."""
        if self._pace is not None or self._clock.now_ns() - self._heard_ns > STUCK_NS:
            return list(self._edges.values())
        tallies = self._tallies.streams
        open_names = [name for name in self._edges if not tallies[name].closed]
        slowest_ns = min((tallies[name].promised_ns for name in open_names), default=0)
        return [self._edges[name] for name in open_names if tallies[name].promised_ns <= slowest_ns + AHEAD_NS]

    def _poll_ms(self) -> int:
        """How long to wait for messages: not past the next tick."""
        tick_ns = self._core.next_tick_ns()
        if self._pace is None or tick_ns is None:
            return POLL_MS
        left_ns = self._pace.clock_ns(tick_ns) - self._clock.now_ns()
        return max(0, min(POLL_MS, left_ns // 1_000_000))

    def _feed(self, event: CoreEvent | Dropped, transport_ns: int = 0) -> None:
        if isinstance(event, Closed) and event.stream in self._core.closed:
            return  # said again for a core that does not know it yet
        self._tallies.take(event)
        if not isinstance(event, Dropped):
            if self._log is not None:
                self._log.event(event, self._session_ns(), self._core.snapshot)
            for out in self._core.process(event, transport_ns):
                self._gave(out)

    def _lose_streams(self) -> None:
        try:
            while True:
                name = self._lost.get_nowait()
                promised_ns = self._tallies.streams[name].promised_ns
                now_ns = promised_ns if self._pace is None else max(promised_ns, self._pace.now_ns())
                self._feed(Watermark(stream=name, time_ns=now_ns))
                self._feed(Closed(stream=name, time_ns=now_ns))
        except Empty:
            return

    def _promise_for_vacant(self) -> None:
        while not self._vacancies.empty():
            self._vacant = self._vacancies.get()
        now_ns = self._session_ns()
        if not self._vacant or now_ns < self._promise_due_ns:
            return
        self._promise_due_ns = now_ns + POLL_MS * 1_000_000
        fed = self._edges.keys() - set(self._vacant)
        ended = bool(fed) and fed <= self._core.closed
        for name in self._vacant:
            if name not in self._core.closed:
                promise_ns = max(now_ns, self._tallies.streams[name].promised_ns)
                self._feed(Closed(stream=name, time_ns=promise_ns) if ended else Watermark(stream=name, time_ns=promise_ns))

    def _tick(self) -> None:
        if self._pace is None:
            return
        while (tick_ns := self._core.next_tick_ns()) is not None and self._pace.now_ns() >= tick_ns:
            deadline_ns = self._core.next_deadline_ns() or 0
            self._feed(Tick(now_ns=max(deadline_ns, self._pace.now_ns())))

    # -- out

    def _gave(self, out: Any) -> None:  # noqa: ANN401 - whatever a core says
        self._tallies.gave(out)
        if isinstance(out, Decision):
            if (replay := self._plan.replay) is not None:
                self._over = self._over or replay.is_over(out)
                if not replay.wants(out):
                    return
            self._outbox.letter({"from": "fusion", "generation": self._generation, "decision": out.to_json()})
            while self._pace is None and self._outbox.flush() > POLL_MS and not self._stop():
                self._outbox.wait(POLL_MS)  # nobody waits for this run, so it waits for its reader

    def _look_after(self) -> None:
        self._heed_recordings()
        for line in [*self._tallies.take_events(), *([] if self._recorder is None else self._recorder.take_lines())]:
            self._outbox.letter({"from": "fusion", "generation": self._generation, "event": line})
        waiting = self._outbox.flush()
        now_ns = self._clock.now_ns()
        ended = (self._core.ended if self._plan.replay is None else self._exhausted) and not waiting
        if now_ns >= self._report_due_ns or ended:
            self._report_due_ns = now_ns + REPORT_NS
            self._report(ended)
        if ended:
            self._clock.sleep_until(now_ns + POLL_MS * 1_000_000)

    def _report(self, ended: bool) -> None:
        now_ns = self._session_ns()
        edges = {name: asdict(edge.counts) for name, edge in self._edges.items()}
        self._outbox.report(
            {
                "from": "fusion",
                "generation": self._generation,
                "now_ns": now_ns,
                "counts": dict(self._core.counts),
                "streams": [asdict(status) for status in self._tallies.statuses(now_ns, paced=self._pace is not None)],
                "edges": edges,
                "lost_letters": dict(self._outbox.dropped),
                "ended": ended,
                "unrecorded": None if self._recorder is None else self._recorder.stopped,
            }
        )

    def _session_ns(self) -> int:
        if self._pace is not None:
            return self._pace.now_ns()
        return max((tally.promised_ns for tally in self._tallies.streams.values()), default=0)
