"""The only place that reads or waits for time."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Monotonic nanoseconds since an arbitrary start, and a way to wait for them."""

    def now_ns(self) -> int: ...

    def sleep_until(self, time_ns: int) -> None: ...


class SystemClock:
    """CLOCK_MONOTONIC: one timeline for all processes of this machine, untouched by wall-clock steps."""

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def sleep_until(self, time_ns: int) -> None:
        left = time_ns - time.monotonic_ns()
        if left > 0:
            time.sleep(left / 1e9)


class FakeClock:
    """A clock for tests and for virtual-time runs: waiting moves it, nothing else does."""

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        return self._now_ns

    def sleep_until(self, time_ns: int) -> None:
        self._now_ns = max(self._now_ns, time_ns)


def wall_utc() -> str:
    """Wall-clock time, ISO 8601 UTC, for logs and file headers; never for ordering."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def wall_ns() -> int:
    """Wall-clock time, ns since 1970 UTC, to compare with the stamps of files; never for ordering."""
    return time.time_ns()
