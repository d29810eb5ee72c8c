"""Recording at the process that the user started: the decisions, what happened, how session time and wall time lie. A sink."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from operators.decision import Decision
from pipeline.clock import Clock, wall_ns, wall_utc
from pipeline.mask import mask
from pipeline.ports import Sink, Status
from pipeline.session.arrowlog import ArrowLog, Damage, has_columns, read_log
from pipeline.session.disk import Disk
from pipeline.session.layout import DECISIONS, NOTES, Recording, SegmentName
from pipeline.session.lock import SessionLock
from pipeline.session.reel import Reel
from pipeline.session.retention import Retention
from pipeline.session.rows import Row
from pipeline.session.scribe import Scribe, ThreadScribe
from pipeline.session.telling import Telling

ANCHOR_NS = 60_000_000_000
DECISION_COLUMNS: Mapping[str, str] = {
    "id": "string",
    "window": "int64",
    "revision": "int32",
    "start_ns": "int64",
    "end_ns": "int64",
    "label": "string",
    "scores": "map<string,double>",
    "presence": "map<string,string>",
    "age_ns": "map<string,int64>",
    "latency_ns": "map<string,int64>",
    "attribution": "map<string,double>",
    "evidence": "string",
    "model": "string",
    "also": "map<string,string>",
    "crc": "uint32",
}
_FIRST_COLUMNS = {name: kind for name, kind in DECISION_COLUMNS.items() if name != "also"}
"""Of recordings from before decisions could answer further questions."""


def decision_row(decision: Decision) -> Row:
    values = decision.to_json()
    row = {
        name: list(values[name].items()) if kind.startswith("map") else values[name]
        for name, kind in DECISION_COLUMNS.items()
        if name != "crc"
    }
    return {**row, "crc": decision_crc(row)}


def decision_crc(row: Row, columns: Mapping[str, str] = DECISION_COLUMNS) -> int:
    return zlib.crc32(repr([_comparable(row[name]) for name in columns if name != "crc"]).encode("utf-8", "surrogatepass"))


def _comparable(value: object) -> object:
    return [tuple(item) for item in value] if isinstance(value, list) else value


def decision_of(row: Row, session: str) -> Decision:
    values: dict[str, Any] = {
        name: dict(row[name]) if kind.startswith("map") else row[name] for name, kind in DECISION_COLUMNS.items() if name != "crc"
    }
    return Decision(session=session, **values)


def read_decisions(path: Path, damaged: Callable[[Damage], None] = lambda damage: None) -> Iterator[Row]:
    """The rows of a segment of decisions, up to its first damage; an old one's as they would be written now."""
    if has_columns(path, _FIRST_COLUMNS):
        for row in read_log(path, _FIRST_COLUMNS, damaged=damaged, check=lambda row: decision_crc(row, _FIRST_COLUMNS) == row["crc"]):
            now = {**row, "also": []}
            yield {**now, "crc": decision_crc(now)}
        return
    yield from read_log(path, DECISION_COLUMNS, damaged=damaged, check=lambda row: bool(decision_crc(row) == row["crc"]))


class RunRecorder:
    """Keeps what it is told and tells it to other sinks. A disk that fails stops the keeping with one line; decisions go on.

    sinks: the caller's; they are not closed here.
    """

    def __init__(
        self,
        recording: Recording,
        sinks: Sequence[Sink],
        clock: Clock,
        *,
        retention: Retention | None = None,
        scribe: Scribe | None = None,
        disk: Disk | None = None,
    ) -> None:
        self._sinks, self._lock = sinks, SessionLock(Path(recording.folder))
        self._folder = Path(recording.folder)
        self._clock, self._retention = clock, retention
        self._scribe = scribe or ThreadScribe(patient=False)
        self._disk = disk or Disk()
        self._lines: list[str] = []
        self._telling = Telling()
        name = SegmentName(engine=0, actor=0, number=0)
        self._reel: Reel[ArrowLog] = Reel(recording, DECISIONS, name, self._disk, clock, self._lines.append, self._scribe.later)
        self._anchor_at_ns = -math.inf
        self._scribe.each_pause(self._reel.flush)

    def decision(self, decision: Decision) -> None:
        self._scribe.put(partial(self._write, decision))
        for sink in self._sinks:
            sink.decision(decision)

    def status(self, status: Status) -> None:
        lines, self._lines[:] = list(self._lines), []
        events = list(self._telling.lines([*status.events, *lines]))
        told = replace(status, events=events, recording=self._state(status.recording))
        self._keep(told)
        for sink in self._sinks:
            sink.status(told)

    def _state(self, state: str) -> str:
        return f"stopped: {self._reel.stopped}" if self._reel.stopped is not None else state

    def _keep(self, status: Status) -> None:
        now_ns = self._clock.now_ns()
        if status.state in ("running", "degraded") and now_ns >= self._anchor_at_ns:
            self._anchor_at_ns = now_ns + ANCHOR_NS
            session_ns = status.now_ns if status.epoch_ns is None else round((now_ns - status.epoch_ns) * status.speed)
            self._note({"anchor": {"session_ns": session_ns, "monotonic_ns": now_ns, "utc": wall_utc()}})
            if self._retention is not None:
                self._beside(self._retain)
        for line in status.events:
            self._note({"event": mask(line), "session_ns": status.now_ns, "utc": wall_utc()})
        if status.final:
            self._note({"end": asdict(replace(status, events=())), "utc": wall_utc()})

    def join(self, status: Status) -> None:
        """The session has run for a while: what it was before is not recorded."""
        self._note({"joined": {"session_ns": status.now_ns}, "utc": wall_utc()})

    def leave(self, status: Status) -> None:
        """The recording ends here; the session goes on, so nobody else is told. close() is still to be called."""
        self._note({"left": {"session_ns": status.now_ns}, "utc": wall_utc()})
        self._note({"end": asdict(replace(status, events=())), "utc": wall_utc()})

    def close(self) -> None:
        self._scribe.put(self._reel.finish)
        self._scribe.close()
        self._lock.release()

    def _retain(self) -> None:
        if self._retention is not None:
            self._retention.apply(self._folder, wall_ns())

    def _note(self, values: dict[str, Any]) -> None:
        self._beside(partial(self._append_note, values))

    def _beside(self, job: Callable[[], None]) -> None:
        """By way of the scribe's thread: `later` may have to wait, which a decision may not."""
        self._scribe.put(partial(self._scribe.later, job))

    def _append_note(self, values: dict[str, Any]) -> None:
        try:
            self._disk.append_line(self._folder / NOTES, values)
        except OSError as error:
            self._reel.fail(error.strerror or str(error))

    def _write(self, decision: Decision) -> None:
        at_ns = decision.end_ns
        if not self._reel.running or self._reel.due(at_ns):
            self._reel.begin(at_ns, lambda part: ArrowLog(part, DECISION_COLUMNS))
        self._reel.write(at_ns, lambda log: log.append(decision_row(decision)))
