"""What a kill -9 cost a recording, as others saw it who were not killed. All times are session time in ns.

Lost is what a process had passed on by the kill and cannot be read in its own logs. The witness is the next process: the aligner for
what an ingest actor read, the decisions for what the aligner was given, the reader of the terminal for the decisions. So a picture that
was not due yet is not lost, nor one that a busy machine had not read yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av

from pipeline.session.arrowlog import read_log
from pipeline.session.frames import BASE_ERRORS, base_of
from pipeline.session.layout import EVENTS, Segment, segments
from pipeline.session.read import Session
from pipeline.session.rows import Row

MS = 1_000_000
ROUNDED_NS = 2 * MS
"""Matroska keeps milliseconds."""
FIRST_LIFE = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The witness was told at at_ns about everything before time_ns."""

    at_ns: int
    time_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """lost_ns: the kill, less when the witness saw the oldest thing that cannot be read; 0: all that it saw can.

    age_ns: the kill, less the end of what can be read. behind_ns: the kill, less the newest that the witness saw: what age would be if
    nothing were lost.
    """

    lost_ns: int
    age_ns: int
    behind_ns: int


def loss(seen: Sequence[Seen], readable_ns: int, killed_ns: int, rounded_ns: int = 0) -> Loss:
    """readable_ns: everything before it can be read."""
    known = [one for one in seen if one.at_ns <= killed_ns]
    missing = (one.at_ns for one in known if one.time_ns > readable_ns + rounded_ns)
    newest_ns = max((one.time_ns for one in known), default=0)
    return Loss(lost_ns=killed_ns - min(missing, default=killed_ns), age_ns=killed_ns - readable_ns, behind_ns=killed_ns - newest_ns)


def of_ingest(session: Session, killed_ns: int) -> Iterator[tuple[str, Loss]]:
    """By log and media file of its streams."""
    for name, recorded in session.manifest.inputs.items():
        folder = session.folder / "streams" / recorded.stream
        seen, rows = at_aligner(session, name), rows_of(first_life(folder))
        yield f"log of {name}", loss(seen, max(map(_reached_ns, rows), default=0), killed_ns)
        if media := first_life(folder, ".mkv"):
            reached_ns = pictures_ns(media, rows) if recorded.kind == "video" else max(end_ns for _, end_ns in packets(media))
            yield f"media of {name}", loss(seen, reached_ns, killed_ns, ROUNDED_NS)


def at_aligner(session: Session, name: str) -> Sequence[Seen]:
    """What it was told of an input."""
    rows = (row for segment in session.event_segments() for row in session.event_rows(segment))
    told = ("packet", "watermark")
    return [Seen(at_ns=row["at_ns"], time_ns=_reached_ns(row)) for row in rows if row["stream"] == name and row["kind"] in told]


def of_fusion(session: Session, killed_ns: int) -> Loss:
    """Of the events at the aligner: a decision came of those before it."""
    came = [decision.end_ns + decision.latency_ns["total"] for decision in session.decisions() if decision.latency_ns]
    readable_ns = max(row["at_ns"] for row in rows_of(first_life(session.folder / EVENTS)))
    return loss([Seen(at_ns=at_ns, time_ns=at_ns) for at_ns in came], readable_ns, killed_ns)


def of_supervisor(session: Session, lines: Sequence[tuple[int, int]], killed_ns: int) -> Loss:
    """Of the decisions. lines: (start, when its line was read)."""
    reached_ns = max((decision.start_ns for decision in session.decisions()), default=0)
    return loss([Seen(at_ns=read_ns, time_ns=start_ns) for start_ns, read_ns in lines], reached_ns, killed_ns, MS)


def first_life(folder: Path, suffix: str = ".arrows") -> list[Segment]:
    return [one for one in segments(folder, suffix) if (one.name.engine, one.name.actor) == FIRST_LIFE]


def rows_of(found: Sequence[Segment]) -> list[Row]:
    return [row for segment in found for row in read_log(segment.path)]


def _reached_ns(row: Row) -> int:
    """Of a watermark its time; of a packet that starts there, too: text is valid long after it was said."""
    return int(row["start_ns"])


def pictures_ns(media: Sequence[Segment], rows: Sequence[Row]) -> int:
    """Until where no picture is missing that the log knows: the file holds them in the order of decoding."""
    spans = list(packets(media))
    there = {round(start_ns / MS) + by for start_ns, _ in spans for by in (-1, 0, 1)}
    missing = (row["start_ns"] for row in rows if row["kind"] == "packet" and round(row["start_ns"] / MS) not in there)
    return min(missing, default=max((end_ns for _, end_ns in spans), default=0))


def packets(media: Sequence[Segment]) -> Iterator[tuple[int, int]]:
    """(start, end) of every packet that can be read."""
    for segment in media:
        try:
            with av.open(f"file:{segment.path}", format="matroska") as container:
                base_ns = base_of(container)
                for packet in container.demux(container.streams[0]):
                    if packet.pts is not None and packet.size:
                        start_ns = base_ns + packet.pts * MS
                        yield start_ns, start_ns + (packet.duration or 0) * MS
        except BASE_ERRORS:
            continue
