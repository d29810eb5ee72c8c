"""The thread that waits for a device, and the bounded box between it and the loop: the device never waits for anybody."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Protocol

from operators.errors import SourceError
from operators.packet import TextSpan
from pipeline.live.captured import AtItsEnd, Captured, Compressed, Connected, Connection, Connects, Ended, Happened, Item, Lost, Now
from pipeline.mask import mask
from pipeline.ports import Wanted

MAX_ITEMS = 1024
MAX_BYTES = 64 << 20
MAX_AGE_NS = 1_000_000_000
"""A second of sound or pictures that nobody had time for is of no use to a live session. A text stays worth its wait."""
GAP = "recording_gap"
"""Compressed packets of a stream are missing in what is recorded of it; nothing else is."""


class Capture(Protocol):
    """What the loop wants of it; tests have one without threads."""

    def connect(self) -> None:
        """Begins an attempt. What comes of it is told by `take`."""
        ...

    def release(self) -> None:
        """Asks the connection to end."""
        ...

    def abandon(self) -> bool:
        """It did not. False: it holds what a new connection needs, so this process must go."""
        ...

    def take(self, timeout_ns: int) -> list[Item]:
        """What has come; waits up to timeout_ns for the first."""
        ...


class Inbox:
    """Bounded in number, bytes and (but for text) age; the oldest go first, counted. put never waits for a reader."""

    def __init__(self, max_items: int = MAX_ITEMS, max_bytes: int = MAX_BYTES) -> None:
        self._max_items, self._max_bytes = max_items, max_bytes
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._lost: Counter[str] = Counter()
        self._gaps: set[str] = set()
        self._there = threading.Condition()

    def put(self, item: Item) -> None:
        with self._there:
            self._items.append(item)
            self._bytes += _size(item)
            while (len(self._items) > self._max_items or self._bytes > self._max_bytes or self._is_stale(item)) and self._drop_oldest():
                pass
            self._there.notify()

    def take(self, timeout_ns: int) -> list[Item]:
        with self._there:
            if not self._items:
                self._there.wait(timeout_ns / 1e9)
            items: list[Item] = [Lost(stream=name, reason="capture_overflow", count=n) for name, n in self._lost.items()]
            items += [Happened(stream=name, what=GAP) for name in sorted(self._gaps)]
            items += self._items
            self._items.clear()
            self._lost.clear()
            self._gaps.clear()
            self._bytes = 0
            return items

    def _is_stale(self, newest: Item) -> bool:
        """Whether the oldest payload has waited too long when the newest comes."""
        if not isinstance(newest, Captured) or isinstance(newest.payload, TextSpan):
            return False
        oldest = next((item for item in self._items if isinstance(item, Captured)), newest)
        return newest.arrival_ns - oldest.arrival_ns > MAX_AGE_NS

    def _drop_oldest(self) -> bool:
        """What happened to the connection is never dropped."""
        for index, item in enumerate(self._items):
            if isinstance(item, Captured | Compressed):
                del self._items[index]
                self._bytes -= _size(item)
                if isinstance(item, Captured):
                    self._lost[item.stream] += 1
                else:
                    self._gaps.add(item.stream)
                return True
        return False


class ThreadCapture:
    """One thread for all connections, one after the other: libraries keep things by thread (OpenCV 6 kB that nobody frees).

    A thread that hangs is left behind and never heard again; another takes its place.
    exclusive: the device cannot be opened twice, so a thread that hangs in it is the end of this process.
    """

    MOST_ABANDONED = 4

    def __init__(self, source: Connects, wanted: Mapping[str, Wanted], now_ns: Now, *, exclusive: bool, inbox: Inbox | None = None) -> None:
        self._source, self._wanted, self._now_ns, self._exclusive = source, wanted, now_ns, exclusive
        self._inbox = inbox or Inbox()
        self._stop = threading.Event()
        self._abandoned: list[threading.Thread] = []
        self._thread: threading.Thread | None = None
        self._work: SimpleQueue[threading.Event | None] = SimpleQueue()

    def connect(self) -> None:
        self._stop = threading.Event()
        if self._thread is None:
            self._work = SimpleQueue()
            self._thread = threading.Thread(target=self._serve, args=(self._work,), daemon=True)
            self._thread.start()
        self._work.put(self._stop)

    def release(self) -> None:
        self._stop.set()

    def abandon(self) -> bool:
        if self._thread is not None:
            self._work.put(None)
            self._thread.join(0.05)  # it may have come to its end just now
            self._abandoned = [thread for thread in (*self._abandoned, self._thread) if thread.is_alive()]
            self._thread = None
        return not self._abandoned or (not self._exclusive and len(self._abandoned) <= self.MOST_ABANDONED)

    def take(self, timeout_ns: int) -> list[Item]:
        return self._inbox.take(timeout_ns)

    def close(self, patience_s: float) -> None:
        """Asks the thread to end and waits so long; a thread that hangs is left behind."""
        self._stop.set()
        if self._thread is not None:
            self._work.put(None)
            self._thread.join(patience_s)
            self._thread = None

    def _serve(self, work: SimpleQueue[threading.Event | None]) -> None:
        while (stop := work.get()) is not None:
            self._run(stop)

    def _run(self, stop: threading.Event) -> None:
        def put(item: Item) -> None:
            if self._stop is stop:  # else it was abandoned: another connection has the word
                self._inbox.put(item)

        try:
            connection = self._source.connect(self._wanted, self._now_ns)
            try:
                _read(connection, put, stop)
            finally:
                connection.close()
        except AtItsEnd as error:
            put(Ended(why=error.problem, final=True))
        except SourceError as error:
            put(Ended(why=mask(error.problem)))
        except Exception as error:  # noqa: BLE001 - the runtime's edge: whatever a library raises, the connection is over
            put(Ended(why=mask(f"{type(error).__name__}: {' '.join(str(error).split())}")))
        else:
            put(Ended(why="let go" if stop.is_set() else "its stream ended"))


def _read(connection: Connection, put: Callable[[Item], None], stop: threading.Event) -> None:
    put(Connected(details=connection.details))
    for item in connection.read(stop):
        put(item)
        if stop.is_set():
            return


def _size(item: Item) -> int:
    match item:
        case Captured():
            return item.payload.nbytes
        case Compressed():
            return int(item.packet.size)
    return 0
