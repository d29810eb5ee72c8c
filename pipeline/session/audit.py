"""The state of every file of a recorded session: whole, cut off, damaged, missing. Reads everything, changes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av

from pipeline.session.arrowlog import Damage, read_log
from pipeline.session.frames import BASE_ERRORS, MS, base_of
from pipeline.session.layout import DECISIONS, Segment, SegmentLine
from pipeline.session.read import Session
from pipeline.session.runlog import read_decisions

State = Literal["whole", "open", "unlisted", "damaged", "missing"]
"""open: its writer did not finish it (.part). unlisted: finished, but without a line. missing: a line, with rows, without a file."""
CHUNK = 1 << 20


@dataclass(slots=True)
class Extent:
    """rows or packets, and the span of session time of what can be read; why: why it ends there, if it should not."""

    rows: int = 0
    start_ns: int = 0
    end_ns: int = 0
    why: str = ""

    def add(self, start_ns: int, end_ns: int) -> None:
        self.start_ns = min(self.start_ns, start_ns) if self.rows else start_ns
        self.end_ns = max(self.end_ns, end_ns) if self.rows else end_ns
        self.rows += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One file: what can be read of it, and why it is damaged."""

    file: str
    state: State
    extent: Extent
    bytes: int = 0
    why: str = ""
    segment: Segment | None = None


def audit(session: Session) -> Iterator[Finding]:
    """Every segment there is, then every one that is listed with something in it and not there."""
    lines = session.lines()
    seen = set()
    for folder, segment in session.all_segments():
        file = f"{folder}/{segment.name}"
        seen.add(file)
        yield _finding(file, segment, lines.get(file))
    for file in sorted(file for file in lines.keys() - seen if lines[file].rows):
        yield Finding(file=file, state="missing", extent=Extent(), bytes=lines[file].bytes, why="listed but not there")


def _finding(file: str, segment: Segment, line: SegmentLine | None) -> Finding:
    extent = readable(segment)
    why = extent.why
    if not segment.closed:
        state: State = "open"
    elif line is None:
        state = "damaged" if why else "unlisted"
    elif digest(segment.path) != line.sha256:
        state, why = "damaged", why or "its content is not what was written"
    else:
        state = "damaged" if why else "whole"
    size = segment.path.stat().st_size
    return Finding(file=file, state=state, extent=extent, bytes=size, why=why, segment=segment)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    made = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            made.update(chunk)
    return made.hexdigest()


def readable(segment: Segment) -> Extent:
    """What can be read before the first damage."""
    return _of_media(segment.path) if segment.name.suffix == ".mkv" else _of_log(segment)


def _of_log(segment: Segment) -> Extent:
    made = Extent()

    def damaged(damage: Damage) -> None:
        made.why = damage.why

    decisions = segment.path.parent.name == DECISIONS
    rows = read_decisions(segment.path, damaged) if decisions else read_log(segment.path, damaged=damaged)
    for row in rows:
        made.add(row["start_ns"] if decisions else row["at_ns"], row["end_ns"] if decisions else row["at_ns"])
    return made


def _of_media(path: Path) -> Extent:
    made = Extent()
    try:
        with av.open(f"file:{path}", options={"protocol_whitelist": "file"}, format="matroska") as container:
            base_ns = base_of(container)
            for packet in container.demux(container.streams[0]):
                if packet.pts is not None and packet.size:
                    start_ns = base_ns + packet.pts * MS
                    made.add(start_ns, start_ns + (packet.duration or 0) * MS)
    except BASE_ERRORS as error:
        made.why = " ".join(str(error).split())[:200] or type(error).__name__
    return made
