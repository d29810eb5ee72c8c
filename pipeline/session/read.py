"""Reading a recorded session, in whatever state its writer left it. Nothing is changed by reading.

Sessions may come from anybody: sizes are bounded by the files, links are not followed, and nothing that is named in them is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from operators.decision import Decision
from operators.packet import Packet, Series
from pipeline.session.arrowlog import Damage, read_log, schema_of
from pipeline.session.labels import Label, label_names, read_labels
from pipeline.session.layout import (
    DECISIONS,
    EVENTS,
    NOTES,
    Segment,
    SegmentLine,
    read_lines,
    segment_lines,
    segments,
    stream_folders,
)
from pipeline.session.manifest import Manifest, read_manifest
from pipeline.session.rows import Row, event_of, payload_of
from pipeline.session.runlog import DECISION_COLUMNS, decision_of, read_decisions

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(slots=True)
class Faults:
    """What was found damaged while reading: (file, why), each once."""

    found: dict[str, str] = field(default_factory=dict)

    def note(self, path: Path, why: str) -> None:
        self.found.setdefault(str(path), why)

    def of(self, segment: Segment) -> Callable[[Damage], None]:
        return lambda damage: self.note(segment.path, damage.why)


class Session:
    """One recorded session. `Session.open(path)`; everything is read when it is asked for.

    faults: damage met so far; what comes before it in the same file was read.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest
        self.faults = Faults()

    @classmethod
    def open(cls, path: str | Path) -> Session:
        """Raises NotASession, UnsupportedVersion, SessionError."""
        folder = Path(path)
        return cls(folder, read_manifest(folder))

    @property
    def name(self) -> str:
        """The folder's name: unique in its store."""
        return self.folder.absolute().name

    # -- what the aligner was given

    def event_segments(self) -> list[Segment]:
        """In order of time; of a run at full speed only those of the last life, which read everything again from the start."""
        return self._last_life(segments(self.folder / EVENTS))

    def event_rows(self, segment: Segment) -> Iterator[Row]:
        return read_log(segment.path, damaged=self.faults.of(segment))

    def shed_rows(self, segment: Segment) -> Iterator[Row]:
        """Of an event segment: the windows that were given up undecided. Its damage is for who reads all of it."""
        return read_log(segment.path, kind="dropped")

    # -- decisions and notes

    def decisions(self) -> Iterator[Decision]:
        for segment in segments(self.folder / DECISIONS):
            for row in read_decisions(segment.path, self.faults.of(segment)):
                yield decision_of(row, self.manifest.session)

    def decisions_table(self) -> pa.Table:
        """One row a decision, revisions included; columns as `pipeline.session.runlog.DECISION_COLUMNS` without the CRC."""
        import pyarrow as pa

        schema = schema_of({name: kind for name, kind in DECISION_COLUMNS.items() if name != "crc"})
        rows = [row for segment in segments(self.folder / DECISIONS) for row in read_decisions(segment.path, self.faults.of(segment))]
        return pa.table({field.name: pa.array([row[field.name] for row in rows], field.type) for field in schema}, schema=schema)

    def notes(self) -> Iterator[dict[str, Any]]:
        """Clock anchors, events, the final status."""
        return read_lines(self.folder / NOTES)

    def ended(self) -> dict[str, Any] | None:
        """The final status; None: the run was killed, or goes on."""
        ends = [note["end"] for note in self.notes() if isinstance(note.get("end"), dict)]
        return ends[-1] if ends else None

    # -- labels

    def label_names(self) -> list[str]:
        return label_names(self.folder)

    def labels(self, name: str) -> list[Label]:
        """In order of start. Raises SessionError where there are none of that name."""
        return read_labels(self.folder, name, self.faults.note)

    # -- streams

    def streams(self) -> list[str]:
        """SOURCE.STREAM of everything that was recorded at a source."""
        return list(stream_folders(self.folder))

    def stream_segments(self, stream: str, suffix: str = ".arrows") -> list[Segment]:
        folder = stream_folders(self.folder).get(stream)
        return [] if folder is None else segments(folder, suffix)

    def media_segments(self, stream: str) -> list[Segment]:
        return self._last_life(self.stream_segments(stream, ".mkv"))

    def stream_rows(self, stream: str) -> Iterator[Row]:
        """What the source said, in order, each packet once: a source that was started again says some things twice."""
        life: tuple[int, int] | None = None
        newest = before = (-1, -1)
        for segment in self._last_life(self.stream_segments(stream)):
            if life != (segment.name.engine, segment.name.actor):
                life, before = (segment.name.engine, segment.name.actor), newest
            for row in read_log(segment.path, damaged=self.faults.of(segment)):
                if row["kind"] == "packet":
                    key = (row["start_ns"], row["end_ns"])
                    if key <= before:
                        continue
                    newest = max(newest, key)
                yield row

    def packets(self, stream: str) -> Iterator[Packet]:
        """Packets whose payload is in the log: text and numbers. Pictures and sound: `pipeline.session.frames`."""
        for row in self.stream_rows(stream):
            if row["kind"] == "packet" and isinstance(event := event_of(row), Packet):
                yield event

    def table(self, stream: str) -> pa.Table:
        """The stream's packets as an Arrow table: seq, start_ns, end_ns, at_ns, text (of text) and values (of numbers, as float64)."""
        import pyarrow as pa

        rows = [row for row in self.stream_rows(stream) if row["kind"] == "packet"]
        columns = {name: pa.array([row[name] for row in rows], pa.int64()) for name in ("seq", "start_ns", "end_ns", "at_ns")}
        text = [(row["data"] or b"").decode("utf-8", "replace") if row["payload"] == "text" else None for row in rows]
        values = [_numbers(row) for row in rows]
        return pa.table({**columns, "text": pa.array(text, pa.string()), "values": pa.array(values, pa.list_(pa.float64()))})

    def _last_life(self, found: list[Segment]) -> list[Segment]:
        if self.manifest.paced or not found:
            return found
        last = found[-1].name
        return [s for s in found if (s.name.engine, s.name.actor) == (last.engine, last.actor)]

    # -- extent

    def is_cut(self, segment: Segment, lines: Mapping[str, SegmentLine]) -> bool:
        """Something may be missing after it: it was not finished by its writer, or reading it met damage. lines: as lines() gave them."""
        line = lines.get(str(segment.path.relative_to(self.folder)))
        return not segment.closed or (line is not None and line.cut) or str(segment.path) in self.faults.found

    def lines(self) -> dict[str, SegmentLine]:
        return segment_lines(self.folder)

    def end_ns(self) -> int:
        """Until when, in session time, something was recorded."""
        known = [line.end_ns for line in self.lines().values()]
        open_ends = [row["at_ns"] for segment in self.event_segments() if not segment.closed for row in self.event_rows(segment)]
        return max([*known, *open_ends], default=0)

    def all_segments(self) -> Iterator[tuple[str, Segment]]:
        """(folder, segment) of every segment of the session."""
        for folder in (EVENTS, DECISIONS, *(f"streams/{name}" for name in self.streams())):
            for suffix in (".arrows", ".mkv"):
                for segment in segments(self.folder / folder, suffix):
                    yield folder, segment


def _numbers(row: Row) -> list[float] | None:
    """Of a series; the values of several samples follow on each other."""
    payload = payload_of(row) if row["payload"] == "series" else None
    return payload.values.astype(float).ravel().tolist() if isinstance(payload, Series) else None
