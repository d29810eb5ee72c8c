"""`sensorium status`, `stop`, `attach`, `detach` and `logs`: of the daemon's sessions through its API, of a run in the foreground through
its run directory."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console as Terminal
from rich.table import Table

from pipeline.api.client import ApiError, Client, NoApi
from pipeline.clock import Clock, SystemClock
from pipeline.commands.daemon import the_daemon
from pipeline.config import shown_path
from pipeline.logs import as_text, newest
from pipeline.mask import printable
from pipeline.ports import Status
from pipeline.runtime.codec import status_from_json
from pipeline.runtime.requests import Refused, ask
from pipeline.runtime.rundir import Run, folder_of, runs, status_of
from pipeline.sinks.plain import clock_text
from pipeline.yamltext import read_yaml

PATIENCE_NS = 10_000_000_000
POLL_NS = 50_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A session that runs. api: of the daemon that keeps it; None: `run` is its own process."""

    name: str
    run: Run
    since: str
    status: Status | None
    api: Client | None = None


def print_status() -> None:
    daemon = the_daemon()
    found = list(_sessions())
    if daemon is not None:
        _print_daemon(daemon)
    if not found:
        print("no session runs")
        return
    terminal = Terminal(highlight=False, markup=False, width=None if sys.stdout.isatty() else 140)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("session", "pid", "state", "time", "decisions", "missed", "recording", "streams", "since"):
        table.add_column(column)
    for one in found:
        table.add_row(one.name, str(one.run.pid), *_figures(one.status), one.since)
    terminal.print(table)


def _print_daemon(run: Run) -> None:
    try:
        api = Client.of(folder_of(run))
        service = api.service()
    except ApiError as error:
        print(f"daemon (pid {run.pid}): {error}")
        return
    engine = service["engine"]
    cores = engine.get("cores") or {}
    used = f", {cores['in_use']:.2f} of {cores['all']:g} cores in use" if "in_use" in cores else ""
    print(f"daemon (pid {run.pid}): engine {engine.get('state', 'starting')}{used}; {api.address}")
    for reason in service["degraded"]:
        print(f"  degraded: {printable(str(reason))}")
    print(f"  its page, good for one visit: {api.one_time_address()}")


def _sessions() -> Iterator[Found]:
    """All that run on this machine and are this user's."""
    for run in runs():
        if not run.daemon:
            yield Found(name=run.session, run=run, since=run.since, status=status_of(run))
            continue
        try:
            api = Client.of(folder_of(run))
            for one in api.sessions():
                if one["gone"] is None:
                    status = None if one["status"] is None else status_from_json(one["status"])
                    yield Found(name=one["session"], run=run, since=one["since"], status=status, api=api)
        except NoApi as error:
            click.echo(f"sensorium: {error}", err=True)


def _figures(status: Status | None) -> tuple[str, ...]:
    if status is None:
        return "starting", "-", "-", "-", "-", "-"
    end = "" if status.end_ns is None else f" / {clock_text(status.end_ns)}"
    streams = ", ".join(f"{stream.name} {stream.state}" for stream in status.streams)
    kept = printable(status.recording) or "off"
    return status.state, f"{clock_text(status.now_ns)}{end}", str(status.decisions), str(status.missed_deadlines), kept, streams


def stop_session(name: str | None, *, everything: bool) -> None:
    """Asks it to end and waits until it has. Without a name: the one that runs. Raises UsageError where that is not clear."""
    if everything:
        _stop(runs(), SystemClock())
        return
    found = list(_sessions())
    names = sorted({one.name for one in found})
    if name is None and not found:
        print("no session runs")
        return
    if name is None and len(names) > 1:
        raise click.UsageError(f"{len(names)} sessions run: say which of {', '.join(names)}, or --all")
    chosen = [one for one in found if one.name == (name or names[0])]
    if not chosen:
        raise click.UsageError(f"no session {name!r} runs (running: {', '.join(names) or 'none'})")
    _stop([one.run for one in chosen if one.api is None], SystemClock())
    for one in chosen:
        if one.api is not None:
            one.api.stop(one.name)
            _await_gone(one.api, one.name, SystemClock())


def _await_gone(api: Client, name: str, clock: Clock) -> None:
    until_ns = clock.now_ns() + PATIENCE_NS
    while _runs(api, name) and clock.now_ns() < until_ns:
        clock.sleep_until(clock.now_ns() + POLL_NS)
    print(f"{name} {'is still ending' if _runs(api, name) else 'has stopped'}")


def _runs(api: Client, name: str) -> bool:
    return any(one["session"] == name and one["gone"] is None for one in api.sessions())


def attach_sources(session: str, what: str) -> None:
    """Adds the sources, inputs and transforms of a YAML file, or of a config that the daemon offers, to a running session.

    Raises Refused, ConfigError, UsageError, ApiError.
    """
    one = _the(session)
    if one.api is not None and not Path(what).exists():
        print(f"{session}: {one.api.attach(session, what)}")
        return
    values, _ = read_yaml(Path(what), shown_path(what))
    if not isinstance(values, dict):
        raise Refused(f"{what} holds no mapping; sources: and inputs: as in a config are wanted")
    # A file names classes, which the API takes from nobody: it goes by the run directory, which only this user can write.
    request = {"attach": values} if one.api is None else {"attach": {"session": session, "given": values}}
    print(f"{session}: {ask(folder_of(one.run), request, SystemClock())}")


def detach_sources(session: str, names: Sequence[str]) -> None:
    """Ends these sources of a running session; their inputs are masked from then on. Raises Refused, UsageError, ApiError."""
    one = _the(session)
    if one.api is not None:
        print(f"{session}: {one.api.detach(session, names)}")
    else:
        print(f"{session}: {ask(folder_of(one.run), {'detach': list(names)}, SystemClock())}")


def print_logs(session: str | None, lines: int) -> None:
    """The newest lines of the daemon's processes. Where its API does not answer they are read where they are kept."""
    daemon = the_daemon()
    if daemon is None:
        raise click.UsageError("the daemon does not run; a run in the foreground says what happens on its terminal")
    try:
        found: Sequence[dict[str, Any]] = Client.of(folder_of(daemon)).logs(session=session, lines=lines)
    except NoApi:
        found = newest(folder_of(daemon), lines, session=session)
    for line in found:
        print(as_text(line))


def _the(session: str) -> Found:
    found = list(_sessions())
    chosen = [one for one in found if one.name == session]
    if len(chosen) != 1:
        names = ", ".join(sorted({one.name for one in found})) or "none"
        problem = f"no session {session!r} runs (running: {names})" if not chosen else f"{len(chosen)} sessions named {session!r} run"
        raise click.UsageError(problem)
    return chosen[0]


def _stop(chosen: list[Run], clock: Clock) -> None:
    for run in chosen:
        run.stop()
    until_ns = clock.now_ns() + PATIENCE_NS
    while any(run.alive for run in chosen) and clock.now_ns() < until_ns:
        clock.sleep_until(clock.now_ns() + POLL_NS)
    for run in chosen:
        print(f"{run.session} (pid {run.pid}) {'is still ending' if run.alive else 'has stopped'}")
