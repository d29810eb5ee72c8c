"""One session as the process that the user started keeps it: through one engine after another, each decision once."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.clock import Clock
from pipeline.ports import Sink, Status
from pipeline.runtime.carry import ended, on_top
from pipeline.runtime.codec import decision_from_json, status_from_json
from pipeline.runtime.failure import Failure
from pipeline.runtime.job import Job
from pipeline.runtime.parts import RunPlan, session_of, speed_of
from pipeline.session.layout import Recording

SECOND = 1_000_000_000
REMEMBERED = 100_000
"""So many ids are kept to know a decision again."""
QUIET_NS = SECOND
"""So long without a status from the engine, and the session says itself how it is."""


class Keeper:
    """sinks: the caller's; they are not closed here. recording: where the engine's processes record their parts.

    session: what it is called here; a replay has another name than the decisions that it repeats.
    """

    def __init__(
        self, plan: RunPlan, sinks: Sequence[Sink], clock: Clock, recording: Recording | None = None, session: str | None = None
    ) -> None:
        self.plan, self.recording = plan, recording
        self.session = session or session_of(plan)
        self.failure: Failure | None = None
        self.last: Status | None = None
        self.sinks, self._clock = sinks, clock
        self._epoch_ns: int | None = None
        self._decided = -1
        self._count = 0
        self._known: set[str] = set()
        self._order: deque[str] = deque()
        self._events: list[str] = []
        self._before: Status | None = None
        self._sent_ns = clock.now_ns()

    @property
    def begun(self) -> bool:
        """Session time runs."""
        return self._epoch_ns is not None

    def job(self, engine: int) -> Job:
        """What the next engine is told. engine: how many there were before."""
        return Job(
            session=self.session,
            config_json=self.plan.config.model_dump_json(),
            digest=self.plan.digest,
            epoch_ns=self._epoch_ns,
            decided=self._decided,
            recording=None if self.recording is None else replace(self.recording, engine=engine),
        )

    def take(self, line: Mapping[str, Any]) -> None:
        """A line of the engine's about this session: started, decision or status."""
        match line["type"]:
            case "decision":
                self._decision(line["decision"])
            case "status":
                self._status(status_from_json(line["status"]))
            case "started":
                self._epoch_ns = line["epoch_ns"]
                took = ", ".join(f"{name} {ns / SECOND:.1f} s" for name, ns in line["took_ns"].items())
                self.tell(f"started: {took}")

    def tell(self, text: str) -> None:
        """An event of the session's, with its next status."""
        self._events.append(text)

    def engine_gone(self, why: str) -> None:
        """What was counted stays; at full speed the next engine reads all from the start, and counts it again."""
        if self.last is not None and self.last.final:  # its last word, and not the session's: nobody has heard it yet
            self._events[:0] = self.last.events
            self.last = replace(self.last, events=(), final=False)
        self.tell(f"engine failed: {why}")
        if self.last is not None and speed_of(self.plan) is not None:
            self._before = ended(self.last)

    def without_engine(self) -> None:
        """Now and then, while there is none: decisions do not come, and the status says so."""
        if self.last is not None and self._clock.now_ns() - self._sent_ns > QUIET_NS:
            self._send(replace(self.last, state="degraded", events=self._take_events()))

    def finish(self, *, stopped: bool) -> None:
        """The last status. stopped: by somebody's wish, whatever else went wrong meanwhile."""
        if stopped:
            self.failure = None
        if self.last is not None:
            events = [*self._take_events(), *(self.last.events if self.last.final else ())]
            self._send(
                replace(self.last, state="ended" if self.failure is None else "failed", decisions=self._count, events=events, final=True)
            )

    def _decision(self, values: dict[str, Any]) -> None:
        decision = decision_from_json(values)
        if decision.id in self._known:
            return
        self._known.add(decision.id)
        self._order.append(decision.id)
        if len(self._order) > REMEMBERED:
            self._known.discard(self._order.popleft())
        self._decided = max(self._decided, decision.window)
        self._count += 1
        for sink in self.sinks:
            sink.decision(decision)

    def _status(self, status: Status) -> None:
        events = [*self._take_events(), *status.events]
        # Whether this is the end is decided here: an engine that ends early may be followed by another.
        self.last = replace(on_top(self._before, status), decisions=self._count, events=events)
        if not status.final:
            self._send(self.last)

    def _take_events(self) -> list[str]:
        events, self._events = self._events, []
        return events

    def _send(self, status: Status) -> None:
        self._sent_ns = self._clock.now_ns()
        for sink in self.sinks:
            sink.status(status)
