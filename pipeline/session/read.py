"""Reading a recorded session, in whatever state its writer left it. Nothing is changed by reading.

Sessions may come from anybody: sizes are bounded by the files, links are not followed, and nothing that is named in them is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from operators.decision import Decision
from operators.packet import Packet
from pipeline.session.arrowlog import Damage, read_log
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
from pipeline.session.rows import Row, event_of
from pipeline.session.runlog import decision_of, read_decisions

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(slots=True)
class Faults:
    """What was found damaged while reading: (file, why), each once."""

    found: dict[str, str] = field(default_factory=dict)

    def of(self, segment: Segment) -> Callable[[Damage], None]:
        def note(damage: Damage) -> None:
            self.found.setdefault(str(segment.path), damage.why)

        return note


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

    # -- decisions and notes

    def decisions(self) -> Iterator[Decision]:
        for segment in segments(self.folder / DECISIONS):
            for row in read_decisions(segment.path, self.faults.of(segment)):
                yield decision_of(row, self.manifest.session)

    def notes(self) -> Iterator[dict[str, Any]]:
        """Clock anchors, events, the final status."""
        return read_lines(self.folder / NOTES)

    def ended(self) -> dict[str, Any] | None:
        """The final status; None: the run was killed, or goes on."""
        ends = [note["end"] for note in self.notes() if isinstance(note.get("end"), dict)]
        return ends[-1] if ends else None

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
        last: tuple[int, int] | None = None
        for segment in self._last_life(self.stream_segments(stream)):
            for row in read_log(segment.path, damaged=self.faults.of(segment)):
                if row["kind"] == "packet":
                    key = (row["start_ns"], row["end_ns"])
                    if last is not None and key <= last:
                        continue
                    last = key
                yield row

    def packets(self, stream: str) -> Iterator[Packet]:
        """Packets whose payload is in the log: text and numbers. Pictures and sound: `pipeline.session.frames`."""
        for row in self.stream_rows(stream):
            if row["kind"] == "packet" and isinstance(event := event_of(row), Packet):
                yield event

    def table(self, stream: str) -> pa.Table:
        """The stream's packets as an Arrow table: seq, start_ns, end_ns, at_ns and, for text, text."""
        import pyarrow as pa

        columns: dict[str, list[Any]] = {name: [] for name in ("seq", "start_ns", "end_ns", "at_ns", "text")}
        for row in self.stream_rows(stream):
            if row["kind"] == "packet":
                text = (row["data"] or b"").decode("utf-8", "replace") if row["payload"] == "text" else None
                for name, value in (*((name, row[name]) for name in ("seq", "start_ns", "end_ns", "at_ns")), ("text", text)):
                    columns[name].append(value)
        kinds = {name: pa.string() if name == "text" else pa.int64() for name in columns}
        return pa.table({name: pa.array(values, kinds[name]) for name, values in columns.items()})

    def _last_life(self, found: list[Segment]) -> list[Segment]:
        if self.manifest.paced or not found:
            return found
        last = found[-1].name
        return [s for s in found if (s.name.engine, s.name.actor) == (last.engine, last.actor)]

    # -- extent

    def is_cut(self, segment: Segment) -> bool:
        """Something may be missing after it: it was not finished by its writer, or reading it met damage."""
        line = self.lines().get(str(segment.path.relative_to(self.folder)))
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
