"""Lines that are appended to a file, as text: a log, a transcript that another program writes.

sources: {notes: {use: "pipeline.sources.text_tail:Tail", path: notes.txt}}
inputs: {text: notes.text}
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from operators.errors import DeviceNotFound
from pipeline.live.captured import Happened, Now
from pipeline.live.text import MAX_BYTES, POLL_S, STREAM, Lines, TextFeed, TextItem
from pipeline.ports import Wanted


class Tail(TextFeed):
    """path: the file; it is waited for. from_start: what is in it already is text too. max_bytes: longer lines are dropped and counted.

    A file that was replaced (rotated) is read to its end, then the new one from its start; one that became shorter, from its start.
    """

    def __init__(self, *, path: Path, from_start: bool = False, max_bytes: int = MAX_BYTES) -> None:
        super().__init__(f"tail {path.name}", max_bytes=max_bytes)
        self._path, self._from_start = path, from_start
        self._seen = False

    def connect(self, wanted: Mapping[str, Wanted], now_ns: Now) -> _Following:
        try:
            file = self._path.open("rb", buffering=0)
        except OSError as error:
            self._seen = True  # what comes into being while we wait is new from its first line on
            raise DeviceNotFound(self.label, f"{self._path} cannot be read ({error.strerror})") from None
        if not (self._from_start or self._seen):
            file.seek(0, os.SEEK_END)
        self._seen = True
        return _Following(self._path, file, Lines(now_ns, self.max_bytes))


class _Following:
    details: Mapping[str, str]

    def __init__(self, path: Path, file: BinaryIO, lines: Lines) -> None:
        self._path, self._file, self._lines = path, file, lines
        self.details = {STREAM: path.name}

    def read(self, stop: threading.Event) -> Iterator[TextItem]:
        while not stop.is_set():
            if data := self._file.read(1 << 16):
                yield from self._lines.feed(data)
            elif (what := self._changed()) is not None:
                yield from self._lines.end()
                yield Happened(stream=STREAM, what=what)
            else:
                stop.wait(POLL_S / 2)

    def _changed(self) -> str | None:
        """Whether the file is another one, or shorter than what was read; if so, it is now read from its start."""
        ours = os.fstat(self._file.fileno())
        if ours.st_size < self._file.tell():
            self._file.seek(0)
            return "truncated"
        try:
            there = self._path.stat()
        except OSError:
            return None  # it is being replaced
        if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
            return None
        replaced = self._path.open("rb", buffering=0)
        self._file.close()
        self._file = replaced
        return "rotated"

    def close(self) -> None:
        self._file.close()
