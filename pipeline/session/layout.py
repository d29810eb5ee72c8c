"""Where everything is in a recorded session's folder, and the line that a finished segment gets.

SESSION/
  manifest.json                        what was run, with what, from when (`pipeline.session.manifest`)
  segments.jsonl                       a line for every finished segment, with its SHA-256
  notes.jsonl                          what happened: clock anchors, faults, the final status
  events/LIFE-NUMBER.arrows            what the aligner was given, in its order, with payloads: replay needs only these
  decisions/LIFE-NUMBER.arrows         what was decided
  streams/SOURCE.STREAM/LIFE-NUMBER.arrows, .mkv   what the source said and when, and its original media
  labels/NAME.jsonl                    what people say of it
  quarantine/                          damaged segments, moved there by `sensorium sessions recover`, never deleted
A segment that is being written ends in .part. LIFE is ENGINE.ACTOR: it grows whenever a process is replaced.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANIFEST, SEGMENTS, NOTES = "manifest.json", "segments.jsonl", "notes.jsonl"
EVENTS, DECISIONS, STREAMS, LABELS, QUARANTINE = "events", "decisions", "streams", "labels", "quarantine"
PART = ".part"
_SEGMENT = re.compile(r"(?P<engine>\d{1,9})\.(?P<actor>\d{1,9})-(?P<number>\d{6,9})(?P<suffix>\.arrows|\.mkv)(?P<part>\.part)?")
_STREAM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}\.[A-Za-z0-9_-]{1,64}")
LINE_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What every process of a run needs to know to record its part.

    folder    of the session; engine: counts the engines of the run
    segment_ns, segment_bytes   a segment ends at the first event after so much
    free_bytes  recording stops while the disk has less free than this
    """

    folder: str
    engine: int = 0
    segment_ns: int = 60_000_000_000
    segment_bytes: int = 64 << 20
    free_bytes: int = 500 << 20


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class SegmentName:
    """Sorts in order of time: by life, then by number."""

    engine: int
    actor: int
    number: int
    suffix: str = ".arrows"

    def __str__(self) -> str:
        return f"{self.engine}.{self.actor}-{self.number:06d}{self.suffix}"

    def follows(self, other: SegmentName | None) -> bool:
        """Nothing is missing between the two."""
        return other is not None and (self.engine, self.actor, self.number) == (other.engine, other.actor, other.number + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A segment's file as it lies there. closed: its writer finished it."""

    path: Path
    name: SegmentName
    closed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentLine:
    """A line of segments.jsonl. file: relative, with slashes. start_ns, end_ns: session time covered. rows: of a log; packets of media.

    cut: it was finished by `sensorium sessions recover`, not by its writer: something may be missing after it.
    rows 0: recover found nothing in it that can be read and moved it away.
    """

    file: str
    start_ns: int
    end_ns: int
    rows: int
    bytes: int
    sha256: str
    cut: bool = False


def segment_name(file: str) -> SegmentName | None:
    """Of a file that is called like a segment, with or without .part."""
    match = _SEGMENT.fullmatch(file)
    if match is None:
        return None
    return SegmentName(engine=int(match["engine"]), actor=int(match["actor"]), number=int(match["number"]), suffix=match["suffix"])


def segments(folder: Path, suffix: str = ".arrows") -> list[Segment]:
    """The segments of one folder in order; anything that is not named like one, or is no plain file, is left alone."""
    found = []
    for path in folder.iterdir() if folder.is_dir() and not folder.is_symlink() else ():
        name = segment_name(path.name)
        if name is None or name.suffix != suffix or path.is_symlink() or not path.is_file():
            continue
        found.append(Segment(path=path, name=name, closed=not path.name.endswith(PART)))
    return sorted(found, key=lambda segment: (segment.name, segment.closed))


def renamed(folder: Path, ending: str) -> list[Path]:
    """What the files are called without `ending` that are segments but for it."""
    paths = sorted(folder.glob(f"*{ending}")) if folder.is_dir() and not folder.is_symlink() else []
    plain = [path.with_name(path.name.removesuffix(ending)) for path in paths if path.is_file() and not path.is_symlink()]
    return [path for path in plain if segment_name(path.name) is not None]


def stream_folders(folder: Path) -> dict[str, Path]:
    """SOURCE.STREAM -> its folder."""
    base = folder / STREAMS
    paths = sorted(base.iterdir()) if base.is_dir() and not base.is_symlink() else []
    return {path.name: path for path in paths if _STREAM.fullmatch(path.name) and path.is_dir() and not path.is_symlink()}


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines that are JSON objects; one that was cut off or damaged is left out."""
    if not path.is_file() or path.is_symlink():
        return
    with path.open("rb") as file:
        while line := file.readline(LINE_LIMIT):
            try:
                values = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(values, dict):
                yield values


def segment_lines(folder: Path) -> dict[str, SegmentLine]:
    """By file; the last line of a file counts."""
    found = {}
    for values in read_lines(folder / SEGMENTS):
        try:
            line = SegmentLine(**values)
        except TypeError:
            continue
        if isinstance(line.file, str) and isinstance(line.sha256, str):
            found[line.file] = line
    return found
