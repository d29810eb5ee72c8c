"""The process that the user started: owns the engine, keeps the sessions, survives what the engine does not. No Ray in here.

A decision is written once: its id says whether it was. SIGINT and SIGTERM end everything in order; the second one at once.
"""

from __future__ import annotations

import queue
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from pipeline.clock import Clock, SystemClock
from pipeline.ports import Sink
from pipeline.runtime.desk import RunDesk
from pipeline.runtime.engine_keeper import EngineKeeper
from pipeline.runtime.failure import Failure, failure_of
from pipeline.runtime.job import EngineJob
from pipeline.runtime.keeper import Keeper
from pipeline.runtime.parts import RunPlan, session_of
from pipeline.runtime.rundir import RunDir
from pipeline.runtime.supervise import RestartPolicy
from pipeline.runtime.wishes import Wishes, wishes_to_stop
from pipeline.session.layout import Recording

SECOND = 1_000_000_000
STOP_NS = 4 * SECOND
"""From the wish to stop until the engine is ended by force."""
EARLY_STOP_NS = SECOND // 2
"""The same, before a session has begun: there is nothing to bring to an end, and Ray's start hears nobody until it is done."""
INTERRUPTED = 130

ENGINE = RestartPolicy(first_ns=SECOND // 10, failures=4, healthy_ns=30 * SECOND, silent_ns=20 * SECOND, opening_ns=120 * SECOND)
LASTING_ENGINE = replace(ENGINE, failures=None)
"""A daemon's: it is left on, so it tries for ever."""


class Desk(Protocol):
    """Who is asked for things while it runs, and told what became of them. `RunDesk` for one run, `ServiceDesk` for the daemon."""

    def turn(self, supervisor: Supervisor) -> None:
        """About 20 times a second: does what was asked."""
        ...

    def answered(self, session: str, why: str | None) -> None:
        """The engine takes a session on, or refuses it and says why."""
        ...

    def over(self, keeper: Keeper) -> None:
        """A session has come to its end; its last status is sent."""
        ...

    def close(self) -> None: ...


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
            engine = EngineKeeper(run_dir, clock, rng, ENGINE)
            supervisor = Supervisor(engine, RunDesk(run_dir.path), clock, wishes)
            supervisor.sessions[session_of(plan)] = Keeper(plan, [run_dir, *sinks], clock, recording)
            return supervisor.run()
    finally:
        run_dir.close()


class Supervisor:
    """From the first engine to the last. settings: of the engine, but for its sessions. lasting: also without sessions."""

    def __init__(
        self, engine: EngineKeeper, desk: Desk, clock: Clock, wishes: Wishes, settings: EngineJob | None = None, *, lasting: bool = False
    ) -> None:
        self.sessions: dict[str, Keeper] = {}
        self.figures: dict[str, Any] = {}
        self.engine = engine
        self._desk, self._clock, self._wishes, self._lasting = desk, clock, wishes, lasting
        self._settings = settings or EngineJob(folder="", asked_ns=0)
        self._failure: Failure | None = None
        self._exit_code = 0
        self._done = False
        self._stop_at_ns: int | None = None
        self._stopping: dict[str, int] = {}

    def run(self) -> int:
        """Until all is over, or too much has failed; gives the exit code."""
        self._start_engine()
        try:
            while not self._done:
                self._listen()
                self._heed_wishes()
                self._desk.turn(self)
                self._look_after()
        finally:
            self.engine.ask_to_stop()  # it may not know yet: a sink has failed
            early = self._wishes.count > 1 or (self._stop_at_ns is not None and self._nothing_begun())
            self.engine.end(patience_s=0.0 if early else 2.5)
        for keeper in list(self.sessions.values()):
            self._over(keeper)
        self._desk.close()
        return INTERRUPTED if self._wishes.count > 1 else self._exit_code

    # -- for the desk

    def start(self, keeper: Keeper) -> None:
        """A new session. Its name must be free. The engine's answer comes to the desk."""
        self.sessions[keeper.session] = keeper
        if self.engine.there:
            self.engine.post({"start": asdict(keeper.job(self.engine.child.generation))})
        else:
            self._desk.answered(keeper.session, None)  # it begins with the engine that is to come

    def stop(self, session: str) -> None:
        """Asks a session to end in order."""
        self._stopping.setdefault(session, self._clock.now_ns() + STOP_NS)
        self.engine.post({"end": session})

    def change(self, keeper: Keeper, plan: RunPlan) -> None:
        """The session follows this plan from now on."""
        keeper.plan = plan
        change = {"session": keeper.session, "config": plan.config.model_dump_json()}
        self.engine.post({"change": change, "digest": plan.digest})

    def record(self, keeper: Keeper, recording: Recording | None) -> None:
        """The session's actors record there from now on; None: no longer."""
        keeper.recording = recording
        values = None if recording is None else asdict(replace(recording, engine=self.engine.child.generation))
        self.engine.post({"record": {"session": keeper.session, "recording": values}})

    def stop_all(self) -> None:
        """As if the user had pressed Ctrl-C."""
        self._wishes.count = max(1, self._wishes.count)

    # -- what the engine says

    def _start_engine(self) -> None:
        sessions = tuple(keeper.job(self.engine.child.generation) for keeper in self.sessions.values())
        self.engine.start(replace(self._settings, asked_ns=self._clock.now_ns(), sessions=sessions))

    def _listen(self) -> None:
        try:
            line = self.engine.next_line()
        except queue.Empty:
            return
        if line is None:
            self._engine_gone()
        else:
            self._take(line)

    def _take(self, line: Mapping[str, Any]) -> None:
        match line:
            case {"session": str(name), "type": str(kind)}:
                if name in self.sessions:
                    self._take_of(self.sessions[name], kind, line)
            case {"type": "up"}:
                self.engine.child.happens("opened", self._clock.now_ns())
                self.engine.child.happens("went", self._clock.now_ns())
            case {"type": "engine"}:
                self.figures = {key: value for key, value in line.items() if key != "type"}
            case {"type": "error", "error": error}:
                self._failure = Failure.from_json(error)
                self._engine_gone()  # what it started may keep it from ending
            case {"type": "over"}:
                self._done = True

    def _take_of(self, keeper: Keeper, kind: str, line: Mapping[str, Any]) -> None:
        match kind:
            case "accepted":
                self._desk.answered(keeper.session, None)
            case "refused":
                del self.sessions[keeper.session]
                self._stopping.pop(keeper.session, None)
                self._desk.answered(keeper.session, line["why"])
            case "failed":
                keeper.failure = Failure.from_json(line["error"])
                self._over(keeper)
                self._desk.answered(keeper.session, keeper.failure.text)
            case "ended":
                self._over(keeper)
            case _:
                self._told(keeper, lambda: keeper.take(line))

    def _told(self, keeper: Keeper, deed: Callable[[], None]) -> None:
        """A sink that fails ends the run; of a daemon only the session that it is of: whatever it raises, no other knows of it."""
        try:
            deed()
        except Exception as error:
            if not self._lasting:
                raise
            keeper.failure = failure_of(error)
            self.engine.post({"end": keeper.session})
            self._over(keeper)

    # -- ends

    def _over(self, keeper: Keeper) -> None:
        self.sessions.pop(keeper.session, None)
        stopped = self._stopping.pop(keeper.session, None) is not None or self._stop_at_ns is not None
        try:
            keeper.finish(stopped=stopped)
        except Exception as error:
            if not self._lasting:
                raise
            keeper.failure = keeper.failure or failure_of(error)  # a sink's that cannot take the last word either
        self._desk.over(keeper)
        if keeper.failure is not None and not self._lasting:
            print(f"sensorium: {keeper.failure.text}", file=sys.stderr)
            self._exit_code = keeper.failure.exit_code
        self._done = self._done or (not self.sessions and not self._lasting)

    def _nothing_begun(self) -> bool:
        return not any(keeper.begun for keeper in self.sessions.values())

    def _engine_gone(self) -> None:
        self.engine.end(patience_s=0.5)
        if self._done or self._stop_at_ns is not None:
            self._done = True
            return
        failure, self._failure = self._failure, None
        if failure is not None and not self._lasting and (failure.kind == "mistake" or self._nothing_begun()):
            self._fail_all(failure)
            return
        why = "its process died" if failure is None else failure.text
        self.engine.child.happens("failed", self._clock.now_ns(), why)
        self._without_engine(why)

    def _without_engine(self, why: str) -> None:
        self.figures = {}
        for keeper in self.sessions.values():
            keeper.engine_gone(why)
            self._desk.answered(keeper.session, None)  # whoever waits for a start: it begins with the engine that is to come
        if self.engine.child.final:
            self._give_up()

    def _give_up(self) -> None:
        child = self.engine.child
        self._fail_all(Failure(kind="death", type="EngineLost", text=f"the engine failed {child.failures} times: {child.why}"))

    def _fail_all(self, failure: Failure) -> None:
        for keeper in list(self.sessions.values()):
            keeper.failure = failure
            self._over(keeper)
        self._done = True

    def _look_after(self) -> None:
        for order in self.engine.child.tick(self._clock.now_ns()):
            match order:
                case "kill":  # it fell silent
                    self.engine.end(patience_s=0.0)
                    self._without_engine(self.engine.child.why)
                case "start":
                    for keeper in self.sessions.values():
                        keeper.tell(f"engine is started again ({self.engine.child.restarts})")
                    self._start_engine()
                case "give_up":
                    pass  # seen where it became final
        if not self.engine.there:
            for keeper in list(self.sessions.values()):
                self._told(keeper, keeper.without_engine)
        self._let_go()

    def _let_go(self) -> None:
        """A session that was to end, and has had its time, or no engine to end it."""
        for name, until_ns in list(self._stopping.items()):
            if name in self.sessions and (not self.engine.there or self._clock.now_ns() > until_ns):
                self._over(self.sessions[name])

    def _heed_wishes(self) -> None:
        now_ns = self._clock.now_ns()
        if self._wishes.count and self._stop_at_ns is None:
            self._stop_at_ns = now_ns + (EARLY_STOP_NS if self._nothing_begun() and not self._lasting else STOP_NS)
            if self.engine.there:
                self.engine.ask_to_stop()
            else:
                self._done = True
        if self._wishes.count > 1 or (self._stop_at_ns is not None and now_ns > self._stop_at_ns):
            self._done = True
