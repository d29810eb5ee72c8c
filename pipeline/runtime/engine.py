"""One session in the engine process: starts its actors, sees to it that they live, puts together what they say, passes it on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from operators.errors import BackendError
from pipeline.clock import Clock
from pipeline.runtime.board import Board, Facts, State
from pipeline.runtime.codec import status_to_json
from pipeline.runtime.failure import CannotGoOn, Failure
from pipeline.runtime.job import Job
from pipeline.runtime.pace import Pace
from pipeline.runtime.parts import RunPlan, fed_inputs, kinds_of, session_end_ns, session_of, speed_of, until_of
from pipeline.runtime.stage import FUSION, Message, Stage
from pipeline.runtime.supervise import LIVE_SOURCE, Child, Order, RestartPolicy
from pipeline.session.layout import Recording

STATUS_NS = 250_000_000
PARTING_NS = 1_500_000_000
"""So long may actors take to end in order: what is under way is delivered, files are closed."""
HEAD_START_NS = 30_000_000
"""From the decision to start until session time 0: everyone has heard of it by then."""


class Mail(Protocol):
    """What the actors say; `pipeline.runtime.bus.Inbox` is one."""

    def messages(self, timeout_ms: int) -> Iterator[dict[str, Any]]: ...


def _policy(plan: RunPlan, name: str) -> RestartPolicy:
    return LIVE_SOURCE if name != FUSION and plan.make_source(name).live else RestartPolicy()


class Laps:
    """Where the time goes until the first decision can come."""

    def __init__(self, clock: Clock, begun_ns: int) -> None:
        self._clock, self._last_ns = clock, begun_ns
        self.took_ns: dict[str, int] = {}

    def lap(self, name: str) -> None:
        now_ns = self._clock.now_ns()
        self.took_ns[name] = now_ns - self._last_ns
        self._last_ns = now_ns


class Engine:
    """One session. begin once, then step again and again until `over`. say: takes the lines for the supervisor."""

    def __init__(
        self,
        plan: RunPlan,
        job: Job,
        stage: Stage,
        inbox: Mail,
        clock: Clock,
        say: Callable[[dict[str, Any]], None],
        rng: random.Random,
        laps: Laps,
    ) -> None:
        self._plan, self._job, self._stage, self._inbox, self._clock, self._say = plan, job, stage, inbox, clock, say
        self._laps, self._rng = laps, rng
        self._sources = {name: tuple(plan.source_inputs(name)) for name in plan.config.sources}
        now_ns = clock.now_ns()
        self._children = {name: Child(name, _policy(plan, name), rng, now_ns) for name in (FUSION, *self._sources)}
        self._speed = speed_of(plan)
        self._board = Board(fed_inputs(plan), replays=self._speed is None)
        self._board.last_window = job.decided
        self._opened: dict[str, dict[str, Any]] = {}
        self._epoch_ns: int | None = None
        self._ended = False
        self._status_due_ns = now_ns
        self._generations = 0
        self._records = job.recording is not None
        self._ending_ns: int | None = None
        self._parting: set[str] = set()
        self.over = False
        self._held = False

    def begin(self, *, held: bool = False) -> None:
        """held: session time does not run before `release`, ready or not."""
        self._held = held
        for name in self._children:
            self._stage.make(name, 0)

    def step(self) -> None:
        """Looks after everything once; does not wait. Raises CannotGoOn."""
        for message in self._inbox.messages(0):
            self._hear(message)
        for happened in self._stage.messages():
            self._happened(happened)
        if self._ending_ns is not None:
            self._part()
            return
        for child in self._children.values():
            self._obey(child, child.tick(self._clock.now_ns()))
        if self._ended:
            self.end()
        self._report()

    def release(self) -> None:
        """Session time may run, as soon as all are ready."""
        self._held = False
        self._start_those_ready()

    @property
    def window_cost_ns(self) -> int | None:
        """What a window of its model takes; None: the model is not loaded yet."""
        opened = self._opened.get(FUSION)
        return None if opened is None else int(opened.get("cost_ns", 0))

    def end(self) -> None:
        """Asks the actors to end in order; `over` when they have, or have had their time."""
        if self._ending_ns is not None:
            return
        self._ending_ns = self._clock.now_ns() + PARTING_NS
        self._parting = {name for name, child in self._children.items() if child.state in ("running", "ended")}
        for name in self._parting:
            self._stage.stop(name)

    def _part(self) -> None:
        if self._ending_ns is not None and (not self._parting or self._clock.now_ns() >= self._ending_ns) and not self.over:
            self.drop()
            self._send_status("ended", final=True)

    def drop(self) -> None:
        """Ends the actors at once."""
        self.over = True
        for name in self._children:
            self._stage.kill(name)

    def record(self, recording: Recording | None) -> None:
        """Records from now on, or no longer."""
        self._records = recording is not None
        self._board.recorded_anew()
        self._stage.record(recording)

    # -- streams that come and go

    def change(self, plan: RunPlan) -> None:
        """Ends the sources that are no longer there and starts those that are new; nobody else is touched."""
        before, self._plan = self._sources, plan
        self._sources = {name: tuple(plan.source_inputs(name)) for name in plan.config.sources}
        self._stage.change(plan.config)
        for name in before.keys() - self._sources.keys():
            self._obey_quietly(self._children.pop(name))
            self._opened.pop(name, None)
            self._event(f"source {name} is detached")
        self._board.rewire(fed_inputs(plan))
        for name in self._sources.keys() - before.keys():
            # Above every generation so far: what is counted by input goes on, and it reads from now on.
            self._generations = 1 + max([self._generations, *(child.generation for child in self._children.values())])
            child = self._children[name] = Child(name, _policy(plan, name), self._rng, self._clock.now_ns())
            child.generation = self._generations
            self._stage.make(name, child.generation)
            self._event(f"source {name} is attached")
        self._vacate()

    def _obey_quietly(self, child: Child) -> None:
        self._generations = max(self._generations, child.generation)
        if "kill" in child.happens("stop", self._clock.now_ns()):
            self._stage.kill(child.name)

    def _vacate(self) -> None:
        """An input is vacant until its source delivers: so nobody waits for one that is being started."""
        fed = {wanted for name, inputs in self._sources.items() if self._children[name].begun for wanted in inputs}
        self._stage.vacate(sorted(kinds_of(self._plan).keys() - fed))

    # -- what the actors' processes became

    def _happened(self, message: Message) -> None:
        child = self._children.get(message.name)
        if child is None or message.generation not in (child.generation, -1):
            return
        if self._ending_ns is not None:
            self._parting.discard(message.name)
            return
        if message.what == "opened":
            self._opened[message.name] = message.values
            if message.name == FUSION and message.generation:
                self._stage.connect(message.values.get("edges", {}))
            child.happens("opened", self._clock.now_ns())
            self._start_those_ready()
            return
        if message.failure is not None and self._is_final(message.failure):
            raise CannotGoOn(message.failure)
        why = "its run ended" if message.failure is None else message.failure.text
        self._obey(child, child.happens("failed", self._clock.now_ns(), why))

    def _is_final(self, failure: Failure) -> bool:
        """A mistake always; before the session has begun anything that a person can be told: nothing is lost yet by ending."""
        begun = self._epoch_ns is not None or self._job.epoch_ns is not None
        return failure.kind == "mistake" or (failure.kind == "error" and not begun)

    def _start_those_ready(self) -> None:
        if self._epoch_ns is None:
            if not self._may_begin():
                return
            self._stage.check()
            self._epoch_ns = self._job.epoch_ns or self._clock.now_ns() + HEAD_START_NS
            self._laps.lap("actors")
            self._say({"type": "started", "epoch_ns": self._epoch_ns, "took_ns": self._laps.took_ns})
        for child in self._children.values():
            if child.state == "ready":
                child.happens("went", self._clock.now_ns())
                self._stage.run(child.name, child.generation, self._arguments(child, self._epoch_ns))
                if self._generations and not child.begun:
                    child.begun = True
                    self._vacate()
                child.begun = True

    def _may_begin(self) -> bool:
        """All are there, or lost; a session that ran before does not wait for its sources."""
        if self._held:
            return False
        needed = [self._children[FUSION]] if self._job.epoch_ns is not None else list(self._children.values())
        return all(child.state in ("ready", "lost") for child in needed)

    def _arguments(self, child: Child, epoch_ns: int) -> dict[str, Any]:
        resumed = child.generation > 0 or self._job.epoch_ns is not None
        if child.name == FUSION:
            if lost := sorted(self._board.lost):
                self._stage.lose(lost)
            return {"epoch_ns": epoch_ns, "decided": self._board.last_window, "resumed": resumed}
        # At full speed a source is read again from its start, and what is known is left out: nothing is lost or doubled.
        from_ns = max(0, self._session_ns(epoch_ns)) if resumed and self._speed is not None else 0
        return {"epoch_ns": epoch_ns, "from_ns": from_ns, "edges": self._opened[FUSION].get("edges", {})}

    def _session_ns(self, epoch_ns: int) -> int:
        return Pace(clock=self._clock, epoch_ns=epoch_ns, speed=self._speed or 1.0).now_ns()

    def _obey(self, child: Child, orders: tuple[Order, ...]) -> None:
        for order in orders:
            match order:
                case "kill":
                    self._stage.kill(child.name)
                    self._event(f"{self._title(child)} failed: {child.why}")
                case "start":
                    self._event(f"{self._title(child)} is started again ({child.restarts})")
                    self._stage.make(child.name, child.generation)
                    self._replay_with(child)
                case "give_up":
                    self._give_up(child)

    def _replay_with(self, child: Child) -> None:
        """At full speed a new core needs everything from the start."""
        if child.name != FUSION or self._speed is not None:
            return
        for name in self._sources:
            source = self._children[name]
            if not source.final:
                self._stage.kill(name)
                source.renew(self._clock.now_ns())
                self._stage.make(name, source.generation)

    def _give_up(self, child: Child) -> None:
        self._event(f"{self._title(child)} is lost after {child.failures} failures: {child.why}")
        if child.name == FUSION:
            text = f"the model's process failed {child.failures} times: {child.why}"
            raise CannotGoOn(Failure(kind="mistake", type="BackendError", text=text, exit_code=BackendError.exit_code))
        self._board.lost |= set(self._sources[child.name])
        self._stage.lose(list(self._sources[child.name]))
        self._start_those_ready()

    def _title(self, child: Child) -> str:
        return "fusion" if child.name == FUSION else f"source {child.name}"

    # -- what they say

    def _hear(self, message: dict[str, Any]) -> None:
        child = self._children.get(str(message.get("from")))
        if child is None or message.get("generation") != child.generation:
            return  # the last words of one that was replaced
        child.beat(self._clock.now_ns())
        if "decision" in message:
            self._decided(message["decision"])
        elif "event" in message:
            self._event(message["event"])
        elif child.name == FUSION:
            self._board.fusion(message)
            self._ended = message["ended"]
        else:
            self._board.ingest(message)
            if message["ended"]:
                child.happens("ended", self._clock.now_ns())

    def _decided(self, decision: dict[str, Any]) -> None:
        if decision["revision"] == 0:
            if decision["window"] <= self._board.last_window:
                return  # decided before: by a core that was replaced
            self._board.last_window = decision["window"]
        self._board.decisions += 1
        self._say({"type": "decision", "decision": decision})

    def _event(self, line: str) -> None:
        self._board.events.append(line)

    # -- status

    def _report(self) -> None:
        now_ns = self._clock.now_ns()
        if now_ns >= self._status_due_ns:
            self._status_due_ns = now_ns + STATUS_NS
            self._send_status(self._state(), final=False)

    def _state(self) -> State:
        if self._epoch_ns is None:
            return "starting"
        well = all(child.state in ("running", "ended") for child in self._children.values())
        return "running" if well and not self._board.unwell else "degraded"

    def _send_status(self, state: State, *, final: bool) -> None:
        self._say({"type": "status", "status": status_to_json(self._board.status(self._facts(), state, final=final))})

    def _facts(self) -> Facts:
        fusion = self._opened.get(FUSION, {})
        ends = [self._opened[name].get("end_ns") for name in self._sources if name in self._opened]
        return Facts(
            session=session_of(self._plan),
            model=fusion.get("model", self._plan.model.name),
            backend=fusion.get("backend", ""),
            end_ns=session_end_ns(ends, until_of(self._plan)),
            kinds=kinds_of(self._plan),
            records=self._records,
            epoch_ns=None if self._speed is None or self._plan.replay is not None else self._epoch_ns,
            speed=self._speed or 1.0,
        )
