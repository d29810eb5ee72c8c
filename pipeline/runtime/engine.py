"""The engine process: makes the actors of a run, sees to it that they live, tells the supervisor what they say.

In:  one JSON line on stdin with the `Job`; afterwards the line "stop", or the end of stdin (whoever started us is gone).
Out: JSON lines on stdout, {"type": "decision" | "status" | "started" | "error" | "ended", ...}, the content under the name of
     its type. Logs go to stderr.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TextIO

import zmq

from operators.errors import SensoriumError
from pipeline.clock import Clock, SystemClock
from pipeline.config import Config
from pipeline.plan import build_plan
from pipeline.runtime.board import Board, Facts, State
from pipeline.runtime.bus import Inbox
from pipeline.runtime.codec import status_to_json
from pipeline.runtime.job import Job
from pipeline.runtime.listeners import refuse_open_ports
from pipeline.runtime.pace import Pace
from pipeline.runtime.parts import RunPlan, fed_inputs, kinds_of, session_end_ns, session_of, speed_of, until_of
from pipeline.runtime.ray import FUSION, Message, RayStage, described
from pipeline.runtime.supervise import Child, Order, RestartPolicy
from pipeline.runtime.wires import Wires

STATUS_NS = 250_000_000
POLL_MS = 20
HEAD_START_NS = 30_000_000
"""From the decision to start until session time 0: everyone has heard of it by then."""
STOP_PATIENCE_S = 1.5


class Stage(Protocol):
    """Where actors live; `pipeline.runtime.ray.RayStage` is one."""

    def make(self, name: str, generation: int) -> None: ...

    def run(self, name: str, generation: int, arguments: dict[str, Any]) -> None: ...

    def lose(self, names: list[str]) -> None: ...

    def kill(self, name: str) -> None: ...

    def messages(self) -> Iterator[Message]: ...


class CannotGoOn(SensoriumError):
    """The run has failed; `said` is the error of the process that it failed in."""

    def __init__(self, said: dict[str, Any]) -> None:
        self.said = said
        super().__init__(said["text"])


class Engine:
    """One run. say: takes the lines for the supervisor."""

    def __init__(
        self,
        plan: RunPlan,
        job: Job,
        stage: Stage,
        inbox: Inbox,
        clock: Clock,
        say: Callable[[dict[str, Any]], None],
        rng: random.Random,
        laps: Laps,
    ) -> None:
        self._plan, self._job, self._stage, self._inbox, self._clock, self._say = plan, job, stage, inbox, clock, say
        self._laps = laps
        self._sources = {name: tuple(plan.source_inputs(name).values()) for name in plan.config.sources}
        now_ns = clock.now_ns()
        self._children = {name: Child(name, RestartPolicy(), rng, now_ns) for name in (FUSION, *self._sources)}
        self._speed = speed_of(plan)
        self._board = Board(fed_inputs(plan), replays=self._speed is None)
        self._board.last_window = job.decided
        self._opened: dict[str, dict[str, Any]] = {}
        self._epoch_ns: int | None = None
        self._ended = False
        self._status_due_ns = now_ns

    def run(self, stop: Callable[[], bool]) -> None:
        """Until the sources end or stop() says so. Raises CannotGoOn."""
        for name in self._children:
            self._stage.make(name, 0)
        while not stop() and not self._ended:
            for message in self._inbox.messages(POLL_MS):
                self._hear(message)
            for happened in self._stage.messages():
                self._happened(happened)
            for child in self._children.values():
                self._obey(child, child.tick(self._clock.now_ns()))
            self._report()
        self._send_status("ended", final=True)

    # -- what the actors' processes became

    def _happened(self, message: Message) -> None:
        child = self._children[message.name]
        if message.generation not in (child.generation, -1):
            return
        if message.what == "opened":
            self._opened[message.name] = message.values
            child.happens("opened", self._clock.now_ns())
            self._start_those_ready()
            return
        if self._epoch_ns is None:
            raise CannotGoOn(message.values)
        why = message.values.get("text", "its run ended")
        self._obey(child, child.happens("failed", self._clock.now_ns(), why))

    def _start_those_ready(self) -> None:
        if self._epoch_ns is None:
            if any(child.state != "ready" for child in self._children.values()):
                return
            refuse_open_ports(os.getpid())
            self._epoch_ns = self._job.epoch_ns or self._clock.now_ns() + HEAD_START_NS
            self._laps.lap("actors")
            self._say({"type": "started", "epoch_ns": self._epoch_ns, "took_ns": self._laps.took_ns})
        for child in self._children.values():
            if child.state == "ready":
                child.happens("went", self._clock.now_ns())
                self._stage.run(child.name, child.generation, self._arguments(child, self._epoch_ns))

    def _arguments(self, child: Child, epoch_ns: int) -> dict[str, Any]:
        resumed = child.generation > 0 or self._job.epoch_ns is not None
        if child.name == FUSION:
            if lost := sorted(self._board.lost):
                self._stage.lose(lost)
            return {"epoch_ns": epoch_ns, "decided": self._board.last_window, "resumed": resumed}
        # At full speed a source is read again from its start, and what is known is left out: nothing is lost or doubled.
        from_ns = max(0, self._session_ns(epoch_ns)) if resumed and self._speed is not None else 0
        return {"epoch_ns": epoch_ns, "from_ns": from_ns}

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
            raise CannotGoOn(
                {"type": "BackendError", "text": f"the model's process failed {child.failures} times: {child.why}", "exit_code": 4}
            )
        self._board.lost |= set(self._sources[child.name])
        self._stage.lose(list(self._sources[child.name]))

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
        return "running" if all(child.state in ("running", "ended") for child in self._children.values()) else "degraded"

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
        )


def main() -> int:
    """`python -m pipeline.runtime.engine`."""
    lines = _Lines(sys.stdout)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to hear
    try:
        job = Job(**json.loads(sys.stdin.readline()))
        threading.Thread(target=_listen, args=(sys.stdin, stop), daemon=True).start()
        # Ray puts the folder of the program on its workers' import path; ours is full of short names.
        sys.argv = [str(Path(job.folder) / "engine")]
        _serve(job, lines, stop)
    except CannotGoOn as error:
        lines.say({"type": "error", "error": error.said})
    except Exception as error:  # noqa: BLE001 - the process's edge: the supervisor tells the user
        lines.say({"type": "error", "error": described(error)})
    else:
        lines.say({"type": "ended"})
        return 0
    return 1


def _serve(job: Job, lines: _Lines, stop: threading.Event) -> None:
    clock = SystemClock()
    laps = Laps(clock, job.asked_ns)
    config = Config.model_validate_json(job.config_json)
    with ThreadPoolExecutor(1) as side:
        planned = side.submit(build_plan, config)  # while Ray starts, which is mostly waiting
        laps.lap("python")
        stage = RayStage(job.config_json, job.digest, Path(job.folder) / "ray", actors=1 + len(config.sources))
        laps.lap("ray")
        context: zmq.Context[Any] = zmq.Context()
        try:
            plan = planned.result()
            wires = Wires(folder=job.folder, inputs=tuple(plan.model.spec.inputs))
            stage.wires = wires
            inbox = Inbox(context, wires.engine)
            rng = random.Random()  # noqa: S311 - the jitter of pauses
            Engine(plan, job, stage, inbox, clock, lines.say, rng, laps).run(stop.is_set)
            inbox.close()
        finally:
            stage.close(STOP_PATIENCE_S)
            context.destroy(linger=0)


class Laps:
    """Where the time goes until the first decision can come."""

    def __init__(self, clock: Clock, begun_ns: int) -> None:
        self._clock, self._last_ns = clock, begun_ns
        self.took_ns: dict[str, int] = {}

    def lap(self, name: str) -> None:
        now_ns = self._clock.now_ns()
        self.took_ns[name] = now_ns - self._last_ns
        self._last_ns = now_ns


class _Lines:
    """JSON lines; a reader that has gone away ends the engine by SIGPIPE's Python form, BrokenPipeError."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def say(self, message: dict[str, Any]) -> None:
        self._out.write(json.dumps(message, separators=(",", ":")) + "\n")
        self._out.flush()


def _listen(stdin: TextIO, stop: threading.Event) -> None:
    for line in stdin:
        if line.strip() == "stop":
            break
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
