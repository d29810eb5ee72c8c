"""Reads ahead in a thread of its own, so that who wants the items never waits for a disk."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import Empty, Full, Queue
from typing import Generic, TypeVar

T = TypeVar("T")

MOST = 128
"""Items are kept ahead of their reader."""
ASK_S = 0.1


class ReadAhead(Generic[T]):
    """peek and take never wait; what the iterator raises is raised by peek, in its place."""

    def __init__(self, items: Iterator[T], most: int = MOST) -> None:
        self._items, self._queue = items, Queue[T | Exception | None](most)
        self._next: T | None = None
        self.ended = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._read, name="read-ahead", daemon=True)
        self._thread.start()

    def peek(self) -> T | None:
        """The next item; None: none yet, or, with `ended`, none any more."""
        if self._next is None and not self.ended:
            try:
                item = self._queue.get_nowait()
            except Empty:
                return None
            if isinstance(item, Exception):
                self.ended = True
                raise item
            self.ended = item is None
            self._next = item
        return self._next

    def take(self) -> None:
        """What peek gave is dealt with."""
        self._next = None

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _read(self) -> None:
        try:
            for item in self._items:
                self._put(item)
                if self._closed.is_set():
                    return
            self._put(None)
        except Exception as error:  # noqa: BLE001 - the thread's edge: whoever reads is told
            self._put(error)

    def _put(self, item: T | Exception | None) -> None:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=ASK_S)
                return
            except Full:
                continue
