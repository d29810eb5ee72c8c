"""How long each stage of the decisions took, as Prometheus counts it: how many were at most so long. Since this process began."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0)
MOST_STAGES = 32


@dataclass(slots=True)
class Histogram:
    """counts: of each bound, and of what is above them all."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    sum_s: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """(bound, how many were at most so long), cumulative; the last bound is +Inf."""
        return list(zip([*map(str, BOUNDS_S), "+Inf"], map(float, accumulate(self.counts)), strict=True))


class Latencies:
    """By session and stage."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, Histogram]] = {}

    def add(self, decision: dict[str, Any]) -> None:
        stages = self._of.setdefault(str(decision["session"]), {})
        for stage, latency_ns in decision["latency_ns"].items():
            if stage in stages or len(stages) < MOST_STAGES:
                stages.setdefault(stage, Histogram()).add(max(0, latency_ns) / 1e9)

    def of(self, sessions: set[str]) -> Iterator[tuple[str, str, Histogram]]:
        """(session, stage, histogram) of these; what is known of others is forgotten."""
        self._of = {session: stages for session, stages in self._of.items() if session in sessions}
        for session, stages in self._of.items():
            yield from ((session, stage, histogram) for stage, histogram in stages.items())
