"""SIGINT, SIGTERM and SIGHUP as a count that the supervisor looks at: the second is more urgent than the first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass(slots=True)
class Wishes:
    """How often the user asked to stop."""

    count: int = 0


@contextmanager
def wishes_to_stop() -> Iterator[Wishes]:
    """Counts while the block runs."""
    wishes = Wishes()

    def wish(_signal: int, _frame: FrameType | None) -> None:
        wishes.count += 1

    if threading.current_thread() is not threading.main_thread():
        yield wishes  # signals are the main thread's
        return
    before = {number: signal.signal(number, wish) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield wishes
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
