"""One segment while it is written: NAME.part, until it is synced, renamed and has its line in segments.jsonl."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from pipeline.session.disk import Disk
from pipeline.session.layout import PART, SEGMENTS, SegmentLine, SegmentName


class Part:
    """An open segment; `write` is for whoever makes its content. Raises OSError; then `abandon` it: what was written stays where it is."""

    def __init__(self, session: Path, folder: str, name: SegmentName, disk: Disk) -> None:
        self._session, self._file_name, self._disk = session, f"{folder}/{name}", disk
        self._path = session / folder / str(name)
        self._part = self._path.with_name(self._path.name + PART)
        self._file = disk.create(self._part)
        self._hash = hashlib.sha256()
        self.bytes = 0
        self.broken = False

    def write(self, data: bytes | memoryview) -> int:
        """All of it, or OSError. After an error nothing is written any more, whatever a muxer still has to say."""
        view = memoryview(data)
        if self.broken:
            return view.nbytes
        try:
            done = 0
            while done < view.nbytes:
                done += self._file.write(view[done:]) or 0
        except OSError:
            self.broken = True
            raise
        self._hash.update(view)
        self.bytes += view.nbytes
        return view.nbytes

    def finish(self, *, start_ns: int, end_ns: int, rows: int, cut: bool = False) -> SegmentLine:
        """Call it once all content was written. cut: see SegmentLine."""
        self._disk.sync(self._file)
        self._file.close()
        self._disk.rename(self._part, self._path)
        line = SegmentLine(
            file=self._file_name, start_ns=start_ns, end_ns=end_ns, rows=rows, bytes=self.bytes, sha256=self._hash.hexdigest(), cut=cut
        )
        self._disk.append_line(self._session / SEGMENTS, asdict(line))
        return line

    def abandon(self) -> None:
        self.broken = True
        with suppress(OSError):
            self._file.close()

    def discard_empty(self) -> None:
        """An abandoned file in which there is nothing goes; any other stays."""
        with suppress(OSError):
            if self._part.stat().st_size == 0:
                self._part.unlink()
