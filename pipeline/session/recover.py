"""Mending a session that was cut off or damaged: what is readable gets a finished segment, the damaged file goes to quarantine/.

Reading does not need it: readers take every file up to its first damage. It makes the state final, lists it, and says what was lost.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

from operators.errors import SessionError
from pipeline.clock import wall_utc
from pipeline.session.arrowlog import ArrowLog, read_log
from pipeline.session.audit import Finding, audit, digest
from pipeline.session.disk import Disk
from pipeline.session.frames import BASE_ERRORS, base_of
from pipeline.session.layout import (
    DECISIONS,
    EVENTS,
    NOTES,
    PART,
    QUARANTINE,
    SEGMENTS,
    Segment,
    SegmentLine,
    renamed,
    stream_folders,
)
from pipeline.session.lock import SessionLock
from pipeline.session.media import MediaSegment
from pipeline.session.part import Part
from pipeline.session.read import Session
from pipeline.session.rows import COLUMNS
from pipeline.session.runlog import DECISION_COLUMNS, read_decisions

DAMAGED = ".damaged"
"""What the name of a file ends in while its copy is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What was done about one file."""

    file: str
    done: str


def recover(folder: Path, report: Callable[[Repair], None] = lambda repair: None) -> list[Repair]:
    """Mends the session; the second time there is nothing to do. Raises SessionError where it is being recorded or cannot be written."""
    session = Session.open(folder)
    try:
        lock = SessionLock(folder)
    except OSError as error:
        raise SessionError(str(folder), f"cannot be mended: it cannot be written ({error.strerror})") from None
    made = []
    try:
        _take_up(session)
        for finding in list(audit(session)):
            done = _mend(folder, finding)
            if done is not None:
                made.append(Repair(file=finding.file, done=done))
                report(made[-1])
        if made:
            Disk().append_line(folder / NOTES, {"recovered": {repair.file: repair.done for repair in made}, "utc": wall_utc()})
    except OSError as error:
        raise SessionError(str(folder), f"could not be mended further ({error.strerror or error})") from None
    finally:
        lock.release()
    return made


def _mend(folder: Path, finding: Finding) -> str | None:
    segment = finding.segment
    if segment is None or finding.state == "whole":
        return None
    if finding.state == "unlisted":
        _list(folder, finding, segment.path)
        return "listed: it was finished, but its line was not written"
    if finding.extent.rows == 0:
        if finding.state == "open":  # first its line: once it is moved, nothing else says that something may be missing there
            _list(folder, finding, segment.path)
        moved = _quarantine(folder, segment.path)
        return f"nothing in it can be read ({finding.why or 'it is empty'}): moved to {moved}"
    if finding.state == "open" and segment.name.suffix == ".mkv" and not finding.why:
        final = segment.path.with_name(segment.path.name.removesuffix(PART))
        segment.path.rename(final)
        _list(folder, finding, final)
        return f"finished: {finding.extent.rows} packets"
    return _rescue(folder, finding, segment)


def _take_up(session: Session) -> None:
    """Where mending was broken off (a full disk, a kill) while a file was copied, the file gets its name again."""
    lines = session.lines()
    for folder in [session.folder / EVENTS, session.folder / DECISIONS, *stream_folders(session.folder).values()]:
        for original in renamed(folder, DAMAGED):
            kept, final = original.with_name(original.name + DAMAGED), original.with_name(original.name.removesuffix(PART))
            line = lines.get(str(final.relative_to(session.folder)))
            if final.is_file() and line is not None and digest(final) == line.sha256:
                _quarantine(session.folder, kept)  # its copy was finished
                continue
            final.with_name(final.name + PART).unlink(missing_ok=True)
            if final.exists():
                _quarantine(session.folder, final)
            kept.rename(original)


def _rescue(folder: Path, finding: Finding, segment: Segment) -> str:
    """A new file of what can be read, in the place of the old one."""
    kept = segment.path.with_name(segment.path.name + DAMAGED)
    segment.path.rename(kept)
    with suppress(FileNotFoundError):
        segment.path.with_name(str(segment.name) + PART).unlink()
    rows = _copy(folder, finding, segment, kept)
    if finding.state == "open" and not finding.why:
        kept.unlink()  # everything in it is in the new one
        return f"finished: {rows} rows"
    moved = _quarantine(folder, kept)
    return f"{rows} rows were kept ({finding.why}); the damaged file is {moved}"


def _copy(folder: Path, finding: Finding, segment: Segment, kept: Path) -> int:
    """How many rows or packets are in it now. Where that fails, the next time takes it up."""
    part = Part(folder, finding.file.rpartition("/")[0], segment.name, Disk())
    try:
        rows = _copy_media(kept, part) if segment.name.suffix == ".mkv" else _copy_log(kept, part, segment.path.parent.name == DECISIONS)
        part.finish(start_ns=finding.extent.start_ns, end_ns=finding.extent.end_ns, rows=rows, cut=True)
    except OSError:
        part.abandon()
        raise
    return rows


def _copy_log(old: Path, part: Part, decisions: bool) -> int:
    log = ArrowLog(part, DECISION_COLUMNS if decisions else COLUMNS)
    for row in read_decisions(old) if decisions else read_log(old):
        log.append(row)
    log.close()
    return log.rows


def _copy_media(old: Path, part: Part) -> int:
    with av.open(f"file:{old}", options={"protocol_whitelist": "file"}, format="matroska") as container:
        base_ns = base_of(container)
        segment = MediaSegment(part, base_ns)
        segment.like(container.streams[0])
        packets = _readable(container)
        # Matroska keeps no decode times; any rising ones that are not after the presentation will do.
        rising = sorted(packet.pts for packet in packets)
        early = max((decode - packet.pts for decode, packet in zip(rising, packets, strict=True)), default=0)
        for decode, packet in zip(rising, packets, strict=True):
            packet.dts = decode - early
            segment.again(packet)
        segment.close()
    return segment.rows


def _readable(container: InputContainer) -> list[Any]:
    """The packets before the damage."""
    packets = []
    with suppress(*BASE_ERRORS):
        for packet in container.demux(container.streams[0]):
            if packet.pts is not None and packet.size:
                packets.append(packet)
    return packets


def _list(folder: Path, finding: Finding, path: Path) -> None:
    extent = finding.extent
    line = SegmentLine(
        file=finding.file,
        start_ns=extent.start_ns,
        end_ns=extent.end_ns,
        rows=extent.rows,
        bytes=path.stat().st_size,
        sha256=digest(path),
        cut=finding.state == "open",
    )
    Disk().append_line(folder / SEGMENTS, asdict(line))


def _quarantine(folder: Path, path: Path) -> str:
    base = folder / QUARANTINE
    base.mkdir(mode=0o700, exist_ok=True)
    name = f"{path.parent.name}-{path.name}"
    for number in range(1000):
        target = base / (name if number == 0 else f"{name}.{number}")
        if not target.exists():
            path.rename(target)
            return f"{QUARANTINE}/{target.name}"
    raise SessionError(str(folder), f"{QUARANTINE}/ holds a thousand copies of {name}")
