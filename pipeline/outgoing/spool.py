"""What is not yet acknowledged, on disk: JSON lines in segments, so that it is sent after a restart.

    FOLDER/0/lock                 held by the process that uses slot 0
    FOLDER/0/000007.jsonl         lines, oldest first; fsynced every flush
    FOLDER/0/000007.done          how many bytes of that segment are done with; not synced: a lost one costs duplicates, not decisions

Each sink that uses a folder has a slot of its own; at its start it takes over what slots without a process hold. What is acknowledged
before the next flush never reaches the disk.
"""

from __future__ import annotations

import fcntl
import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

SEGMENT_BYTES = 1 << 20
MOST_SLOTS = 1024


@dataclass(slots=True)
class _Line:
    number: int
    data: bytes | None
    """None: it is on disk."""
    segment: int = -1
    end: int = 0


class Spool:
    """One thread uses it after its construction. All of it may raise OSError.

    folder: made private. left: the lines that earlier runs left, oldest first of each; they have the numbers 0, 1, 2 ...
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._slot, self._lock = _claim(folder)
        self._lines: deque[_Line] = deque()
        self._file: int | None = None
        self._segment, self._size = _last(self._slot), 0
        self._done: dict[int, int] = {}
        self.left: list[bytes] = []
        for segment in _segments(self._slot):
            for data, end in _lines(self._slot, segment):
                self._lines.append(_Line(len(self.left), None, segment, end))
                self.left.append(data)
        self._adopt(folder)

    def _adopt(self, folder: Path) -> None:
        for slot in sorted(path for path in folder.iterdir() if path.name.isdigit() and path != self._slot):
            lock = _locked(slot)
            if lock is None:
                continue
            try:
                segments = list(_segments(slot))
                for data in [data for segment in segments for data, _ in _lines(slot, segment)]:
                    self.append(len(self.left), data)
                    self.left.append(data)
                self.flush()  # ours are safe before theirs go
                for segment in segments:
                    _remove(slot, segment)
            finally:
                os.close(lock)

    def append(self, number: int, data: bytes) -> None:
        """number: grows by 1. data: one line without its end."""
        self._lines.append(_Line(number, data))

    def done(self, number: int) -> None:
        """Everything up to that number is acknowledged, or given up."""
        while self._lines and self._lines[0].number <= number:
            line = self._lines.popleft()
            if line.data is None:
                self._done[line.segment] = line.end

    def flush(self) -> None:
        """What is not done is on disk when this returns."""
        waiting = [line for line in self._lines if line.data is not None]
        if waiting:
            self._write(waiting)
        if self._done:
            self._forget()

    def _write(self, waiting: list[_Line]) -> None:
        if self._file is None:
            self._segment, self._size = self._segment + 1, 0
            self._file = os.open(_path(self._slot, self._segment), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        data = b"".join(line.data + b"\n" for line in waiting if line.data is not None)
        written = 0
        while written < len(data):
            written += os.write(self._file, memoryview(data)[written:])
        os.fsync(self._file)
        for line in waiting:
            self._size += len(line.data or b"") + 1
            line.data, line.segment, line.end = None, self._segment, self._size
        if self._size >= SEGMENT_BYTES:
            self._close_file()

    def _forget(self) -> None:
        """Segments that are done with go; of the one that is not, it is noted how far it is."""
        first = self._lines[0].segment if self._lines and self._lines[0].data is None else None
        for segment, end in sorted(self._done.items()):
            if segment == first:
                _note(self._slot, segment, end)
            else:
                if segment == self._segment:
                    self._close_file()
                _remove(self._slot, segment)
        self._done.clear()

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def close(self) -> None:
        try:
            self.flush()
        finally:
            self._close_file()
            os.close(self._lock)


def _claim(folder: Path) -> tuple[Path, int]:
    for number in range(MOST_SLOTS):
        slot = folder / str(number)
        slot.mkdir(mode=0o700, exist_ok=True)
        lock = _locked(slot)
        if lock is not None:
            return slot, lock
    raise OSError(f"{folder}: more than {MOST_SLOTS} sinks use it")


def _locked(slot: Path) -> int | None:
    """A descriptor that holds the slot's lock; None: a process has it."""
    lock = os.open(slot / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _path(slot: Path, segment: int, kind: str = "jsonl") -> Path:
    return slot / f"{segment:06d}.{kind}"


def _segments(slot: Path) -> Iterator[int]:
    return iter(sorted(int(path.stem) for path in slot.glob("*.jsonl") if path.stem.isdigit()))


def _last(slot: Path) -> int:
    """No number is used twice: what is noted of one segment must never be taken for another's."""
    return max((int(path.stem) for path in slot.glob("[0-9]*.*") if path.stem.isdigit()), default=0)


def _lines(slot: Path, segment: int) -> Iterator[tuple[bytes, int]]:
    """(line, where it ends) of what is not done. The torn last line of a machine that went down is left out."""
    note = _path(slot, segment, "done")
    text = note.read_text("ascii", "replace").strip() if note.exists() else ""
    end = int(text) if text.isascii() and text.isdigit() else 0
    data = _path(slot, segment).read_bytes()
    for _ in count():
        begin, end = end, data.find(b"\n", end) + 1
        if end == 0:
            return
        yield data[begin : end - 1], end


def _note(slot: Path, segment: int, end: int) -> None:
    descriptor = os.open(_path(slot, segment, "done"), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        os.pwrite(descriptor, f"{end:020d}\n".encode(), 0)
    finally:
        os.close(descriptor)


def _remove(slot: Path, segment: int) -> None:
    for kind in ("jsonl", "done"):  # in this order: a note without its segment says nothing
        with suppress(FileNotFoundError):
            _path(slot, segment, kind).unlink()
