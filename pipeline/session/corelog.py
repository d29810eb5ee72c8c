"""Recording at the aligner's input: every event that the core is given, in its order, and now and then the core's whole state."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from operators.packet import CoreEvent, Dropped, Packet
from pipeline.clock import Clock
from pipeline.session.arrowlog import ArrowLog
from pipeline.session.disk import Disk
from pipeline.session.layout import EVENTS, Recording, SegmentName
from pipeline.session.part import Part
from pipeline.session.reel import Reel
from pipeline.session.rows import Row, row_of
from pipeline.session.scribe import Scribe
from pipeline.session.snapshot import snapshot_rows


class CoreRecorder:
    """Call `event` with every event before the core gets it, from the core's thread.

    Every segment begins with the core's state, so that replay can begin with any of them: after a seek, after segments were deleted,
    after the disk was full.
    """

    def __init__(
        self, recording: Recording, life: tuple[int, int], scribe: Scribe, clock: Clock, disk: Disk, tell: Callable[[str], None]
    ) -> None:
        engine, actor = life
        name = SegmentName(engine=engine, actor=actor, number=0)
        self._reel: Reel[ArrowLog] = Reel(recording, EVENTS, name, disk, clock, tell, scribe.later)
        self._segment_ns, self._segment_bytes = recording.segment_ns, recording.segment_bytes
        self._scribe = scribe
        self._since_ns: int | None = None
        self._beginning = False
        scribe.each_pause(self._reel.flush)

    @property
    def stopped(self) -> str | None:
        return self._reel.stopped

    def event(self, event: CoreEvent | Dropped, at_ns: int, snapshot: Callable[[], Any]) -> None:
        """at_ns: session time now. snapshot: the core's, as it is before the event.

        A Dropped is a window that the core is about to leave undecided.
        """
        if self._reel.stopped is not None and not self._reel.resumable:
            return
        if self._wants_segment(at_ns):
            self._since_ns, self._beginning = at_ns, True
            rows = snapshot_rows(snapshot(), at_ns)
            self._scribe.put(partial(self._begin, rows, at_ns), sum(len(row["data"] or b"") for row in rows))
        if not self._scribe.put(partial(self._append, event, at_ns), event.nbytes if isinstance(event, Packet) else 0):
            # A log with a hole cannot be replayed: it ends here, and goes on later with a new segment.
            self._reel.stop("the disk is too slow")

    def close(self) -> None:
        self._scribe.put(self._reel.finish)

    def _wants_segment(self, at_ns: int) -> bool:
        if self._beginning:
            return False
        if self._since_ns is None or self._reel.resumable:
            return True
        return at_ns - self._since_ns >= self._segment_ns or self._reel.bytes >= self._segment_bytes

    # -- on the scribe's thread

    def _begin(self, rows: list[Row], at_ns: int) -> None:
        self._reel.begin(at_ns, lambda part: _with(part, rows))
        self._beginning = False

    def _append(self, event: CoreEvent | Dropped, at_ns: int) -> None:
        self._reel.write(at_ns, lambda log: log.append(row_of(event, at_ns)))


def _with(part: Part, rows: list[Row]) -> ArrowLog:
    log = ArrowLog(part)
    for row in rows:
        log.append(row)
    log.flush()
    return log
