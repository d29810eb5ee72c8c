"""One source of a plan, from what it delivers to the events of the model's inputs: rename, transform, close."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, cast

import cv2

from operators.operator import Operator, run_chain
from operators.packet import Closed, Dropped, Packet, StreamEvent, Watermark
from pipeline.ports import Doored, Health, LiveSource, Source, StreamSpec, Tapped, Wanted


class IntakePlan(Protocol):
    """The part of a `pipeline.plan.Plan` that an intake wants."""

    def make_source(self, name: str) -> Source: ...

    def source_inputs(self, name: str) -> Mapping[str, str]: ...

    def offset_ns(self, name: str) -> int: ...

    def wanted(self, name: str) -> Mapping[str, Wanted]: ...

    def make_transforms(self, name: str) -> list[Operator]: ...


class SourceLog(Protocol):
    """What records a source; `pipeline.session.streamlog.SourceRecorder` is one. As a `pipeline.ports.MediaTap` it is given packets."""

    def open(self, specs: Iterable[StreamSpec], tapped: Sequence[str]) -> None: ...

    def event(self, event: StreamEvent, at_ns: int) -> None: ...

    def packet(self, stream: str, packet: Any, template: Any, times_ns: tuple[int, int, int]) -> None: ...  # noqa: ANN401


class Intake:
    """Opens a source and reads it, once. Used by both runners, so that both read alike.

    seen             is told every packet that the source makes, before its transforms
    promised[input]  until when the input is known to be complete (its newest promise, after transforms)
    dropped[input]   what its transforms did not let through, by reason
    """

    def __init__(self, plan: IntakePlan, name: str, log: SourceLog | None = None, seen: Callable[[Packet], None] | None = None) -> None:
        self.name = name
        self._log, self._seen = log, seen
        self._source = plan.make_source(name)
        self._wanted = plan.wanted(name)
        self._inputs = dict(plan.source_inputs(name))
        self._feeds = {stream: [wanted for wanted, fed in self._inputs.items() if fed == stream] for stream in self._inputs.values()}
        self._chains = {wanted: plan.make_transforms(wanted) for wanted in self._inputs}
        self._offsets = {wanted: plan.offset_ns(wanted) for wanted in self._inputs}
        self._missing: list[str] = []
        self._specs: Sequence[StreamSpec] = ()
        self._open = set(self._chains)
        self.promised = dict.fromkeys(self._chains, 0)
        self.dropped: dict[str, Counter[str]] = {name: Counter() for name in self._chains}

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(self._chains)

    @property
    def live(self) -> bool:
        return self._source.live

    @property
    def live_source(self) -> LiveSource | None:
        """The source, if it is live: the one to tell the time to, and to ask how it is."""
        return cast(LiveSource, self._source) if self._source.live else None

    def health(self) -> dict[str, Health]:
        """By input; nothing of a source that is not live."""
        told = {} if self.live_source is None else self.live_source.health()
        return {wanted: told[stream] for wanted, stream in self._inputs.items() if stream in told}

    def doors(self) -> dict[str, str]:
        """Where the source can be sent to: what it takes -> its address."""
        return dict(self._source.doors()) if isinstance(self._source, Doored) else {}

    def open(self) -> dict[str, StreamSpec]:
        """What the source offers, by input; inputs whose stream it does not have are absent. Raises SourceError."""
        # For the whole process: waking OpenCV's own threads costs more CPU than they save on pictures of these sizes.
        cv2.setNumThreads(1)
        self._specs = self._source.open(self._wanted)
        specs = {spec.name: spec for spec in self._specs}
        if self._log is not None:
            self._log.open(specs.values(), self._source.tap(self._log) if isinstance(self._source, Tapped) else ())
        self._missing = [wanted for wanted, stream in self._inputs.items() if stream not in specs]
        return {wanted: specs[stream] for wanted, stream in self._inputs.items() if stream in specs}

    def record(self, log: SourceLog | None) -> None:
        """From now on, or no longer. Media are encoded from what was decoded: a source gives its compressed packets from its start only."""
        self._log = log
        if log is not None:
            log.open(self._specs, ())

    def end_ns(self) -> int | None:
        return self._source.end_ns()

    def close(self) -> None:
        self._source.close()

    def events(self, from_ns: int = 0, until_ns: int | None = None) -> Iterator[tuple[int, StreamEvent]]:
        """(due_ns, event named by input), in order of due_ns; the last of every input is its Closed.

        from_ns: packets that start before it are left out (a restart). until_ns: what is due then or later is cut off, and
        the inputs close there. Raises what the source and the transforms raise.
        """
        for wanted in self._missing:
            yield from self._through(wanted, 0, Closed(stream=wanted, time_ns=0))
        due_ns = from_ns
        for due_ns, event in self._source.events(from_ns):
            if until_ns is not None and due_ns >= until_ns:
                break
            if self._log is not None:
                self._log.event(event, due_ns)
            if self._seen is not None and isinstance(event, Packet) and event.start_ns >= from_ns:
                self._seen(event)
            for wanted in self._feeds.get(event.stream, ()):
                if wanted in self._open and not (isinstance(event, Packet) and event.start_ns < from_ns):
                    yield from self._through(wanted, due_ns, shifted(_named(event, wanted), self._offsets[wanted]))
        else:
            until_ns = None
        yield from self.closes(due_ns, until_ns)

    def closes(self, due_ns: int, at_ns: int | None = None) -> Iterator[tuple[int, StreamEvent]]:
        """Closes the inputs that are still open: at at_ns, else where their promises ended."""
        for wanted in sorted(self._open):
            yield from self._through(wanted, due_ns, self._close(wanted, at_ns))

    def lose(self, due_ns: int) -> Iterator[tuple[int, StreamEvent]]:
        """The same for a source that failed: past the transforms, which may be what failed."""
        for wanted in sorted(self._open):
            close = self._close(wanted, due_ns)
            self._note(close)
            yield due_ns, close

    def _close(self, wanted: str, at_ns: int | None) -> Closed:
        return Closed(stream=wanted, time_ns=max(self.promised[wanted], at_ns or 0))

    def _through(self, wanted: str, due_ns: int, event: StreamEvent) -> Iterator[tuple[int, StreamEvent]]:
        for out in run_chain(self._chains[wanted], [event]):
            self._note(out)
            yield due_ns, out

    def _note(self, event: StreamEvent) -> None:
        match event:
            case Dropped():
                self.dropped[event.stream][event.reason] += event.count
            case Watermark():
                self.promised[event.stream] = max(self.promised[event.stream], event.time_ns)
            case Closed():
                self.promised[event.stream] = max(self.promised[event.stream], event.time_ns)
                self._open.discard(event.stream)


def _named(event: StreamEvent, stream: str) -> StreamEvent:
    return event if event.stream == stream else replace(event, stream=stream)


def shifted(event: StreamEvent, by_ns: int) -> StreamEvent:
    """The event by_ns later (or earlier) on the session's timeline; what would start before it does not go on."""
    if not by_ns or isinstance(event, Dropped):
        return event
    if isinstance(event, Packet):
        if event.start_ns + by_ns < 0:
            return Dropped(stream=event.stream, reason="before_start", start_ns=event.start_ns)
        return replace(event, start_ns=event.start_ns + by_ns, end_ns=event.end_ns + by_ns)
    return replace(event, time_ns=max(0, event.time_ns + by_ns))
