"""What one process of a run records, over one thread that writes: its sources, its core, or both."""

from __future__ import annotations

import threading
from collections import deque

from pipeline.clock import Clock
from pipeline.session.corelog import CoreRecorder
from pipeline.session.disk import Disk
from pipeline.session.layout import Recording
from pipeline.session.scribe import Scribe, ThreadScribe
from pipeline.session.streamlog import SourceRecorder


class Recorder:
    """life: counts the starts of this process. paced: False for a run that nobody waits for: then the disk may hold it up."""

    def __init__(
        self,
        recording: Recording,
        life: int,
        clock: Clock,
        *,
        paced: bool,
        scribe: Scribe | None = None,
        disk: Disk | None = None,
    ) -> None:
        self._recording, self._life, self._clock = recording, (recording.engine, life), clock
        self._scribe = scribe or ThreadScribe(patient=not paced)
        self._disk = disk or Disk()
        self._lines: deque[str] = deque()
        self._sources: list[SourceRecorder] = []
        self._core: CoreRecorder | None = None
        self._closed = threading.Event()

    def source(self, name: str) -> SourceRecorder:
        made = SourceRecorder(self._recording, name, self._life, self._scribe, self._clock, self._disk, self._lines.append)
        self._sources.append(made)
        return made

    def core(self) -> CoreRecorder:
        self._core = CoreRecorder(self._recording, self._life, self._scribe, self._clock, self._disk, self._lines.append)
        return self._core

    @property
    def stopped(self) -> str | None:
        """Why something is not recorded at this moment."""
        return next((part.stopped for part in self._parts() if part.stopped), None)

    @property
    def has_room(self) -> bool:
        """What is recorded next does not wait for the disk."""
        return self._scribe.has_room

    def take_lines(self) -> list[str]:
        """What there was to say since the last call."""
        said = []
        while self._lines:
            said.append(self._lines.popleft())
        return said

    def close(self) -> None:
        """Finishes every segment. The second call does nothing."""
        if self._closed.is_set():
            return
        self._closed.set()
        for part in self._parts():
            part.close()
        self._scribe.close()

    def _parts(self) -> list[SourceRecorder | CoreRecorder]:
        return [*self._sources, *([] if self._core is None else [self._core])]
