"""How many cores processes use, over the last few seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from pipeline.clock import Clock

SPAN_NS = 10_000_000_000
ReadCpu = Callable[[int], float | None]


def read_cpu_s(pid: int) -> float | None:
    """Seconds of CPU that the process has had, in all its threads; None: it is gone."""
    import psutil

    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return None
    return float(times.user + times.system)


class Usage:
    """Ask `look` about once a second; cores(pid) is the mean over the last span_ns that it was looked at.

    A pid whose CPU time went back is another process of the same number: it begins anew.
    """

    def __init__(self, clock: Clock, read: ReadCpu = read_cpu_s, span_ns: int = SPAN_NS) -> None:
        self._clock, self._read, self._span_ns = clock, read, span_ns
        self._seen: dict[int, deque[tuple[int, float]]] = {}

    def look(self, pids: Iterable[int]) -> None:
        """At these processes; the others are forgotten."""
        now_ns, wanted = self._clock.now_ns(), set(pids)
        self._seen = {pid: seen for pid, seen in self._seen.items() if pid in wanted}
        for pid in wanted:
            used_s = self._read(pid)
            if used_s is None:
                self._seen.pop(pid, None)
                continue
            seen = self._seen.setdefault(pid, deque())
            if seen and used_s < seen[-1][1]:
                seen.clear()
            seen.append((now_ns, used_s))
            # The last one before the span stays: else a span between two looks would measure nothing.
            while len(seen) > 2 and seen[1][0] <= now_ns - self._span_ns:
                seen.popleft()

    def cores(self, pid: int) -> float | None:
        """None: not known yet, or no such process."""
        seen = self._seen.get(pid)
        if seen is None or len(seen) < 2 or seen[-1][0] == seen[0][0]:
            return None
        return (seen[-1][1] - seen[0][1]) * 1e9 / (seen[-1][0] - seen[0][0])
