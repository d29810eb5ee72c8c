"""The actors of all sessions: one for every source, and seats for the models in a few that are shared. Knows who is whose.

A seat that hangs shows by not ending when it is asked to: then its whole process goes, and every session in it gets a new seat.
"""

from __future__ import annotations

import platform
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from pipeline.clock import Clock
from pipeline.config import Config
from pipeline.runtime.failure import Failure
from pipeline.runtime.seats import Handle, Node, Process, Ref, Seat
from pipeline.runtime.stage import FUSION, Message
from pipeline.runtime.wires import Wires
from pipeline.session.layout import Recording

What = Literal["opened", "ended", "told", "ends", "end", "counts"]


@dataclass(frozen=True, eq=False, slots=True)
class _About:
    """What an answer will be about: an actor of a session, or a shared process and, mostly, a seat in it."""

    what: What
    stage: SessionStage | None = None
    name: str = FUSION
    generation: int = -1
    process: Process | None = None
    seat: Seat | None = None


class Crew:
    """most: so many processes run models."""

    def __init__(self, node: Node, clock: Clock, most: int) -> None:
        self._node, self._clock, self._most = node, clock, most
        self._shared: list[Process] = []
        self._pending: dict[Ref, _About] = {}
        self._waiting: deque[tuple[SessionStage, int]] = deque()
        self._numbers = 0
        self.pids: dict[tuple[str, str], int] = {}

    def forget(self, stage: SessionStage) -> None:
        """It is over: what still comes of it is for nobody."""
        self._wait_no_more(stage)
        self.pids = {key: pid for key, pid in self.pids.items() if key[0] != stage.session}

    def neighbours(self, session: str) -> list[str]:
        """Those at the same shared process; of one that has no seat yet, those where it will get one."""
        own = next((p for p in self._shared if any(seat.stage.session == session for seat in p.seats.values())), None)
        if own is None and len(self._shared) < self._most:
            return []
        process = own or min(self._shared, key=lambda p: len(p.seats))
        return [seat.stage.session for seat in process.seats.values() if seat.stage.session != session]

    def counts(self) -> list[dict[str, Any]]:
        """What every shared process last counted."""
        return [process.counts for process in self._shared]

    def ask_counts(self) -> None:
        for process in self._shared:
            if not process.asked:
                process.asked = True
                self._send(_About("counts", process=process), "counts")

    # -- orders

    def make_source(self, stage: SessionStage, name: str, generation: int) -> Handle:
        labels = stage.nodes.get(name, {})
        actor = self._node.ingest(stage.config_json, stage.digest, name, stage.wires.to_json(), generation, labels=labels)
        self._pending[self._node.call(actor, "open")] = _About("opened", stage, name, generation)
        return actor

    def make_seat(self, stage: SessionStage, generation: int) -> None:
        self._wait_no_more(stage)
        self._waiting.append((stage, generation))
        self._seat_those_waiting()

    def _wait_no_more(self, stage: SessionStage) -> None:
        self._waiting = deque(waiting for waiting in self._waiting if waiting[0] is not stage)

    def _seat_those_waiting(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for stage, generation in waiting:
            if (process := self._room(stage.session)) is None:
                self._waiting.append((stage, generation))
                continue
            self._numbers += 1
            seat = stage.seat = process.seats[self._numbers] = Seat(self._numbers, stage, generation, process, self._clock.now_ns())
            self._tell(seat, "opened", "open", stage.config_json, stage.digest, stage.wires.to_json(), generation)

    def _room(self, session: str) -> Process | None:
        """The emptiest of those that take it; a new one while there may be more and none is empty."""
        well = sorted((process for process in self._shared if process.takes(session)), key=lambda process: len(process.seats))
        if well and (not well[0].seats or len(self._shared) >= self._most):
            return well[0]
        if len(self._shared) >= self._most:
            return None
        process = Process(self._node.fusion())
        self._shared.append(process)
        self._send(_About("ends", process=process), "ends")
        return process

    def run_seat(self, stage: SessionStage, arguments: dict[str, Any]) -> None:
        if stage.seat is not None:
            self._tell(stage.seat, "told", "run", stage.seat.number, arguments)

    def tell_seat(self, stage: SessionStage, method: str, *arguments: object) -> None:
        if stage.seat is not None:
            self._tell(stage.seat, "told", method, *arguments)

    def end_seat(self, stage: SessionStage) -> None:
        """Asks it to end; the answer is owed."""
        self._wait_no_more(stage)
        seat = stage.seat
        if seat is not None and seat.owed_ns is None:
            seat.owed_ns = self._clock.now_ns()
            if seat.open:
                self._tell(seat, "end", "end")

    def run(self, stage: SessionStage, name: str, generation: int, actor: Handle, arguments: dict[str, Any]) -> None:
        self._pending[self._node.call(actor, "run", arguments)] = _About("ended", stage, name, generation)

    def ask(self, stage: SessionStage, name: str, actor: Handle, method: str, *arguments: object) -> None:
        """Something that it answers at once."""
        self._pending[self._node.call(actor, method, *arguments)] = _About("told", stage, name)

    def kill(self, stage: SessionStage, name: str, actor: Handle) -> None:
        self.pids.pop((stage.session, name), None)
        self._pending = {ref: about for ref, about in self._pending.items() if about.stage is not stage or about.name != name}
        self._node.kill(actor)

    def _tell(self, seat: Seat, what: What, method: str, *arguments: object) -> None:
        self._send(_About(what, seat.stage, FUSION, seat.generation, seat.process, seat), method, seat.stage.session, *arguments)

    def _send(self, about: _About, method: str, *arguments: object) -> None:
        if about.process is not None:
            self._pending[self._node.call(about.process.actor, method, *arguments)] = about

    # -- what comes back

    def collect(self) -> None:
        """Sorts what has come into the letters of the sessions."""
        for ref, values in self._node.ready(list(self._pending)):
            about = self._pending.pop(ref, None)
            if about is not None:
                self._take(about, values)
        now_ns = self._clock.now_ns()
        for process in list(self._shared):
            if any(seat.hangs(now_ns) for seat in process.seats.values()):
                self._node.kill(process.actor)  # every call to it fails now, and so its sessions hear
                process.forgive(now_ns)
        self._seat_those_waiting()

    def _take(self, about: _About, values: Any) -> None:  # noqa: ANN401 - plain values or a Failure
        if isinstance(values, Failure):
            if about.process is not None:
                self._lost(about.process, values)
            else:
                _say(about, "failed", failure=values)
        elif about.process is not None and about.what == "ends":
            for _, number, result in values:
                self._ended(about.process.seats.get(number), result)
            self._send(about, "ends")
        elif about.process is not None and about.what == "counts":
            about.process.counts, about.process.asked = values, False
        elif about.what == "end":
            self._ended(about.seat, values)
        elif "error" in values:
            if about.seat is not None:
                about.seat.process.leave(about.seat)
            _say(about, "failed", failure=Failure.from_json(values["error"]))
        elif about.what == "opened" and about.seat is not None and about.seat.owed_ns is not None:
            about.seat.open, about.seat.owed_ns = True, self._clock.now_ns()
            self._tell(about.seat, "end", "end")
        elif about.what in ("opened", "ended") and about.stage is not None:
            if about.seat is not None:
                about.seat.open = True
            if values.get("machine") == platform.node():  # what runs on others is not ours to measure
                self.pids[about.stage.session, about.name] = values["pid"]
            _say(about, about.what, values)

    def _lost(self, process: Process, failure: Failure) -> None:
        """A shared process died, or is as good as dead. It takes all its seats with it."""
        if process not in self._shared:
            return  # its other calls fail too
        self._shared.remove(process)
        self._node.kill(process.actor)
        for seat in list(process.seats.values()):
            seat.process.leave(seat)
            _say(_About("told", seat.stage, FUSION, seat.generation), "failed", failure=failure)

    def _ended(self, seat: Seat | None, result: dict[str, Any]) -> None:
        """By itself or because it was asked to: it is said once, by whichever answer comes first."""
        if seat is None or not seat.process.leave(seat):
            return
        failure = Failure.from_json(result["error"]) if "error" in result else None
        about = _About("told", seat.stage, FUSION, seat.generation)
        _say(about, "ended" if failure is None else "failed", failure=failure)


def _say(
    about: _About,
    what: Literal["opened", "ended", "failed"],
    values: dict[str, Any] | None = None,
    failure: Failure | None = None,
) -> None:
    if about.stage is not None:
        message = Message(name=about.name, generation=about.generation, what=what, values=values or {}, failure=failure)
        about.stage.letters.append(message)


class SessionStage:
    """The crew as one session sees it: a `pipeline.runtime.stage.Stage`. nodes: source -> the labels of the node it wants to run on."""

    def __init__(
        self, crew: Crew, session: str, config_json: str, digest: str, wires: Wires, nodes: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        self.session, self.config_json, self.digest, self.wires = session, config_json, digest, wires
        self.nodes = nodes or {}
        self.seat: Seat | None = None
        self.letters: deque[Message] = deque()
        self._crew = crew
        self._actors: dict[str, Handle] = {}

    def make(self, name: str, generation: int) -> None:
        if name == FUSION:
            self._crew.make_seat(self, generation)
        else:
            self._actors[name] = self._crew.make_source(self, name, generation)

    def run(self, name: str, generation: int, arguments: dict[str, Any]) -> None:
        if name == FUSION:
            self._crew.run_seat(self, arguments)
        else:
            self._crew.run(self, name, generation, self._actors[name], arguments)

    def lose(self, names: list[str]) -> None:
        self._crew.tell_seat(self, "lose", names)

    def vacate(self, names: list[str]) -> None:
        self._crew.tell_seat(self, "vacate", names)

    def change(self, config: Config) -> None:
        self.config_json, self.nodes = config.model_dump_json(), config.nodes

    def stop(self, name: str) -> None:
        if name == FUSION:
            self._crew.end_seat(self)
        elif name in self._actors:
            self._crew.ask(self, name, self._actors[name], "stop")

    def connect(self, edges: dict[str, str]) -> None:
        for name, actor in self._actors.items():
            self._crew.ask(self, name, actor, "connect", edges)

    def record(self, recording: Recording | None) -> None:
        self.wires = replace(self.wires, recording=recording)
        values = None if recording is None else asdict(recording)
        self._crew.tell_seat(self, "record", values)
        for name, actor in self._actors.items():
            self._crew.ask(self, name, actor, "record", values)

    def kill(self, name: str) -> None:
        if name == FUSION:
            self._crew.end_seat(self)
        elif (actor := self._actors.pop(name, None)) is not None:
            self._crew.kill(self, name, actor)

    def messages(self) -> Iterator[Message]:
        while self.letters:
            yield self.letters.popleft()
