"""Promises for sources that make none of their own: in order, within a bounded disorder, and while idle.

A promise never goes back: a watermark at or below the last one is left out. A packet that breaks a promise goes on as it is,
and the aligner reports it as late.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from operators.errors import ContractError
from operators.packet import Packet, StreamEvent, Tick, Watermark


class _Rising:
    """The watermarks of one stream, each once and only upwards."""

    def __init__(self) -> None:
        self._time_ns: int | None = None

    def _promise(self, stream: str, time_ns: int) -> Iterator[Watermark]:
        if self._time_ns is None or time_ns > self._time_ns:
            self._time_ns = time_ns
            yield Watermark(stream=stream, time_ns=time_ns)

    def snapshot(self) -> Mapping[str, Any]:
        return {"time_ns": self._time_ns}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._time_ns = state["time_ns"]


class InOrder(_Rising):
    """For a source that delivers in order: after each packet, nothing starts before its end.

    overlapping: packets may overlap the one before them; then nothing starts before the start of the packet.
    """

    def __init__(self, *, overlapping: bool = False) -> None:
        super().__init__()
        self._overlapping = overlapping

    def process(self, event: StreamEvent) -> Iterator[StreamEvent]:
        if isinstance(event, Watermark):
            yield from self._promise(event.stream, event.time_ns)
            return
        yield event
        if isinstance(event, Packet):
            yield from self._promise(event.stream, event.start_ns if self._overlapping else event.end_ns)


class BoundedDisorder(_Rising):
    """For a source that delivers out of order: nothing starts more than lateness_ns before the newest start so far.

    lateness_ns, >= 0: large enough that a late packet is news, small enough that windows need not wait long for the promise.
    """

    def __init__(self, *, lateness_ns: int) -> None:
        super().__init__()
        if lateness_ns < 0:
            raise ContractError(f"lateness_ns >= 0 wanted, got {lateness_ns}")
        self._lateness_ns = lateness_ns

    def process(self, event: StreamEvent) -> Iterator[StreamEvent]:
        if isinstance(event, Watermark):
            yield from self._promise(event.stream, event.time_ns)
            return
        yield event
        if isinstance(event, Packet):
            yield from self._promise(event.stream, event.start_ns - self._lateness_ns)


class Heartbeat(_Rising):
    """For a source that is silent most of the time: at now, nothing starts before now - lateness_ns.

    Silence is a promise too: without it a text stream that says something every few seconds would hold back all others.
    It lives where ticks are; they are used up here. lateness_ns, >= 0: how long after its start a packet may come at most.
    """

    def __init__(self, *, stream: str, lateness_ns: int = 0) -> None:
        super().__init__()
        if lateness_ns < 0:
            raise ContractError(f"lateness_ns >= 0 wanted, got {lateness_ns}")
        self._stream = stream
        self._lateness_ns = lateness_ns

    def process(self, event: StreamEvent | Tick) -> Iterator[StreamEvent]:
        if isinstance(event, Tick):
            yield from self._promise(self._stream, event.now_ns - self._lateness_ns)
        elif isinstance(event, Watermark):
            yield from self._promise(event.stream, event.time_ns)
        else:
            yield event
