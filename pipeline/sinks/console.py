"""The live view of a terminal: streams, the decision, its scores, latency by stage."""

from __future__ import annotations

import sys
from collections import deque

from rich.console import Console as Terminal
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from operators.decision import Decision
from pipeline.clock import Clock, SystemClock
from pipeline.latency import Latency, milliseconds
from pipeline.mask import mask, printable
from pipeline.ports import Status, StreamStatus
from pipeline.sinks.plain import PlainLines, clock_text
from pipeline.sinks.summary import reasons

REFRESH_NS = 100_000_000
COLOUR = {
    "present": "green", "partial": "yellow", "empty": "dim", "closed": "dim", "timeout": "red",
    "live": "green", "waiting": "yellow", "stalled": "yellow", "lost": "red",
    "connecting": "yellow", "muted": "yellow",
    "running": "green", "starting": "yellow", "degraded": "yellow", "failed": "red", "ended": "dim",
}  # fmt: skip


class Console:
    """Draws at most ten times a second; where stdout is no terminal it writes plain lines instead."""

    def __init__(self, *, terminal: Terminal | None = None, clock: Clock | None = None) -> None:
        self._terminal = terminal or Terminal(highlight=False, markup=False)
        self._clock = clock or SystemClock()
        self._plain = None if self._terminal.is_terminal else PlainLines(out=sys.stdout)
        self._decision: Decision | None = None
        self._status: Status | None = None
        self._latency: dict[str, Latency] = {}
        self._events: deque[str] = deque(maxlen=3)
        self._drawn_ns: int | None = None
        self._live = Live(console=self._terminal, auto_refresh=False, transient=False)
        if self._plain is None:
            self._live.start()
            self._live.update(self.view(), refresh=True)

    def decision(self, decision: Decision) -> None:
        if self._plain is not None:
            self._plain.decision(decision)
            return
        self._decision = decision
        for stage, latency_ns in decision.latency_ns.items():
            self._latency.setdefault(stage, Latency()).add(latency_ns)
        self._draw(always=False)

    def status(self, status: Status) -> None:
        if self._plain is not None:
            self._plain.status(status)
            return
        self._status = status
        self._events.extend(printable(mask(event)) for event in status.events)
        self._draw(always=status.final)

    def close(self) -> None:
        if self._plain is not None:
            self._plain.close()
            return
        self._draw(always=True)
        self._live.stop()

    def _draw(self, *, always: bool) -> None:
        now_ns = self._clock.now_ns()
        if always or self._drawn_ns is None or now_ns - self._drawn_ns >= REFRESH_NS:
            self._drawn_ns = now_ns
            self._live.update(self.view(), refresh=True)

    def view(self) -> RenderableType:
        """All of it, for any width from 60 columns up."""
        parts: list[RenderableType] = []
        if self._status is not None:
            parts += [_head(self._status), *_progress(self._status), Text()]
        if self._decision is not None:
            parts += [_verdict(self._decision), Text()]
        if self._status is not None:
            parts += [_streams(self._status, self._decision), Text()]
        if self._latency:
            parts += [_latencies(self._latency), Text()]
        if self._status is not None:
            parts.append(_counters(self._status))
        parts += [Text(event, style="yellow") for event in self._events]
        return Group(*parts) if parts else Text("starting …", style="dim")


def _head(status: Status) -> RenderableType:
    grid = Table.grid(expand=True)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_column(justify="right", no_wrap=True)
    about = Text(status.session, style="bold").append(f"  {status.model} · {status.runner} · {status.backend}", style="not bold dim")
    end = "" if status.end_ns is None else f" / {clock_text(status.end_ns)}"
    about.append_text(_recording(status.recording))
    grid.add_row(about, Text(status.state, style=COLOUR[status.state]).append(f"  {clock_text(status.now_ns)}{end}", style="default"))
    return grid


def _recording(recording: str) -> Text:
    """Whether somebody who is seen and heard is kept must be plain to see."""
    if not recording:
        return Text()
    if recording == "on":
        return Text("  ● recording", style="bold red")
    return Text(f"  ○ recording {printable(recording)}", style="yellow")


def _progress(status: Status) -> list[RenderableType]:
    if not status.end_ns:
        return []
    return [ProgressBar(total=status.end_ns, completed=min(status.now_ns, status.end_ns), complete_style="cyan", finished_style="cyan")]


def _verdict(decision: Decision) -> RenderableType:
    """The label, big, and beside it a bar for each score."""
    bars = Table.grid(padding=(0, 1))
    bars.add_column(no_wrap=True)
    bars.add_column(width=28)
    bars.add_column(justify="right")
    for label, score in decision.scores.items():
        style = "bold cyan" if label == decision.label else "dim"
        bars.add_row(Text(label, style=style), _bar(score, 28, style), Text(f"{score:.2f}", style=style))
    big = Text(decision.label.upper(), style="bold black on cyan" if decision.label else "")
    big.pad(2)
    where = Text(f"  {clock_text(decision.start_ns)}{'  revised' if decision.revision else ''}", style="dim")
    also = [Text(f"  {name} {answer}") for name, answer in decision.also.items()]
    grid = Table.grid(padding=(0, 3))
    grid.add_row(Group(big, *also, where), bars)
    return grid


def _bar(share: float, width: int, style: str) -> Text:
    """Eighths of a cell, so that small changes show."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    return Text("█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip(), style=style)


def _streams(status: Status, decision: Decision | None) -> RenderableType:
    why = decision.attribution if decision else {}
    table = _table("stream", "state", "presence", *(["says"] if why else []), "rate", "age", "drift", "late", "dropped")
    for name in (*(["says"] if why else []), "rate", "age", "drift", "late"):
        next(column for column in table.columns if column.header == name).justify = "right"
    for stream in status.streams:
        word = decision.presence.get(stream.name, "-") if decision else "-"
        name = stream.name if stream.name == stream.kind else f"{stream.name} ({stream.kind})"
        said = [f"{why.get(stream.name, 0.0):+.2f}"] if why else []
        table.add_row(name, _word(stream.state), _word(word), *said, *_figures(stream), reasons(stream.dropped or {}))
    return table


def _figures(stream: StreamStatus) -> tuple[str, str, str, str]:
    rate = f"{stream.rate_hz:.1f}/s" if stream.rate_hz else "-"
    drift = "-" if stream.drift_ppm is None else f"{stream.drift_ppm:+.0f} ppm"
    return rate, "-" if stream.age_ns is None else milliseconds(stream.age_ns), drift, str(stream.late)


def _latencies(latency: dict[str, Latency]) -> RenderableType:
    table = _table("latency", *latency)
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("p50", *(milliseconds(seen.quantile_ns(0.5)) for seen in latency.values()))
    table.add_row("p99", *(milliseconds(seen.quantile_ns(0.99)) for seen in latency.values()))
    table.add_row("last", *(milliseconds(seen.last_ns) for seen in latency.values()))
    return table


def _counters(status: Status) -> Text:
    counts = [(status.missed_deadlines, "missed deadlines"), (status.skipped, "skipped"), (status.revisions, "revised")]
    text = Text(f"{status.decisions} decisions")
    for count, what in counts:
        text.append(" · ").append(f"{count} {what}", style="yellow" if count and what != "revised" else "default")
    return text


def _word(word: str) -> Text:
    return Text(word, style=COLOUR.get(word, "default"))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, no_wrap=column != "dropped")
    return table
