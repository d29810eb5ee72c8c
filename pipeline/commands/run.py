"""`sensorium run`: from a config to decisions on the terminal and in files."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Literal

from pipeline.check import check_plan
from pipeline.cli import say
from pipeline.clock import SystemClock
from pipeline.commands.inputs import Chosen, chosen_config
from pipeline.commands.stopping import Stopping
from pipeline.plan import Plan, build_plan
from pipeline.ports import Sink
from pipeline.sinks.summary import Summary

View = Literal["auto", "plain", "quiet"]
VIEWS = ("pipeline.sinks.console:Console", "pipeline.sinks.plain:PlainLines")


def run_config(chosen: Chosen, *, view: View, begun_ns: int, stopping: Stopping) -> int:
    """Gives the exit code. Raises ConfigError, SourceError, BackendError before anything has started, and what the run ends with."""
    plan = checked(chosen)
    with opened_sinks(plan, view=view, begun_ns=begun_ns) as sinks:
        if stopping():
            return 0
        if plan.config.run.runner == "inline":
            return _run_inline(plan, sinks, stopping)
        from pipeline.runtime.supervisor import run_supervised

        return run_supervised(plan, sinks)


def _run_inline(plan: Plan, sinks: Sequence[Sink], stopping: Stopping) -> int:
    from pipeline.runtime.inline import run_inline
    from pipeline.runtime.parts import session_of
    from pipeline.runtime.rundir import RunDir

    run_dir = RunDir(session_of(plan), SystemClock())
    try:
        run_inline(plan, [run_dir, *sinks], SystemClock(), stopping)
    finally:
        run_dir.close()
    return 0


def checked(chosen: Chosen) -> Plan:
    """The plan, after its files were opened once: a mistake is told in a second, not after everything has started."""
    plan = build_plan(chosen_config(chosen))
    for note in check_plan(plan, engines=False).notes:
        say(f"note: {note}")
    return plan


@contextmanager
def opened_sinks(plan: Plan, *, view: View, begun_ns: int) -> Iterator[Sequence[Sink]]:
    """The config's sinks, a view of the terminal and the summary; each is closed once, whatever happens."""
    with ExitStack() as stack:
        # Closed last, so printed last; a truth that cannot be read is told before anything else is opened.
        summary = Summary(truth=plan.truth, begun_ns=begun_ns)
        sinks = [*plan.make_sinks(), *_views(plan, view)]
        for sink in (summary, *sinks):
            stack.callback(_close, sink)
        yield [*sinks, summary]


def _close(sink: Sink) -> None:
    with suppress(BrokenPipeError):  # told already, where it was written to
        sink.close()


def _views(plan: Plan, view: View) -> list[Sink]:
    from pipeline.sinks.plain import PlainLines

    if any(sink.use in VIEWS for sink in plan.config.sinks):
        return []
    if view != "auto" or not sys.stdout.isatty():
        return [PlainLines(decisions=view != "quiet")]
    from pipeline.sinks.console import Console

    return [Console()]
