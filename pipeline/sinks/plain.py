"""One line a decision, for pipes, logs and terminals that cannot draw."""

from __future__ import annotations

import sys
from typing import TextIO

from operators.decision import Decision
from pipeline.mask import mask, printable
from pipeline.ports import Status


def clock_text(time_ns: int) -> str:
    """00:01.280, or 1:00:01.280 from an hour on; milliseconds are cut, not rounded."""
    sign, ms = ("-" if time_ns < 0 else ""), abs(time_ns) // 1_000_000
    hours, minutes, seconds = ms // 3_600_000, ms // 60_000 % 60, f"{ms // 1000 % 60:02d}.{ms % 1000:03d}"
    return f"{sign}{hours}:{minutes:02d}:{seconds}" if hours else f"{sign}{minutes:02d}:{seconds}"


def line_of(decision: Decision) -> str:
    """`00:01.280 speaking 0.93 video=present audio=present text=empty 41ms`: the span's start, the label, its score, presence, latency.

    What the model also says stands behind the score: `word:blue`.
    No latency where the run was not paced by a clock; `revised` at the end of a corrected decision.
    """
    presence = [f"{name}={word}" for name, word in decision.presence.items()]
    total_ns = decision.latency_ns.get("total")
    latency = [] if total_ns is None else [f"{total_ns / 1e6:.0f}ms"]
    revised = ["revised"] if decision.revision else []
    also = [f"{name}:{answer}" for name, answer in decision.also.items()]
    said = [clock_text(decision.start_ns), decision.label, f"{decision.scores[decision.label]:.2f}", *also]
    return " ".join([*said, *presence, *latency, *revised])


class PlainLines:
    """Writes to stdout; decisions=False: quiet. What went wrong (a lost source, a restart) goes to stderr as it happens."""

    def __init__(self, *, decisions: bool = True, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._decisions = decisions
        self._out = sys.stdout if out is None else out
        self._err = sys.stderr if err is None else err

    def decision(self, decision: Decision) -> None:
        if self._decisions:
            print(line_of(decision), file=self._out, flush=True)

    def status(self, status: Status) -> None:
        for event in status.events:
            print(f"sensorium: {printable(mask(event))}", file=self._err, flush=True)

    def close(self) -> None:
        self._out.flush()
