"""How long recordings are kept: by age and by bytes, the oldest segments first, with a line for every deletion."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.clock import wall_utc
from pipeline.session.disk import Disk
from pipeline.session.layout import DECISIONS, EVENTS, LABELS, MANIFEST, segments, stream_folders

DELETED = "deleted.jsonl"
SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Old:
    """A finished segment that may go."""

    written_ns: int
    bytes: int
    path: Path
    session: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """keep_ns: older segments go; keep_bytes: the oldest go until the rest fits. None: no bound.

    store: the folder of sessions. Only finished segments are touched, and only in folders that hold a manifest of ours; a session that
    has no segment left goes altogether, unless it is the one being recorded.
    """

    store: Path
    keep_ns: int | None = None
    keep_bytes: int | None = None
    disk: Disk = field(default_factory=Disk)

    def apply(self, recorded: Path, now_ns: int) -> list[Path]:
        """Deletes what is due and notes it in deleted.jsonl of the store; gives what went. Never raises for a file it cannot delete.

        recorded: the session being recorded. now_ns: wall-clock time, as files are stamped with.
        """
        found = sorted(self._found(), key=lambda old: old.written_ns)
        total = sum(old.bytes for old in found)
        gone: list[Old] = []
        for old in found:
            why = self._why(old, now_ns, total)
            if why is None:
                break
            if self._delete(old, why):
                total -= old.bytes
                gone.append(old)
        for session in sorted({old.session for old in gone} - {recorded}):
            self._sweep(session)
        return [old.path for old in gone]

    def _found(self) -> Iterator[Old]:
        for session in sorted(self.store.iterdir()) if self.store.is_dir() else ():
            if session.is_symlink() or not (session / MANIFEST).is_file():
                continue
            for folder in [session / EVENTS, session / DECISIONS, *stream_folders(session).values()]:
                for segment in [*segments(folder), *segments(folder, ".mkv")]:
                    with suppress(OSError):
                        stat = segment.path.stat()
                        if segment.closed:
                            yield Old(written_ns=stat.st_mtime_ns, bytes=stat.st_size, path=segment.path, session=session)

    def _why(self, old: Old, now_ns: int, total: int) -> str | None:
        if self.keep_ns is not None and now_ns - old.written_ns > self.keep_ns:
            return f"older than {self.keep_ns // SECOND} s"
        if self.keep_bytes is not None and total > self.keep_bytes:
            return f"more than {self.keep_bytes} bytes are kept"
        return None

    def _delete(self, old: Old, why: str) -> bool:
        try:
            old.path.unlink()
            relative = old.path.relative_to(self.store)
            self.disk.append_line(self.store / DELETED, {"file": str(relative), "bytes": old.bytes, "why": why, "utc": wall_utc()})
        except OSError:
            return False
        return True

    def _sweep(self, session: Path) -> None:
        """A session of which nothing is left but its frame and no labels goes, too."""
        folders = [session / EVENTS, session / DECISIONS, *stream_folders(session).values()]
        if (session / LABELS).is_dir() or any(segments(folder) or segments(folder, ".mkv") for folder in folders):
            return
        shutil.rmtree(session, ignore_errors=True)
        with suppress(OSError):
            self.disk.append_line(self.store / DELETED, {"session": session.name, "why": "nothing was left of it", "utc": wall_utc()})
