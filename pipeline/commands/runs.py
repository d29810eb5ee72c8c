"""`sensorium status`, `stop`, `attach` and `detach`: the sessions that run on this machine, as they keep it in their run directories."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console as Terminal
from rich.table import Table

from pipeline.clock import Clock, SystemClock
from pipeline.config import shown_path
from pipeline.mask import printable
from pipeline.ports import Status
from pipeline.runtime.requests import Refused, ask
from pipeline.runtime.rundir import Run, folder_of, runs, status_of
from pipeline.sinks.plain import clock_text
from pipeline.yamltext import read_yaml

PATIENCE_NS = 10_000_000_000
POLL_NS = 50_000_000


def print_status() -> None:
    found = runs()
    if not found:
        print("no session runs")
        return
    terminal = Terminal(highlight=False, markup=False, width=None if sys.stdout.isatty() else 140)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("session", "pid", "state", "time", "decisions", "missed", "recording", "streams", "since"):
        table.add_column(column)
    for run in found:
        table.add_row(run.session, str(run.pid), *_figures(status_of(run)), run.since)
    terminal.print(table)


def _figures(status: Status | None) -> tuple[str, ...]:
    if status is None:
        return "starting", "-", "-", "-", "-", "-"
    end = "" if status.end_ns is None else f" / {clock_text(status.end_ns)}"
    streams = ", ".join(f"{stream.name} {stream.state}" for stream in status.streams)
    kept = printable(status.recording) or "off"
    return status.state, f"{clock_text(status.now_ns)}{end}", str(status.decisions), str(status.missed_deadlines), kept, streams


def stop_session(name: str | None) -> None:
    """Asks it to end and waits until it has. Without a name: the one that runs. Raises UsageError where that is not clear."""
    found = runs()
    names = sorted({run.session for run in found})
    if name is None and not found:
        print("no session runs")
        return
    if name is None and len(names) > 1:
        raise click.UsageError(f"{len(names)} sessions run: say which of {', '.join(names)}")
    if name is not None and name not in names:
        raise click.UsageError(f"no session {name!r} runs (running: {', '.join(names) or 'none'})")
    _stop([run for run in found if run.session == (name or names[0])], SystemClock())


def attach_sources(session: str, file: str) -> None:
    """Adds the sources, inputs and transforms of a YAML file to a running session. Raises Refused, ConfigError, UsageError."""
    values, _ = read_yaml(Path(file), shown_path(file))
    if not isinstance(values, dict):
        raise Refused(f"{file} holds no mapping; sources: and inputs: as in a config are wanted")
    _ask(session, {"attach": values})


def detach_sources(session: str, names: Sequence[str]) -> None:
    """Ends these sources of a running session; their inputs are masked from then on. Raises Refused, UsageError."""
    _ask(session, {"detach": list(names)})


def _ask(session: str, request: dict[str, Any]) -> None:
    found = [run for run in runs() if run.session == session]
    if len(found) != 1:
        names = ", ".join(sorted({run.session for run in runs()})) or "none"
        problem = f"no session {session!r} runs (running: {names})" if not found else f"{len(found)} sessions named {session!r} run"
        raise click.UsageError(problem)
    print(f"{session}: {ask(folder_of(found[0]), request, SystemClock())}")


def _stop(chosen: list[Run], clock: Clock) -> None:
    for run in chosen:
        run.stop()
    until_ns = clock.now_ns() + PATIENCE_NS
    while any(run.alive for run in chosen) and clock.now_ns() < until_ns:
        clock.sleep_until(clock.now_ns() + POLL_NS)
    for run in chosen:
        print(f"{run.session} (pid {run.pid}) {'is still ending' if run.alive else 'has stopped'}")
