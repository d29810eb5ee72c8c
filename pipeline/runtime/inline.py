"""The reference runner: the whole plan in one thread, with an injected clock.

With a FakeClock it runs in virtual time: every event comes exactly when it is due, every tick exactly at its deadline.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from operator import itemgetter
from typing import Literal

from operators.decision import Decision
from operators.packet import Dropped, StreamEvent, Tick
from pipeline.clock import Clock
from pipeline.ports import EdgeCount, Sink, Status
from pipeline.runtime.board import recording_state
from pipeline.runtime.bursts import in_bursts
from pipeline.runtime.core import DECISIONS, unused
from pipeline.runtime.failure import MISTAKES
from pipeline.runtime.graphs import Graphs
from pipeline.runtime.intake import Intake
from pipeline.runtime.pace import Pace
from pipeline.runtime.parts import RunPlan, fed_inputs, kinds_of, make_core, session_end_ns, session_of, speed_of, until_of
from pipeline.runtime.tally import Tallies
from pipeline.session.recorder import Recorder
from pipeline.session.replay import Replay, Resume, replayed

STATUS_NS = 250_000_000
SLICE_NS = 100_000_000
"""The longest sleep before `stop` is asked again."""


def run_inline(
    plan: RunPlan,
    sinks: Sequence[Sink],
    clock: Clock,
    stop: Callable[[], bool] = lambda: False,
    recorder: Recorder | None = None,
) -> Status:
    """Runs until the sources end, the config's duration is over or stop() says so; gives the final Status.

    The sinks are the caller's: they are not closed here. Raises SourceError if a source cannot be opened, ConfigError for a
    live source (it would have to be waited for in a thread of its own: that is what the ray runner is for), BackendError.
    """
    with ExitStack() as stack:
        if recorder is not None:
            stack.callback(recorder.close)
        intakes = [Intake(plan, name, None if recorder is None else recorder.source(name)) for name in plan.config.sources]
        for intake in intakes:
            _refuse_live(plan, intake)
            stack.callback(intake.close)
            intake.open()
        return _Run(plan, intakes, sinks, clock, stop, recorder).run()


def _refuse_live(plan: RunPlan, intake: Intake) -> None:
    if intake.live:
        raise plan.config.error(("run", "runner"), f"inline cannot wait for the live source {intake.name}", "use ray")


class _Run:
    def __init__(
        self,
        plan: RunPlan,
        intakes: Sequence[Intake],
        sinks: Sequence[Sink],
        clock: Clock,
        stop: Callable[[], bool],
        recorder: Recorder | None,
    ) -> None:
        self._plan, self._intakes, self._sinks, self._clock, self._stop = plan, intakes, sinks, clock, stop
        self._recorder, self._log = recorder, None if recorder is None else recorder.core()
        backend = plan.make_backend()
        self._core = make_core(plan, Graphs(plan.model, backend, clock))
        self._tallies = Tallies(kinds_of(plan))
        self._backend_name = backend.name
        self._until_ns = until_of(plan)
        self._pace: Pace | None = None
        self._now_ns = 0
        self._over = False
        self._status_due_ns = clock.now_ns()

    def run(self) -> Status:
        if self._plan.replay is None:
            self._live()
        else:
            self._again(self._plan.replay)
        if self._recorder is not None:
            self._recorder.close()
        status = self._status(final=True)
        self._send(status)
        return status

    def _live(self) -> None:
        speed = speed_of(self._plan)
        if speed is not None:
            self._pace = Pace(clock=self._clock, epoch_ns=self._clock.now_ns(), speed=speed)
            self._core.start(self._pace)
        for close in unused(self._plan.align, fed_inputs(self._plan)):
            self._feed(close)
        streams = [self._events(intake) for intake in self._intakes]
        for due_ns, event in heapq.merge(*streams, key=itemgetter(0)):
            if not self._wait_until(due_ns):
                break
            self._now_ns = max(self._now_ns, due_ns)
            self._feed(event)
            self._report()

    def _again(self, replay: Replay) -> None:
        """A recorded session: its own ticks are among its events, so no clock has a say in what is decided."""
        speed = speed_of(self._plan)
        for at_ns, event in replayed(replay):
            if self._pace is None and speed is not None:
                self._pace = Pace(clock=self._clock, epoch_ns=self._clock.now_ns() - round(at_ns / speed), speed=speed)
            if self._over or self._stop() or (self._pace is not None and not self._sleep_until(at_ns)):
                break
            self._now_ns = max(self._now_ns, at_ns)
            if isinstance(event, Resume):
                self._core.restore(event.state)
            else:
                self._feed(event)
            self._report()

    def _events(self, intake: Intake) -> Iterator[tuple[int, StreamEvent]]:
        try:
            events = intake.events(0, self._until_ns)
            # A recorder is told what was read as if it were due now, and a source of unknown length may be one that has to be waited for.
            ahead = self._pace is not None and self._recorder is None and intake.end_ns() is not None
            yield from in_bursts(events) if ahead else events
        except MISTAKES:
            raise
        except Exception as error:  # noqa: BLE001 - the runtime's edge: whatever a source dies of, the session goes on without it
            self._tallies.lose(intake.inputs, f"source {intake.name} is lost: {error or type(error).__name__}")
            yield from intake.lose(self._now_ns)

    def _wait_until(self, due_ns: int) -> bool:
        """Sleeps, with the ticks that are due on the way; False: told to stop."""
        if self._pace is None:
            return not self._stop()
        while (tick_ns := self._core.next_tick_ns()) is not None and (tick_ns < due_ns or self._pace.now_ns() > tick_ns):
            if not self._sleep_until(tick_ns):
                return False
            # The deadline itself, though it is not quite yet: the budget is for the decision to be out by then.
            self._feed(Tick(now_ns=max(self._core.next_deadline_ns() or 0, self._pace.now_ns())))
            self._report()
        return self._sleep_until(due_ns)

    def _sleep_until(self, session_ns: int) -> bool:
        assert self._pace is not None  # noqa: S101
        target_ns = self._pace.clock_ns(session_ns)
        while not self._stop():
            slice_ns = min(target_ns, self._clock.now_ns() + SLICE_NS)
            self._clock.sleep_until(slice_ns)
            if slice_ns >= target_ns:
                return True
            self._report()
        return False

    def _feed(self, event: StreamEvent | Tick) -> None:
        if not isinstance(event, Dropped) or event.stream != DECISIONS:
            self._tallies.take(event)
            if isinstance(event, Dropped):
                return
        if self._log is not None:
            self._log.event(event, self._session_ns(), self._core.snapshot)
        for out in self._core.process(event):
            self._tallies.gave(out)
            if isinstance(out, Decision):
                self._decided(out)

    def _decided(self, decision: Decision) -> None:
        replay = self._plan.replay
        if replay is not None:
            self._over = self._over or replay.is_over(decision)
            if not replay.wants(decision):
                return
        for sink in self._sinks:
            sink.decision(decision)

    def _report(self) -> None:
        if self._clock.now_ns() >= self._status_due_ns:
            self._status_due_ns = self._clock.now_ns() + STATUS_NS
            self._send(self._status(final=False))

    def _send(self, status: Status) -> None:
        for sink in self._sinks:
            sink.status(status)

    def _status(self, *, final: bool) -> Status:
        now_ns = self._session_ns()
        counts = self._core.counts
        streams = self._tallies.statuses(now_ns, paced=self._pace is not None)
        tallies = self._tallies.streams.values()
        return Status(
            session=session_of(self._plan),
            runner="inline",
            model=self._core.config.model,
            backend=self._backend_name,
            state=self._state(final),
            now_ns=now_ns,
            end_ns=session_end_ns([intake.end_ns() for intake in self._intakes], self._until_ns),
            decisions=counts["decisions"],
            missed_deadlines=counts["missed_deadlines"],
            skipped=counts["skipped"],
            revisions=counts["revisions"],
            streams=streams,
            edges=[EdgeCount(edge=t.name, entered=t.packets, left=t.packets, waiting=0, dropped={}) for t in tallies],
            events=[*self._tallies.take_events(), *([] if self._recorder is None else self._recorder.take_lines())],
            final=final,
            recording=recording_state(self._recorder is not None, [] if self._recorder is None else [self._recorder.stopped]),
            epoch_ns=None if self._pace is None or self._plan.replay is not None else self._pace.epoch_ns,
            speed=speed_of(self._plan) or 1.0,
        )

    def _session_ns(self) -> int:
        return self._now_ns if self._pace is None else max(self._now_ns, self._pace.now_ns())

    def _state(self, final: bool) -> Literal["running", "degraded", "ended"]:
        if final:
            return "ended"
        return "degraded" if self._tallies.any_lost else "running"
