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
from pipeline.session.layout import Recording
from pipeline.sinks.summary import Summary

View = Literal["auto", "plain", "quiet"]
VIEWS = ("pipeline.sinks.console:Console", "pipeline.sinks.plain:PlainLines")


def run_config(chosen: Chosen, *, view: View, begun_ns: int, stopping: Stopping) -> int:
    """Gives the exit code. Raises ConfigError, SourceError, BackendError before anything has started, and what the run ends with."""
    plan = checked(chosen)
    with opened_sinks(plan, view=view, begun_ns=begun_ns) as sinks:
        if stopping():
            return 0
        if plan.config.record is None:
            return _run(plan, sinks, stopping, None)
        with recorded(plan, sinks) as (recording, sinks):
            return _run(plan, sinks, stopping, recording)


@contextmanager
def recorded(plan: Plan, sinks: Sequence[Sink]) -> Iterator[tuple[Recording, Sequence[Sink]]]:
    """A new recording of the plan, and sinks that keep it and tell the others."""
    from pipeline.session.begin import begin_recording, retention_of
    from pipeline.session.runlog import RunRecorder

    recording = begin_recording(plan)
    say(f"recording to {recording.folder}")
    keeper = RunRecorder(recording, sinks, SystemClock(), retention=retention_of(plan))
    try:
        yield recording, [keeper]
    finally:
        keeper.close()


def _run(plan: Plan, sinks: Sequence[Sink], stopping: Stopping, recording: Recording | None) -> int:
    if plan.config.run.runner == "inline":
        return _run_inline(plan, sinks, stopping, recording)
    from pipeline.runtime.supervisor import run_supervised

    return run_supervised(plan, sinks, recording=recording)


def _run_inline(plan: Plan, sinks: Sequence[Sink], stopping: Stopping, recording: Recording | None) -> int:
    from pipeline.runtime.inline import run_inline
    from pipeline.runtime.parts import session_of, speed_of
    from pipeline.runtime.rundir import RunDir

    run_dir = RunDir(session_of(plan), SystemClock())
    recorder = None
    if recording is not None:
        from pipeline.session.recorder import Recorder

        recorder = Recorder(recording, 0, SystemClock(), paced=speed_of(plan) is not None)
    try:
        run_inline(plan, [run_dir, *sinks], SystemClock(), stopping, recorder)
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
