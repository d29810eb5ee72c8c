"""A thread that writes what the hot path hands it: a slow disk must not hold up a decision."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from queue import Queue
from typing import Protocol

FLUSH_S = 0.1
"""What was handed over is in the file after so long at most: a kill -9 costs no more than this."""
MOST_BYTES = 64 << 20
SLOW_JOBS = 64
"""No more wait for the disk; then everything does."""
PATIENT_JOBS = 256
"""A patient scribe lets no more wait: when its source has ended, the rest must be written before its process is."""


class Scribe(Protocol):
    """Runs jobs in order. A job deals with its own OSError."""

    def put(self, job: Callable[[], None], nbytes: int = 0) -> bool:
        """False: too much is waiting; the job was not taken."""
        ...

    @property
    def has_room(self) -> bool:
        """Some dozens of small jobs would be taken without waiting; always True of one that never waits."""
        ...

    def later(self, job: Callable[[], None]) -> None:
        """From a job: runs another that waits for the disk beside the rest, which it must not hold up; such jobs in their order.

        Waits itself where very many of them do.
        """
        ...

    def each_pause(self, flush: Callable[[], None]) -> None:
        """Calls `flush` about every FLUSH_S, and once more when everything is done."""
        ...

    def close(self) -> None:
        """Returns when everything that was taken is done."""
        ...


class ThreadScribe:
    """The real one: a thread for all that one process records, and one that syncs.

    patient: put() waits for room; for runs that nobody waits for.
    """

    def __init__(self, *, patient: bool, most_bytes: int = MOST_BYTES) -> None:
        self._jobs: deque[tuple[Callable[[], None], int]] = deque()
        self._flushes: list[Callable[[], None]] = []
        self._patient, self._bytes, self._most_bytes = patient, 0, most_bytes
        self._waiting = 0
        self._changed, self._ended, self._closed = threading.Condition(), False, False
        self._slow: Queue[Callable[[], None] | None] = Queue(SLOW_JOBS)
        self._threads = [threading.Thread(target=run, name="scribe", daemon=True) for run in (self._run, self._run_slow)]
        for thread in self._threads:
            thread.start()

    def put(self, job: Callable[[], None], nbytes: int = 0) -> bool:
        with self._changed:
            while self._full(nbytes) and self._patient and not self._ended:
                self._changed.notify_all()
                self._changed.wait()
            if self._full(nbytes) or self._ended:
                return False
            self._bytes += nbytes
            self._waiting += 1
            self._jobs.append((job, nbytes))
            if self._pressed():  # else nobody is woken: a batch every FLUSH_S costs less than its rows one by one
                self._changed.notify_all()
        return True

    @property
    def has_room(self) -> bool:
        return not self._patient or (self._waiting <= PATIENT_JOBS // 2 and self._bytes <= self._most_bytes // 2)

    def later(self, job: Callable[[], None]) -> None:
        if not self._closed:
            self._slow.put(job)

    def each_pause(self, flush: Callable[[], None]) -> None:
        with self._changed:
            self._flushes.append(flush)

    def close(self) -> None:
        with self._changed:
            if self._ended:
                return
            self._ended = True
            self._changed.notify_all()
        self._threads[0].join()
        self._slow.put(None)
        self._closed = True
        self._threads[1].join()
        for flush in self._flushes:
            flush()

    def _full(self, nbytes: int) -> bool:
        if self._patient and self._waiting >= PATIENT_JOBS:
            return True
        return self._bytes > 0 and self._bytes + nbytes > self._most_bytes

    def _pressed(self) -> bool:
        return self._ended or self._bytes > self._most_bytes // 2 or (self._patient and self._waiting > PATIENT_JOBS // 2)

    def _run(self) -> None:
        last = False
        while not last:
            with self._changed:
                self._changed.wait_for(self._pressed, FLUSH_S)
                last = self._ended
                jobs, self._jobs = self._jobs, deque()
            while jobs:
                job, nbytes = jobs.popleft()
                job()
                with self._changed:
                    self._bytes -= nbytes
                    self._waiting -= 1
                    self._changed.notify_all()
            for flush in list(self._flushes):
                flush()

    def _run_slow(self) -> None:
        while (job := self._slow.get()) is not None:
            job()


class DirectScribe:
    """For tests and for short work: everything is done at once, by the caller."""

    def __init__(self) -> None:
        self._flushes: list[Callable[[], None]] = []

    def put(self, job: Callable[[], None], nbytes: int = 0) -> bool:
        job()
        return True

    @property
    def has_room(self) -> bool:
        return True

    def later(self, job: Callable[[], None]) -> None:
        job()

    def each_pause(self, flush: Callable[[], None]) -> None:
        self._flushes.append(flush)

    def close(self) -> None:
        for flush in self._flushes:
            flush()
