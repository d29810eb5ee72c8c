"""What one stream of a recording is written to: one segment after another, and what happens when the disk will not have it.

    closed --begin--> on --(OSError, too little space)--> stopped --begin, after a pause--> on
It stops with one line and goes on with another; nothing of a run depends on it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from pipeline.clock import Clock
from pipeline.session.disk import Disk
from pipeline.session.layout import Recording, SegmentName
from pipeline.session.part import Part

RETRY_NS = 5_000_000_000
SPACE_NS = 1_000_000_000
"""Free space is asked for so often."""


class Content(Protocol):
    """What a segment is filled with: a log or a media file. Each may raise OSError."""

    rows: int

    def flush(self) -> None: ...

    def close(self) -> None:
        """Everything is in the part; the part itself stays open."""
        ...


C = TypeVar("C", bound=Content)


class Reel(Generic[C]):
    """One stream's files. All calls come from one thread, but `fail`; `stopped`, `resumable` and `bytes` may be read from any.

    later: runs what waits for the disk; while a segment is synced the next one is written.
    """

    def __init__(
        self,
        recording: Recording,
        folder: str,
        first: SegmentName,
        disk: Disk,
        clock: Clock,
        tell: Callable[[str], None],
        later: Callable[[Callable[[], None]], None] = lambda job: job(),
    ) -> None:
        self._recording, self._folder, self._name = recording, folder, first
        self._what = folder if first.suffix == ".arrows" else f"{folder} (media)"
        self._disk, self._clock, self._tell, self._later = disk, clock, tell, later
        self._failed: str | None = None
        self._part: Part | None = None
        self._left: Part | None = None
        self._content: C | None = None
        self._start_ns = self._end_ns = 0
        self._retry_at_ns = self._space_at_ns = 0
        self.stopped: str | None = None
        self.bytes = 0

    @property
    def resumable(self) -> bool:
        """It stopped long enough ago to try again."""
        return self.stopped is not None and self._clock.now_ns() >= self._retry_at_ns

    @property
    def running(self) -> bool:
        return self._content is not None

    def due(self, at_ns: int) -> bool:
        """The segment is long or big enough."""
        big = self._part is not None and self._part.bytes >= self._recording.segment_bytes
        return big or at_ns - self._start_ns >= self._recording.segment_ns

    def begin(self, at_ns: int, make: Callable[[Part], C]) -> None:
        """Finishes the segment there is, and opens the next; at_ns: the session time that it begins with."""
        self.finish()
        if self.stopped is not None and not self.resumable:
            return
        with self._guarded():
            self._part = Part(Path(self._recording.folder), self._folder, self._name, self._disk)
            self._drop_left()
            self._name = SegmentName(
                engine=self._name.engine, actor=self._name.actor, number=self._name.number + 1, suffix=self._name.suffix
            )
            if not self._has_space():
                return
            self._content = make(self._part)
            self._start_ns = self._end_ns = at_ns
            self._note_written()

    def write(self, at_ns: int, work: Callable[[C], None]) -> None:
        """Does the work on the open segment, if there is one."""
        if self._content is not None:
            self._end_ns = max(self._end_ns, at_ns)
            content = self._content
            with self._guarded():
                work(content)
                self._note_written()

    def flush(self) -> None:
        self._heed_failure()
        if self._content is None or self._part is None:
            return
        if self._clock.now_ns() >= self._space_at_ns and not self._has_space():
            return
        content = self._content
        with self._guarded():
            content.flush()
            self._note_written()

    def finish(self) -> None:
        """Closes the open segment; it is synced and named beside."""
        part, content = self._part, self._content
        if part is None or content is None:
            return
        with self._guarded():
            content.close()
            self._note_written()
            self._part = self._content = None
            self._later(partial(self._seal, part, self._start_ns, self._end_ns, content.rows))
        self._heed_failure()

    def fail(self, why: str) -> None:
        """Something of it failed beside: it stops at the next call."""
        self._failed = why

    def stop(self, why: str, pause_ns: int = RETRY_NS) -> None:
        """What was written stays; the rest is not recorded until a segment begins again, after pause_ns at the earliest."""
        if self._part is not None:
            self._part.abandon()
            self._left = self._part
        if self._content is not None:
            with suppress(OSError):
                self._content.close()
        self._part = self._content = None
        if self.stopped is None:
            self._tell(f"recording of {self._what} stopped: {why}; decisions go on")
        self.stopped = why
        self._retry_at_ns = self._clock.now_ns() + pause_ns

    def _note_written(self) -> None:
        """It goes on once the disk has taken something: a file can be opened on a full one, too."""
        if self._part is None:
            return
        self.bytes = self._part.bytes
        if self.bytes and self.stopped is not None:
            self.stopped = None
            self._tell(f"recording of {self._what} goes on")

    def _seal(self, part: Part, start_ns: int, end_ns: int, rows: int) -> None:
        try:
            part.finish(start_ns=start_ns, end_ns=end_ns, rows=rows)
        except OSError as error:
            part.abandon()
            self.fail(error.strerror or str(error))

    def _heed_failure(self) -> None:
        why, self._failed = self._failed, None
        if why is not None:
            self.stop(why)

    def _drop_left(self) -> None:
        """The file of the last try, if it is empty: it says that something is missing, and so does the new one. They do not pile up."""
        if self._left is not None:
            self._left.discard_empty()
            self._left = None

    def _has_space(self) -> bool:
        """Stops where there is too little."""
        self._space_at_ns = self._clock.now_ns() + SPACE_NS
        try:
            free = self._disk.free_bytes(Path(self._recording.folder))
        except OSError as error:
            self.stop(error.strerror or str(error))
            return False
        if free < self._recording.free_bytes:
            self.stop(f"only {free >> 20} MiB of disk are free, {self._recording.free_bytes >> 20} are to stay so")
            return False
        return True

    def _guarded(self) -> _Guard:
        return _Guard(self.stop)


class _Guard:
    """An OSError inside stops the recording and goes no further."""

    def __init__(self, stop: Callable[[str], None]) -> None:
        self._stop = stop

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, OSError):
            self._stop(error.strerror or str(error))
            return True
        return False
