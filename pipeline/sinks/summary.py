"""What a person wants to know at the end of a run: accuracy against the truth, latency by stage, deadlines, counters by edge."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from rich.console import Console as Terminal
from rich.table import Table

from operators.decision import Decision
from pipeline.clock import Clock, SystemClock
from pipeline.latency import Latency, milliseconds
from pipeline.ports import EdgeCount, Status
from pipeline.score import Score, read_truth
from pipeline.sinks.plain import clock_text


class Summary:
    """Prints at close(), to stderr: stdout is for decisions.

    truth: a file to score against. begun_ns: when, on `clock`, the user's wait began, for the time to the first decision.
    """

    def __init__(
        self, *, truth: Path | None = None, out: TextIO | None = None, clock: Clock | None = None, begun_ns: int | None = None
    ) -> None:
        self._score = None if truth is None else Score(read_truth(truth))
        self._out = sys.stderr if out is None else out
        self._clock = clock or SystemClock()
        self._begun_ns = self._clock.now_ns() if begun_ns is None else begun_ns
        self._first_ns: int | None = None
        self._latency: dict[str, Latency] = {}
        self._labels: Counter[str] = Counter()
        self._status: Status | None = None

    def decision(self, decision: Decision) -> None:
        if self._first_ns is None:
            self._first_ns = self._clock.now_ns() - self._begun_ns
        self._labels[decision.label] += 1
        for stage, latency_ns in decision.latency_ns.items():
            self._latency.setdefault(stage, Latency()).add(latency_ns)
        if self._score is not None:
            self._score.add(decision)

    def status(self, status: Status) -> None:
        self._status = status

    def close(self) -> None:
        if not self._labels and not (self._status is not None and self._status.final):
            return  # it never ran: the error that follows says all there is to say
        width = None if self._out.isatty() else 100
        terminal = Terminal(file=self._out, highlight=False, markup=False, width=width)
        terminal.print()
        for line in self._headline():
            terminal.print(line, soft_wrap=True)
        tables = [self._accuracy(), self._latencies(), self._edges()]
        for table in tables:
            if table is not None:
                terminal.print(table)

    def _headline(self) -> list[str]:
        count = sum(self._labels.values())
        labels = ", ".join(f"{label} {number}" for label, number in sorted(self._labels.items()))
        status = self._status
        if status is None:
            return [f"{count} decisions"]
        first = "no decision" if self._first_ns is None else f"the first after {self._first_ns / 1e9:.1f} s"
        return [
            f"{status.session} · {status.model} · {status.runner} · {status.backend} · {clock_text(status.now_ns)} of session time",
            f"{count} decisions ({labels}), {first}" if count else first,
            f"{status.missed_deadlines} missed deadlines, {status.skipped} skipped, {status.revisions} revised",
        ]

    def _accuracy(self) -> Table | None:
        score = self._score
        if score is None or (accuracy := score.accuracy()) is None:
            return None
        table = _table(f"accuracy {accuracy:.3f}", "truth", "precision", "recall", *(f"as {label}" for label in score.labels()))
        confusion = score.confusion()
        for row in score.by_label():
            said = [str(confusion[row.label, label]) for label in score.labels()]
            table.add_row(row.label, str(row.support), _share(row.precision), _share(row.recall), *said)
        return table

    def _latencies(self) -> Table | None:
        if not self._latency:
            return None
        table = _table("latency", "p50", "p99", "max")
        for stage, seen in self._latency.items():
            table.add_row(stage, *(milliseconds(ns) for ns in (seen.quantile_ns(0.5), seen.quantile_ns(0.99), seen.max_ns)))
        return table

    def _edges(self) -> Table | None:
        if self._status is None or not self._status.edges:
            return None
        table = _table("edge", "in", "out", "waiting", "dropped", "dropped elsewhere", "late")
        streams = {stream.name: stream for stream in self._status.streams}
        for edge in self._status.edges:
            stream = streams.get(edge.edge)
            # A stream's drops are those of its edge and of the transforms and the aligner on either side of it.
            elsewhere = Counter(stream.dropped or {}) - Counter(edge.dropped) if stream else Counter[str]()
            table.add_row(edge.edge, *_counts(edge), reasons(edge.dropped), reasons(elsewhere), str(stream.late) if stream else "-")
        return table


def _table(title: str, *columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    table.add_column(title, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _counts(edge: EdgeCount) -> tuple[str, str, str]:
    return str(edge.entered), str(edge.left), str(edge.waiting)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def reasons(dropped: Mapping[str, int]) -> str:
    """'3 late, 1 overflow', the most frequent first; '-' for none."""
    return ", ".join(f"{count} {reason}" for reason, count in Counter(dropped).most_common() if count) or "-"
