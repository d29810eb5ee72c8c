"""The process that the user started: owns the engine, feeds the sinks, survives what the engine does not. No Ray in here.

A decision is written once: its id says whether it was. SIGINT and SIGTERM end the run in order; the second one at once.
"""

from __future__ import annotations

import queue
import random
import shutil
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from operators.errors import SensoriumError
from pipeline.clock import Clock, SystemClock
from pipeline.mask import mask
from pipeline.plan import Plan
from pipeline.ports import Sink, Status
from pipeline.runtime.carry import ended, on_top
from pipeline.runtime.changes import changed
from pipeline.runtime.codec import decision_from_json, status_from_json
from pipeline.runtime.engine_process import EngineProcess
from pipeline.runtime.failure import Failure
from pipeline.runtime.job import Job
from pipeline.runtime.parts import RunPlan, session_of, speed_of
from pipeline.runtime.requests import answer, asked
from pipeline.runtime.rundir import RunDir
from pipeline.runtime.supervise import Child, RestartPolicy
from pipeline.runtime.wishes import Wishes, wishes_to_stop
from pipeline.session.layout import Recording

SECOND = 1_000_000_000
STOP_NS = 4 * SECOND
"""From the wish to stop until the engine is ended by force."""
EARLY_STOP_NS = SECOND // 2
"""The same, before the session has begun."""
WAIT_S = 0.05
REMEMBERED = 100_000
"""So many ids are kept to know a decision again."""
INTERRUPTED = 130

