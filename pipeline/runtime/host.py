"""All sessions of one engine process: begins them, looks after them in turn, ends them. One that fails takes no other with it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from operators.errors import SensoriumError
from pipeline.clock import Clock
from pipeline.runtime.engine import Engine, Laps, Mail
from pipeline.runtime.failure import CannotGoOn, Failure, failure_of
from pipeline.runtime.job import EngineJob, Job, job_of
from pipeline.runtime.parts import RunPlan
from pipeline.runtime.stage import Stage, StageLost
from pipeline.session.layout import Recording

POLL_MS = 20
BEAT_NS = 1_000_000_000
DROP_NS = 3_000_000_000
"""From the wish that all should end until they are ended by force."""


class Place(Protocol):
    """What one session lives on: made for it, and closed after it."""

    @property
    def stage(self) -> Stage: ...

    @property
    def inbox(self) -> Mail: ...

    def close(self) -> None: ...


class Ground(Protocol):
    """What all sessions live on; `pipeline.runtime.ground.RayGround` is one."""

    def place(self, job: Job, plan: RunPlan) -> Place:
        """Raises SensoriumError where no more can be taken on."""
        ...

    def wait(self, timeout_ms: int) -> None:
        """Until somebody has said something, at most so long. Raises StageLost."""
        ...

    def refusal(self, session: str, plan: RunPlan) -> str | None:
        """Why this session would be too much for those that run; None: it would not."""
        ...

    def learn(self, session: str, cost_ns: int) -> None:
        """What a window of its model takes."""
        ...

    def figures(self) -> dict[str, Any]:
        """Plain values for whoever watches the engine."""
        ...


@dataclass(slots=True)
class _Session:
    """asked: somebody waits to hear whether it is taken on."""

    engine: Engine
    place: Place
    plan: RunPlan
    asked: bool
    judged: bool = False


class Host:
    """say: takes the lines for the supervisor. make_plan: of a job."""

    def __init__(
        self,
        ground: Ground,
        clock: Clock,
        say: Callable[[dict[str, Any]], None],
        rng: random.Random,
        make_plan: Callable[[Job], RunPlan],
    ) -> None:
        self._ground, self._clock, self._say, self._rng, self._make_plan = ground, clock, say, rng, make_plan
        self._sessions: dict[str, _Session] = {}
        self._beat_due_ns = clock.now_ns()

    def serve(self, job: EngineJob, laps: Laps, stop: Callable[[], bool], orders: Callable[[], Iterable[Mapping[str, Any]]]) -> None:
        """Until stop() says so; then every session ends in order. Raises StageLost."""
        self._say({"type": "up"})
        for session in job.sessions:
            self._start(session, laps, asked=False)
        while not stop():
            for order in orders():
                self._obey(order)
            self._look_after()
        until_ns = self._clock.now_ns() + DROP_NS
        for running in self._sessions.values():
            running.engine.end()
        while self._sessions and self._clock.now_ns() < until_ns:
            self._look_after()

    def _look_after(self) -> None:
        self._ground.wait(POLL_MS)
        for name, running in list(self._sessions.items()):
            self._try(name, running.engine.step)
            if name in self._sessions:
                self._judge(name, running)
            if running.engine.over and name in self._sessions:
                self._close(name)
                self._say({"type": "ended", "session": name})
        self._beat()

    def _try(self, name: str, deed: Callable[[], None]) -> None:
        """What goes wrong with one session ends that session; what all live on is another matter. Raises StageLost."""
        try:
            deed()
        except StageLost:
            raise
        except SensoriumError as error:
            self._fail(name, self._sessions[name], error.failure if isinstance(error, CannotGoOn) else failure_of(error))

    def _obey(self, order: Mapping[str, Any]) -> None:
        match order:
            case {"start": values}:
                self._start(job_of(values), Laps(self._clock, self._clock.now_ns()), asked=True)
            case {"change": {"session": name, "config": config}, "digest": digest} if name in self._sessions:
                self._try(name, lambda: self._change(Job(session=name, config_json=config, digest=digest)))
            case {"record": {"session": name, "recording": values}} if name in self._sessions:
                self._sessions[name].engine.record(None if values is None else Recording(**values))
            case {"end": name} if name in self._sessions:
                self._sessions[name].engine.end()

    def _change(self, job: Job) -> None:
        self._sessions[job.session].engine.change(self._make_plan(job))

    def _start(self, job: Job, laps: Laps, *, asked: bool) -> None:
        """asked: somebody waits for the answer, and it may be no."""
        if (before := self._sessions.get(job.session)) is not None:  # given up by the supervisor, which did not wait for its end
            before.engine.drop()
            self._close(job.session)
        try:
            plan = self._make_plan(job)
            if asked and (why := self._ground.refusal(job.session, plan)) is not None:
                self._say({"type": "refused", "session": job.session, "why": why})
                return
            place = self._ground.place(job, plan)
        except StageLost:
            raise
        except SensoriumError as error:
            self._say({"type": "failed", "session": job.session, "error": failure_of(error).to_json()})
            return
        engine = Engine(plan, job, place.stage, place.inbox, self._clock, self._told(job.session), self._rng, laps)
        self._sessions[job.session] = _Session(engine, place, plan, asked)
        engine.begin(held=asked)

    def _judge(self, name: str, running: _Session) -> None:
        """Its model is loaded, and so it is known what it costs: now somebody may be told yes."""
        if running.judged or (cost_ns := running.engine.window_cost_ns) is None:
            return
        running.judged = True
        self._ground.learn(name, cost_ns)
        why = self._ground.refusal(name, running.plan) if running.asked else None
        if why is not None:
            running.engine.drop()
            self._close(name)
            self._say({"type": "refused", "session": name, "why": why})
        elif running.asked:
            self._say({"type": "accepted", "session": name})
            self._try(name, running.engine.release)

    def _told(self, session: str) -> Callable[[dict[str, Any]], None]:
        return lambda values: self._say({**values, "session": session})

    def _fail(self, name: str, running: _Session, failure: Failure) -> None:
        running.engine.drop()
        self._close(name)
        self._say({"type": "failed", "session": name, "error": failure.to_json()})

    def _close(self, name: str) -> None:
        running = self._sessions.pop(name, None)
        if running is not None:
            running.place.close()

    def _beat(self) -> None:
        now_ns = self._clock.now_ns()
        if now_ns >= self._beat_due_ns:
            self._beat_due_ns = now_ns + BEAT_NS
            self._say({"type": "engine", **self._ground.figures()})
