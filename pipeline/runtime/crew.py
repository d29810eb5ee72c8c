"""The actors of all sessions: one for every source, and seats for the models in a few that are shared. Knows who is whose.

A seat that hangs shows by not ending when it is asked to: then its whole process goes, and every session in it gets a new seat.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pipeline.clock import Clock
from pipeline.runtime.failure import Failure
from pipeline.runtime.stage import FUSION, Message
from pipeline.runtime.wires import Wires

PATIENCE_NS = 1_500_000_000
"""A seat that was asked to end and has not by then is in a process that hangs."""

What = Literal["opened", "ended", "told", "ends", "end", "counts"]
Handle = Any
Ref = Any


class Node(Protocol):
    """Makes processes with an actor in each; `pipeline.runtime.ray.RayNode` is one."""

    def ingest(self, *arguments: object) -> Handle: ...

    def fusion(self) -> Handle: ...

    def call(self, actor: Handle, method: str, *arguments: object) -> Ref: ...

    def kill(self, actor: Handle) -> None: ...

    def ready(self, refs: Sequence[Ref]) -> Iterator[tuple[Ref, Any]]:
        """Those that are answered, each with what its method gave or with the Failure of its process. Does not wait."""
        ...


@dataclass(slots=True)
class _Seats:
    """One shared process. doubted_ns: since when it owes an answer."""

    actor: Handle
    sessions: dict[str, int] = field(default_factory=dict)
    doubted_ns: int | None = None
    counts: dict[str, Any] = field(default_factory=dict)
    asked: bool = False


@dataclass(frozen=True, slots=True)
class _About:
    session: str
    name: str
    generation: int
    what: What
    seats: _Seats | None = None


class Crew:
    """most: so many processes run models."""

    def __init__(self, node: Node, clock: Clock, most: int) -> None:
        self._node, self._clock, self._most = node, clock, most
        self._shared: list[_Seats] = []
        self._pending: dict[Ref, _About] = {}
        self._waiting: deque[tuple[SessionStage, int]] = deque()
        self.letters: dict[str, deque[Message]] = defaultdict(deque)
        self.pids: dict[tuple[str, str], int] = {}

    def forget(self, session: str) -> None:
        """It is over: what still comes of it is for nobody."""
        self.letters.pop(session, None)
        self._waiting = deque(waiting for waiting in self._waiting if waiting[0].session != session)

    def counts(self) -> list[dict[str, Any]]:
        """What every shared process last counted."""
        return [seats.counts for seats in self._shared]

    def ask_counts(self) -> None:
        for seats in self._shared:
            if not seats.asked:
                seats.asked = True
                self._send(seats, _About("", FUSION, -1, "counts", seats), "counts")

    # -- orders

    def make_source(self, stage: SessionStage, name: str, generation: int) -> Handle:
        actor = self._node.ingest(stage.config_json, stage.digest, name, stage.wires.to_json(), generation)
        self._pending[self._node.call(actor, "open")] = _About(stage.session, name, generation, "opened")
        return actor

    def make_seat(self, stage: SessionStage, generation: int) -> None:
        self._waiting.append((stage, generation))
        self._seat_those_waiting()

    def _seat_those_waiting(self) -> None:
        while self._waiting and (seats := self._room()) is not None:
            stage, generation = self._waiting.popleft()
            seats.sessions[stage.session] = generation
            about = _About(stage.session, FUSION, generation, "opened", seats)
            self._send(seats, about, "open", stage.session, stage.config_json, stage.digest, stage.wires.to_json(), generation)

    def _room(self) -> _Seats | None:
        """The emptiest of those that are well; a new one while there may be more and none is empty."""
        well = sorted((seats for seats in self._shared if seats.doubted_ns is None), key=lambda seats: len(seats.sessions))
        if well and (not well[0].sessions or len(self._shared) >= self._most):
            return well[0]
        if len(self._shared) >= self._most:
            return None
        seats = _Seats(self._node.fusion())
        self._shared.append(seats)
        self._send(seats, _About("", FUSION, -1, "ends", seats), "ends")
        return seats

    def seat_of(self, session: str) -> _Seats | None:
        return next((seats for seats in self._shared if session in seats.sessions), None)

    def tell_seat(self, session: str, method: str, *arguments: object) -> None:
        seats = self.seat_of(session)
        if seats is not None:
            self._send(seats, _About(session, FUSION, seats.sessions[session], "told", seats), method, session, *arguments)

    def end_seat(self, session: str) -> None:
        """Asks it to end; the answer is owed."""
        seats = self.seat_of(session)
        if seats is None:
            return
        if seats.doubted_ns is None:
            seats.doubted_ns = self._clock.now_ns()
        self._send(seats, _About(session, FUSION, seats.sessions[session], "end", seats), "end", session)

    def run(self, session: str, name: str, generation: int, actor: Handle, arguments: dict[str, Any]) -> None:
        self._pending[self._node.call(actor, "run", arguments)] = _About(session, name, generation, "ended")

    def ask_to_stop(self, session: str, name: str, actor: Handle) -> None:
        self._pending[self._node.call(actor, "stop")] = _About(session, name, -1, "told")

    def kill(self, session: str, name: str, actor: Handle) -> None:
        self.pids.pop((session, name), None)
        self._pending = {ref: about for ref, about in self._pending.items() if (about.session, about.name) != (session, name)}
        self._node.kill(actor)

    def _send(self, seats: _Seats, about: _About, method: str, *arguments: object) -> None:
        self._pending[self._node.call(seats.actor, method, *arguments)] = about

    # -- what comes back

    def collect(self) -> None:
        """Sorts what has come into the letters of the sessions."""
        for ref, values in self._node.ready(list(self._pending)):
            about = self._pending.pop(ref, None)
            if about is not None:
                self._take(about, values)
        now_ns = self._clock.now_ns()
        for seats in list(self._shared):
            if seats.doubted_ns is not None and now_ns - seats.doubted_ns > PATIENCE_NS:
                self._node.kill(seats.actor)  # every call to it fails now, and so its sessions hear
                seats.doubted_ns = now_ns
        self._seat_those_waiting()

    def _take(self, about: _About, values: Any) -> None:  # noqa: ANN401 - plain values or a Failure
        if isinstance(values, Failure):
            self._failed(about, values)
        elif about.what == "ends" and about.seats is not None:
            for session, generation, result in values:
                self._seat_ended(about.seats, session, generation, result)
            self._send(about.seats, about, "ends")
        elif about.what == "counts" and about.seats is not None:
            about.seats.counts, about.seats.asked = values, False
        elif about.what == "end" and about.seats is not None:
            about.seats.doubted_ns = None
            _leave(about.seats, about)
        elif "error" in values:
            if about.seats is not None:
                _leave(about.seats, about)
            self._say(about, "failed", failure=Failure.from_json(values["error"]))
        elif about.what in ("opened", "ended"):
            if "pid" in values:
                self.pids[about.session, about.name] = values["pid"]
            self._say(about, about.what, values)

    def _failed(self, about: _About, failure: Failure) -> None:
        """A process died. A shared one takes all its seats with it."""
        if about.seats is None:
            self._say(about, "failed", failure=failure)
        elif about.seats in self._shared:
            self._shared.remove(about.seats)
            for session, generation in about.seats.sessions.items():
                self._say(_About(session, FUSION, generation, "told"), "failed", failure=failure)

    def _seat_ended(self, seats: _Seats, session: str, generation: int, result: dict[str, Any]) -> None:
        _leave(seats, _About(session, FUSION, generation, "ended"))
        failure = Failure.from_json(result["error"]) if "error" in result else None
        self._say(_About(session, FUSION, generation, "told"), "ended" if failure is None else "failed", failure=failure)

    def _say(
        self,
        about: _About,
        what: Literal["opened", "ended", "failed"],
        values: dict[str, Any] | None = None,
        failure: Failure | None = None,
    ) -> None:
        message = Message(name=about.name, generation=about.generation, what=what, values=values or {}, failure=failure)
        self.letters[about.session].append(message)


def _leave(seats: _Seats, about: _About) -> None:
    if seats.sessions.get(about.session) == about.generation:
        del seats.sessions[about.session]


class SessionStage:
    """The crew as one session sees it: a `pipeline.runtime.stage.Stage`."""

    def __init__(self, crew: Crew, session: str, config_json: str, digest: str, wires: Wires) -> None:
        self.session, self.config_json, self.digest, self.wires = session, config_json, digest, wires
        self._crew = crew
        self._actors: dict[str, Handle] = {}

    def make(self, name: str, generation: int) -> None:
        if name == FUSION:
            self._crew.make_seat(self, generation)
        else:
            self._actors[name] = self._crew.make_source(self, name, generation)

    def run(self, name: str, generation: int, arguments: dict[str, Any]) -> None:
        if name == FUSION:
            self._crew.tell_seat(self.session, "run", generation, arguments)
        else:
            self._crew.run(self.session, name, generation, self._actors[name], arguments)

    def lose(self, names: list[str]) -> None:
        self._crew.tell_seat(self.session, "lose", names)

    def vacate(self, names: list[str]) -> None:
        self._crew.tell_seat(self.session, "vacate", names)

    def change(self, config_json: str) -> None:
        self.config_json = config_json

    def stop(self, name: str) -> None:
        if name == FUSION:
            self._crew.end_seat(self.session)
        elif name in self._actors:
            self._crew.ask_to_stop(self.session, name, self._actors[name])

    def kill(self, name: str) -> None:
        if name == FUSION:
            self._crew.end_seat(self.session)
        elif (actor := self._actors.pop(name, None)) is not None:
            self._crew.kill(self.session, name, actor)

    def messages(self) -> Iterator[Message]:
        letters = self._crew.letters[self.session]
        while letters:
            yield letters.popleft()
