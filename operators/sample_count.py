"""How many samples a sound device lost without saying so: its count falls behind the time at which its blocks arrive, and stays there.

A block that comes late is followed by others that make up for it, so the least lateness of a second says what is really missing.
"""

from __future__ import annotations

from collections import deque

MISSING_NS = 15_000_000
WATCH_NS = 1_000_000_000
"""So long must all blocks be late, at the least by MISSING_NS, before samples count as lost."""
MEMORY_NS = 10_000_000_000
"""The least lateness of so long is what a block without loss has; the drift of a clock is far below MISSING_NS in that time."""


class SampleCount:
    """Counts samples; what it finds lost is added to the count, so that count / rate stays the device's time."""

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.samples = 0
        self._recent: deque[tuple[int, int]] = deque()  # (arrival_ns, lateness)
        self._usual: deque[tuple[int, int]] = deque()  # rising minima of (arrival_ns, lateness)

    def take(self, samples: int, arrival_ns: int) -> tuple[int, int]:
        """A block of so many samples arrived (its end, that is). Gives (device_ns of its first sample, samples found lost before it)."""
        late_ns = arrival_ns - self._ns(self.samples + samples)
        self._recent.append((arrival_ns, late_ns))
        while arrival_ns - self._recent[0][0] > WATCH_NS:
            self._recent.popleft()
        lost = self._lost(arrival_ns)
        if lost:
            self.samples += lost
            self._recent.clear()
        start_ns = self._ns(self.samples)
        self.samples += samples
        self._remember(arrival_ns, arrival_ns - self._ns(self.samples))
        return start_ns, lost

    def _lost(self, arrival_ns: int) -> int:
        watched_ns = arrival_ns - self._recent[0][0]
        if not self._usual or watched_ns < WATCH_NS * 9 // 10:
            return 0
        behind_ns = min(late for _, late in self._recent) - self._usual[0][1]
        return behind_ns * self.rate_hz // 1_000_000_000 if behind_ns > MISSING_NS else 0

    def _remember(self, arrival_ns: int, late_ns: int) -> None:
        while self._usual and self._usual[-1][1] >= late_ns:
            self._usual.pop()
        self._usual.append((arrival_ns, late_ns))
        while arrival_ns - self._usual[0][0] > MEMORY_NS:
            self._usual.popleft()

    def _ns(self, samples: int) -> int:
        return samples * 1_000_000_000 // self.rate_hz