ENGINE = RestartPolicy(first_ns=SECOND // 10, failures=4, healthy_ns=30 * SECOND, silent_ns=20 * SECOND, opening_ns=120 * SECOND)


def run_supervised(
    plan: RunPlan,
    sinks: Sequence[Sink],
    *,
    clock: Clock | None = None,
    rng: random.Random | None = None,
    base: Path | None = None,
    recording: Recording | None = None,
) -> int:
    """Runs the plan in an engine process; gives the exit code. The sinks are the caller's: they are not closed here.

    base: where run directories are, see `pipeline.runtime.rundir`. recording: where the engine's processes record their parts.
    """
    clock = clock or SystemClock()
    run_dir = RunDir(session_of(plan), clock, base)
    try:
        with wishes_to_stop() as wishes:
            rng = rng or random.Random()  # noqa: S311 - the jitter of pauses
            return Supervisor(plan, [run_dir, *sinks], run_dir, clock, rng, wishes, recording).run()
    finally:
        run_dir.close()


class Supervisor:
    """One run from its first engine to its last."""

    def __init__(
        self,
        plan: RunPlan,
        sinks: Sequence[Sink],
        run_dir: RunDir,
        clock: Clock,
        rng: random.Random,
        wishes: Wishes,
        recording: Recording | None = None,
    ) -> None:
        self._plan, self._sinks, self._run_dir, self._clock, self._wishes = plan, sinks, run_dir, clock, wishes
        self._recording = recording
        self._child = Child("engine", ENGINE, rng, clock.now_ns())
        self._engine: EngineProcess | None = None
        self._epoch_ns: int | None = None
        self._decided = -1
        self._count = 0
        self._known: set[str] = set()
        self._order: deque[str] = deque()
        self._events: list[str] = []
        self._last: Status | None = None
        self._before: Status | None = None
        self._failure: Failure | None = None
        self._done = False
        self._stop_at_ns: int | None = None

    def run(self) -> int:
        """Until the engine has come to its end, or to too many ends."""
        self._start()
        try:
            while not self._done and not self._child.final:
                self._listen()
                self._heed_wishes()
                self._heed_requests()
                self._look_after()
        finally:
            if self._engine is not None:
                self._engine.ask_to_stop()  # it may not know yet: a sink has failed
            self._end_engine(patience_s=0.0 if self._wishes.count > 1 or self._epoch_ns is None else 2.5)
        return self._close()

    def _start(self) -> None:
        folder = self._run_dir.scratch / f"e{self._child.generation}"
        folder.mkdir(mode=0o700)
        (folder / "ray").mkdir(mode=0o700)
        job = Job(
            config_json=self._plan.config.model_dump_json(),
            digest=self._plan.digest,
            folder=str(folder),
            asked_ns=self._clock.now_ns(),
            epoch_ns=self._epoch_ns,
            decided=self._decided,
            recording=None if self._recording is None else replace(self._recording, engine=self._child.generation),
        )
        self._engine = EngineProcess(job, self._run_dir.path / "engine.log")

    def _end_engine(self, patience_s: float) -> None:
        if self._engine is not None:
            self._engine.end(patience_s)
            self._engine = None
        for folder in self._run_dir.scratch.glob("e*"):
            shutil.rmtree(folder, ignore_errors=True)

    # -- what the engine says

    def _listen(self) -> None:
        if self._engine is None:
            self._clock.sleep_until(self._clock.now_ns() + int(WAIT_S * SECOND))
            return
        try:
            line = self._engine.next_line(WAIT_S)
        except queue.Empty:
            return
        if line is None:
            self._engine_gone()
        else:
            self._child.beat(self._clock.now_ns())
            self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        match line.get("type"):
            case "decision":
                self._decision(line["decision"])
            case "status":
                self._status(status_from_json(line["status"]))
            case "started":
                self._epoch_ns = line["epoch_ns"]
                took = ", ".join(f"{name} {ns / SECOND:.1f} s" for name, ns in line["took_ns"].items())
                self._events.append(f"started: {took}")
                self._child.happens("opened", self._clock.now_ns())
                self._child.happens("went", self._clock.now_ns())
            case "error":
                self._failure = Failure.from_json(line["error"])
                self._engine_gone()  # what it started may keep it from ending
            case "ended":
                self._done = True

    def _decision(self, values: dict[str, Any]) -> None:
        decision = decision_from_json(values)
        if decision.id in self._known:
            return
        self._known.add(decision.id)
        self._order.append(decision.id)
        if len(self._order) > REMEMBERED:
            self._known.discard(self._order.popleft())
        self._decided = max(self._decided, decision.window)
        self._count += 1
        for sink in self._sinks:
            sink.decision(decision)

    def _status(self, status: Status) -> None:
        events, self._events = [*self._events, *status.events], []
        # Whether this is the end is decided here: an engine that ends early may be followed by another.
        self._last = replace(on_top(self._before, status), decisions=self._count, events=events)
        if not status.final:
            self._send(self._last)

    def _send(self, status: Status) -> None:
        for sink in self._sinks:
            sink.status(status)

    # -- its end

    def _engine_gone(self) -> None:
        self._end_engine(patience_s=0.5)
        if self._done or self._stop_at_ns is not None:
            self._done = True
            return
        failure, self._failure = self._failure, None
        if failure is not None and (failure.kind == "mistake" or self._epoch_ns is None):
            self._failure = failure
            self._done = True
            return
        self._fail("its process died" if failure is None else failure.text)

    def _fail(self, why: str) -> None:
        self._keep_counts()
        self._child.happens("failed", self._clock.now_ns(), why)
        self._events.append(f"engine failed: {why}")
        if self._child.final:
            self._give_up()

    def _keep_counts(self) -> None:
        # At full speed the next engine reads all from the start, and counts it again.
        if self._last is not None and speed_of(self._plan) is not None:
            self._before = ended(self._last)

    def _give_up(self) -> None:
        self._failure = Failure(kind="death", type="EngineLost", text=f"the engine failed {self._child.failures} times: {self._child.why}")

    def _look_after(self) -> None:
        for order in self._child.tick(self._clock.now_ns()):
            match order:
                case "kill":  # it fell silent
                    self._keep_counts()
                    self._events.append(f"engine failed: {self._child.why}")
                    self._end_engine(patience_s=0.0)
                case "start":
                    self._events.append(f"engine is started again ({self._child.restarts})")
                    self._start()
                case "give_up":
                    self._give_up()

    def _heed_wishes(self) -> None:
        now_ns = self._clock.now_ns()
        if self._wishes.count and self._stop_at_ns is None:
            # Before the session has begun there is nothing to bring to an end, and Ray's start hears nobody until it is done.
            self._stop_at_ns = now_ns + (STOP_NS if self._epoch_ns is not None else EARLY_STOP_NS)
            if self._engine is None:
                self._done = True
            else:
                self._engine.ask_to_stop()
        if self._wishes.count > 1 or (self._stop_at_ns is not None and now_ns > self._stop_at_ns):
            self._done = True

    def _heed_requests(self) -> None:
        """What `sensorium attach` and `detach` ask for: judged here, carried out by the engine."""
        for path, request in asked(self._run_dir.path):
            if self._engine is None or self._epoch_ns is None or not isinstance(self._plan, Plan):
                answer(path, refused="the session is not running just now; try again")
                continue
            try:
                self._plan, done = changed(self._plan, request, recorded=self._recording is not None)
            except SensoriumError as error:
                answer(path, refused=mask(str(error)))
                continue
            self._engine.change(self._plan.config.model_dump_json())
            answer(path, done=done)

    def _close(self) -> int:
        failed = self._failure is not None and self._stop_at_ns is None
        if self._last is not None:
            events = [*self._events, *(self._last.events if self._last.final else ())]
            self._send(replace(self._last, state="failed" if failed else "ended", decisions=self._count, events=events, final=True))
        if failed and self._failure is not None:
            print(f"sensorium: {self._failure.text}", file=sys.stderr)
            return self._failure.exit_code
        return INTERRUPTED if self._wishes.count > 1 else 0
