"""Shared processes and the seats of sessions in them: who sits where, and who owes an answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pipeline.runtime.crew import SessionStage

PATIENCE_NS = 1_500_000_000
"""A seat that was asked to end and has not by then is in a process that hangs."""
OPENING_NS = 60_000_000_000
"""So long may a model take to load; a seat that nobody wants any more is ended when it has."""

Handle = Any
Ref = Any


class Node(Protocol):
    """Makes processes with an actor in each; `pipeline.runtime.ray.RayNode` is one."""

    def ingest(self, *arguments: object, labels: Mapping[str, str]) -> Handle: ...

    def fusion(self) -> Handle: ...

    def call(self, actor: Handle, method: str, *arguments: object) -> Ref: ...

    def kill(self, actor: Handle) -> None: ...

    def ready(self, refs: Sequence[Ref]) -> Iterator[tuple[Ref, Any]]:
        """Those that are answered, each with what its method gave or with the Failure of its process. Does not wait."""
        ...


@dataclass(eq=False, slots=True)
class Seat:
    """One session's, in a shared process. number: like no other's. asked_ns: for it; owed_ns: since when it owes us its end."""

    number: int
    stage: SessionStage
    generation: int
    process: Process
    asked_ns: int
    open: bool = False
    owed_ns: int | None = None

    def hangs(self, now_ns: int) -> bool:
        if self.owed_ns is None:
            return False
        return now_ns - self.owed_ns > PATIENCE_NS if self.open else now_ns - self.asked_ns > OPENING_NS


@dataclass(eq=False, slots=True)
class Process:
    """A shared one. seats: by their numbers."""

    actor: Handle
    seats: dict[int, Seat] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)
    asked: bool = False

    def takes(self, session: str) -> bool:
        """Not while it owes an answer that says that it lives, nor while there is a former seat of that name."""
        return not any((seat.owed_ns is not None and seat.open) or seat.stage.session == session for seat in self.seats.values())

    def forgive(self, now_ns: int) -> None:
        """It is given the same time again."""
        for seat in self.seats.values():
            seat.asked_ns, seat.owed_ns = now_ns, None if seat.owed_ns is None else now_ns

    def leave(self, seat: Seat) -> bool:
        """False: it has left before."""
        if seat.stage.seat is seat:
            seat.stage.seat = None
        return self.seats.pop(seat.number, None) is not None
