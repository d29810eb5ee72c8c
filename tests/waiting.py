"""For tests of real processes: wait for a fact, not for a time."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(fact: Callable[[], object], within_s: float = 30.0, what: str = "", every_s: float = 0.01) -> None:
    """Asks until it is so; fails after within_s seconds."""
    limit = time.monotonic() + within_s
    while not fact():
        if time.monotonic() > limit:
            raise AssertionError(f"not within {within_s} s: {what or fact}")
        time.sleep(every_s)
