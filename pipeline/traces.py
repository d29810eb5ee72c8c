"""One OpenTelemetry trace a decision, a span a stage, sent by OTLP over HTTP. Nothing waits for it: what is too much is dropped.

    traces = Traces("http://127.0.0.1:4318", SystemClock(), wall_ns)
    sink = traces.sink(lag_ns=200_000_000)      one per session, beside its other sinks
    traces.counts()                             {"sent": 120, "dropped": 0, "failed": 0}

Times are those of the session, put on the wall clock by the status's epoch: the root begins at the window's end, `transport` lies before
it, the other stages follow on each other after it. A decision that is told twice is one trace: its id is made of the decision's. Headers,
for a collector that wants a key, come from OTEL_EXPORTER_OTLP_HEADERS, as OpenTelemetry has it.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from operators.decision import Decision
from operators.errors import SensoriumError
from pipeline.clock import Clock
from pipeline.mask import mask
from pipeline.ports import Status

MOST_WAITING = 2048
MOST_AT_ONCE = 256
SEND_S = 5.0
FLUSH_S = 2.0
PAUSE_S = 0.5
AFTER_END = ("align", "encode", "fuse", "attribute")
"""The stages that follow on each other after the window's end; any other is placed at its beginning."""
PATH = "/v1/traces"

log = logging.getLogger("sensorium.traces")


@dataclass(frozen=True, slots=True)
class Timed:
    """A decision, and when its window ended, wall-clock ns since 1970."""

    decision: Decision
    end_ns: int


@dataclass(frozen=True, slots=True)
class Stage:
    """When one was at work, wall-clock ns."""

    name: str
    start_ns: int
    end_ns: int


def stages(timed: Timed) -> Iterator[Stage]:
    """The spans of a decision, the root (`decision`) first."""
    took, end_ns = timed.decision.latency_ns, timed.end_ns
    begun_ns = end_ns + min(0, took.get("align", 0))  # when all streams had ended it was decided before its time
    yield Stage("decision", begun_ns, max(begun_ns, end_ns + took.get("total", 0)))
    if "transport" in took:
        yield Stage("transport", end_ns - max(0, took["transport"]), end_ns)
    at_ns = begun_ns
    for name in (*AFTER_END, *(set(took) - {*AFTER_END, "transport", "total"})):
        if name in took:
            until_ns = at_ns + max(0, took[name])
            yield Stage(name, at_ns, until_ns)
            at_ns = until_ns if name in AFTER_END else at_ns


def endpoint_of(address: str) -> str:
    """http://collector:4318 -> http://collector:4318/v1/traces; an address with a path is taken as it is. Raises SensoriumError."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SensoriumError(f"traces: an address like http://127.0.0.1:4318 wanted, got {mask(address)}")
    return address.rstrip("/") + PATH if parts.path in ("", "/") else address


class Traces:
    """Sends in a thread of its own, from the first decision to close(). Raises SensoriumError where OpenTelemetry is not installed."""

    def __init__(self, address: str, clock: Clock, wall_ns: Callable[[], int], *, most_waiting: int = MOST_WAITING) -> None:
        try:
            from pipeline.otlp import Otlp
        except ModuleNotFoundError as error:
            raise SensoriumError(f"traces want {error.name}; pip install 'sensorium[tracing]'") from None
        self._otlp = Otlp(endpoint_of(address), SEND_S)
        self._clock, self._wall_ns = clock, wall_ns
        self._waiting: deque[Timed] = deque()
        self._most_waiting = most_waiting
        self._counts: Counter[str] = Counter(sent=0, dropped=0, failed=0)
        self._there = threading.Condition()
        self._closing = False
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def sink(self, lag_ns: int) -> TraceSink:
        """lag_ns: how long before its window's end a decision's span ends."""
        return TraceSink(self, lag_ns)

    def counts(self) -> dict[str, int]:
        """Traces: sent, dropped (more came than could be sent), failed (the collector did not take them)."""
        with self._there:
            return dict(self._counts)

    def put(self, timed: Timed) -> None:
        """Never waits."""
        with self._there:
            if self._closing or len(self._waiting) >= self._most_waiting:
                self._counts["dropped"] += 1
                return
            self._waiting.append(timed)
            self._there.notify()

    def on_wall(self, monotonic_ns: int) -> int:
        """Of the monotonic clock of this machine, ns since 1970."""
        return self._wall_ns() + monotonic_ns - self._clock.now_ns()

    def close(self) -> None:
        """Waits at most FLUSH_S for what is still to be sent."""
        with self._there:
            self._closing = True
            self._there.notify()
        self._thread.join(FLUSH_S)
        self._otlp.close()
        self._thread.join(FLUSH_S)

    def _run(self) -> None:
        while batch := self._take():
            sent = self._otlp.send([(timed.decision, list(stages(timed))) for timed in batch])
            with self._there:
                self._counts["sent" if sent else "failed"] += len(batch)
            self._tell(sent)

    def _take(self) -> list[Timed]:
        """What is next to be sent; nothing: it is over."""
        with self._there:
            self._there.wait_for(lambda: self._waiting or self._closing)
            if not self._closing:
                self._there.wait(PAUSE_S)  # some more at a time
            batch = [self._waiting.popleft() for _ in range(min(MOST_AT_ONCE, len(self._waiting)))]
        return batch

    def _tell(self, sent: bool) -> None:
        """When it begins to fail, and when it works again; not each time."""
        if sent == self._failing:
            self._failing = not sent
            log.log(logging.INFO if sent else logging.WARNING, "traces are taken again" if sent else "the collector takes no traces")


class TraceSink:
    """A `pipeline.ports.Sink` of one session. Before its first status it does not know when the session began, and says nothing."""

    def __init__(self, traces: Traces, lag_ns: int) -> None:
        self._traces, self._lag_ns = traces, lag_ns
        self._status: Status | None = None

    def decision(self, decision: Decision) -> None:
        status = self._status
        if status is not None and status.epoch_ns is not None and decision.latency_ns:
            end_ns = status.epoch_ns + round((decision.end_ns + self._lag_ns) / (status.speed or 1.0))
            self._traces.put(Timed(decision, self._traces.on_wall(end_ns)))

    def status(self, status: Status) -> None:
        self._status = status

    def close(self) -> None:
        """What was given is sent all the same."""
