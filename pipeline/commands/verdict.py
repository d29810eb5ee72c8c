"""What a replay says at its end: whether it is what was recorded, or how it differs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from rich.console import Console as Terminal
from rich.progress import Progress

from operators.decision import Decision
from pipeline.cli import say
from pipeline.model import Model
from pipeline.plan import MS, Plan
from pipeline.ports import Sink, Status
from pipeline.session.compare import Comparison, Digest, compare
from pipeline.session.loss import explain
from pipeline.session.read import Session
from pipeline.session.replay import Replay
from pipeline.sinks.plain import clock_text

DIFFERENT = 1


def wanted(session: Session, plan: Plan) -> Iterator[Decision]:
    """The recorded decisions of the time that was replayed."""
    replay = plan.replay or Replay(session=str(session.folder))
    yield from (decision for decision in session.decisions() if replay.wants(decision))


class Bar:
    """A progress bar as a sink, on stderr, where that is a terminal."""

    def __init__(self) -> None:
        self._progress = Progress(console=Terminal(stderr=True), transient=True, disable=not sys.stderr.isatty())
        self._task = self._progress.add_task("verifying", total=None)
        self._progress.start()

    def decision(self, decision: Decision) -> None:
        pass

    def status(self, status: Status) -> None:
        self._progress.update(self._task, total=status.end_ns, completed=status.now_ns)

    def close(self) -> None:
        self._progress.stop()


@contextmanager
def verifying(plan: Plan) -> Iterator[Sequence[Sink]]:
    """The config's sinks and a progress bar, closed at the end."""
    sinks: list[Sink] = [*plan.make_sinks(), Bar()]
    with ExitStack() as stack:
        for sink in sinks:
            stack.callback(sink.close)
        yield sinks


def verify(session: Session, plan: Plan, model: Model, decisions: Sequence[Decision]) -> int:
    """Prints whether they are the recorded ones; gives the exit code."""
    comparison = compare(wanted(session, plan), decisions)
    behind_ns = model.spec.window.lag_ms * MS + round(session.manifest.deadline_ms * MS)
    found = explain(session, comparison, behind_ns=behind_ns)
    digest = Digest()
    for decision in decisions:
        digest.add(decision)
    for cut in found.cuts:
        say(f"note: {cut.why}")
    if found.verified:
        print(f"identical: {comparison.equal} decisions, windows {digest.windows}, decisions {digest.decisions}")
        if found.lost:
            print(f"{found.lost} more cannot be compared: they lie where the recording was cut off")
        return 0
    if comparison.first is not None:
        print(f"different: {comparison.compared - comparison.equal} of {comparison.compared} decisions; the first: {comparison.first}")
    for what, gaps in (("recorded but not made again", found.missing), ("made again but not recorded", found.extra)):
        if gaps:
            print(f"different: {len(gaps)} decisions {what}; the first at {clock_text(gaps[0].start_ns)} (window {gaps[0].window})")
    return DIFFERENT


def tell_difference(comparison: Comparison) -> None:
    """On stderr: stdout is for decisions."""
    other = sum(number for (old, new), number in comparison.labels.items() if old != new)
    say(f"{comparison.compared} decisions compared with the recorded ones: {other} have another label")
    for (old, new), number in comparison.labels.most_common():
        if old != new:
            say(f"  {number} x {old} -> {new}")
    if comparison.first is not None:
        say(f"  the first: {comparison.first}")
