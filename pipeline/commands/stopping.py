"""Ctrl-C and SIGTERM as a question that a run asks, so that it ends where it wants to."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopping:
    """Call it: has somebody asked us to stop?"""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        return self.asked

    def ask(self, number: int, frame: FrameType | None) -> None:
        """The signal handler. Who asks a second time is not kept waiting."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def tidy_on_sigterm() -> Iterator[None]:
    """SIGTERM becomes KeyboardInterrupt: for work that is not worth going on with, and that cleans up behind itself."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def asked_to_stop() -> Iterator[Stopping]:
    """Handles SIGINT and SIGTERM while the block runs."""
    stopping = Stopping()
    before = {number: signal.signal(number, stopping.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
