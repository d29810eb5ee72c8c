"""Latencies of a run of any length, in constant memory."""

from __future__ import annotations

import math
from collections import Counter

_STEPS = 64  # buckets per factor of two: a quantile is off by at most 0.55 %


class Latency:
    """A histogram with logarithmic buckets of one stage's nanoseconds.

    Values below 1 count as 0: when all streams have ended, the last decisions go out before their time.
    """

    def __init__(self) -> None:
        self.count = 0
        self.last_ns = 0
        self.max_ns = 0
        self._buckets: Counter[int] = Counter()

    def add(self, latency_ns: int) -> None:
        self.count += 1
        self.last_ns = max(0, latency_ns)
        self.max_ns = max(self.max_ns, latency_ns)
        self._buckets[round(math.log2(latency_ns) * _STEPS) if latency_ns >= 1 else -1] += 1

    def quantile_ns(self, share: float) -> int:
        """The latency that `share` (0..1) of all stay at or below; 0 before the first."""
        wanted = share * self.count
        for bucket in sorted(self._buckets):
            wanted -= self._buckets[bucket]
            if wanted <= 0:
                return 0 if bucket < 0 else min(self.max_ns, round(2 ** (bucket / _STEPS)))
        return 0


def milliseconds(ns: int) -> str:
    """Three figures where it is small: 0.31 ms, 4.2 ms, 141 ms."""
    ms = ns / 1e6
    return f"{ms:.2f} ms" if abs(ms) < 1 else f"{ms:.1f} ms" if abs(ms) < 100 else f"{ms:.0f} ms"
