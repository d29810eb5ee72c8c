"""The two shapes of a transform, and how they are strung together.

A transform is a plain function `Packet -> Packet`, or an object with `process(event)`, `snapshot()` and `restore()`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from operators.packet import Packet, StreamEvent


class Operator(Protocol):
    """Events of one stream in, events of the same stream out.

    Watermark and Closed must come out too, never promising more than what may still follow from what is held back.
    A packet that does not go on becomes a Dropped with its reason.
    """

    def process(self, event: StreamEvent) -> Iterator[StreamEvent]: ...

    def snapshot(self) -> Mapping[str, Any]:
        """State as a dict of plain values, arrays and packets; owns its memory."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None: ...


class Each:
    """A plain function on packets as an Operator: everything but packets passes through."""

    def __init__(self, function: Callable[[Packet], Packet]) -> None:
        self._function = function

    def process(self, event: StreamEvent) -> Iterator[StreamEvent]:
        yield self._function(event) if isinstance(event, Packet) else event

    def snapshot(self) -> Mapping[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        pass


def run_chain(operators: Sequence[Operator], events: Iterable[StreamEvent]) -> Iterator[StreamEvent]:
    """Each event through all operators in turn; depth first, so order is kept and nothing is buffered here.

    A Dropped goes straight to the end: no later operator has anything to say about it.
    """
    for operator in operators:
        events = _through(operator, events)
    yield from events


def _through(operator: Operator, events: Iterable[StreamEvent]) -> Iterator[StreamEvent]:
    for event in events:
        yield from operator.process(event)
