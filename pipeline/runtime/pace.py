"""Session time: how the injected clock's time maps to the session timeline."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Session time is 0 at epoch_ns of `clock` and runs `speed` times as fast as it.

    At speed 1 the arithmetic is exact; else it is rounded up, so that nothing is ever a nanosecond early.
    """

    clock: Clock
    epoch_ns: int
    speed: float = 1.0

    def now_ns(self) -> int:
        since_ns = self.clock.now_ns() - self.epoch_ns
        return since_ns if self.speed == 1 else math.floor(since_ns * self.speed)

    def clock_ns(self, session_ns: int) -> int:
        """When, on the clock, it is session_ns."""
        return self.epoch_ns + (session_ns if self.speed == 1 else math.ceil(session_ns / self.speed))

    def sleep_until(self, session_ns: int) -> None:
        self.clock.sleep_until(self.clock_ns(session_ns))
