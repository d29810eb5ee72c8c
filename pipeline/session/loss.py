"""What a recording that was cut off cannot give back: so that `replay --verify` can tell a difference from a loss.

A cut is a span of session time in which events or decisions may be missing: the tail of a log whose writer was killed, a time
without disk space, segments that were deleted or are damaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from operators.decision import Decision
from pipeline.session.compare import Comparison
from pipeline.session.layout import DECISIONS, Segment, SegmentName, segment_name, segments
from pipeline.session.read import Session
from pipeline.session.rows import Row
from pipeline.session.runlog import read_decisions

SLACK_NS = 500_000_000
"""What was under way between the processes when one of them was killed."""
EVER_NS = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Something may be missing in [start_ns, end_ns)."""

    start_ns: int
    end_ns: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """A comparison, and which of its gaps no cut accounts for. lost: how many gaps the cuts do account for."""

    comparison: Comparison
    cuts: Sequence[Cut]
    lost: int
    missing: Sequence[Decision]
    extra: Sequence[Decision]

    @property
    def verified(self) -> bool:
        """All that both have is equal, and every gap lies at a cut."""
        return self.comparison.equal == self.comparison.compared and not self.missing and not self.extra


def explain(session: Session, comparison: Comparison, *, behind_ns: int) -> Explained:
    """behind_ns: how long after the end of what it speaks of a decision goes out at the latest (look-ahead and deadline)."""
    found = list(cuts(session))

    def unexplained(decisions: Sequence[Decision]) -> list[Decision]:
        return [d for d in decisions if not any(_at(cut, d, behind_ns) for cut in found)]

    missing, extra = unexplained(comparison.missing), unexplained(comparison.extra)
    lost = len(comparison.missing) + len(comparison.extra) - len(missing) - len(extra)
    return Explained(comparison=comparison, cuts=found, lost=lost, missing=missing, extra=extra)


def cuts(session: Session) -> Iterator[Cut]:
    """Of the aligner's events and of the decisions."""
    yield from _of_a_part(session)
    yield from _cuts(session, session.event_segments(), "events", session.event_rows, _at_ns)
    yield from _cuts(session, segments(session.folder / DECISIONS), "decisions", _decision_rows, _end_ns)


def _of_a_part(session: Session) -> Iterator[Cut]:
    """Its processes begin and end to record a part of a session one after another."""
    for note in session.notes():
        match note:
            case {"joined": {"session_ns": int(at_ns)}}:
                yield Cut(start_ns=-EVER_NS, end_ns=at_ns, why="the recording begins in the middle of a session")
            case {"left": {"session_ns": int(at_ns)}}:
                yield Cut(start_ns=at_ns, end_ns=EVER_NS, why="the recording ends in the middle of a session")


def _cuts(
    session: Session, found: Sequence[Segment], what: str, rows: Callable[[Segment], Iterator[Row]], time_ns: Callable[[Row], int]
) -> Iterator[Cut]:
    if not found:
        yield Cut(start_ns=-EVER_NS, end_ns=EVER_NS, why=f"there are no {what}")
        return
    lines = session.lines()
    ends_ns, before, whole = -EVER_NS, None, True
    for segment in found:
        times = [time_ns(row) for row in rows(segment)]
        follows = (before is None and segment.name.number == 0) or (before is not None and whole and segment.name.follows(before.name))
        if not follows:
            yield Cut(start_ns=ends_ns, end_ns=times[0] if times else EVER_NS, why=f"{what} are missing before {segment.path.name}")
        ends_ns = max([ends_ns, *times])
        before, whole = segment, not session.is_cut(segment, lines)
    last = found[-1]
    if not whole:
        yield Cut(start_ns=ends_ns, end_ns=EVER_NS, why=f"{last.path.name} of the {what} was not finished")
    elif any(name > last.name for name in _listed(last.path.parent.relative_to(session.folder), lines)):
        yield Cut(start_ns=ends_ns, end_ns=EVER_NS, why=f"{what} are missing after {last.path.name}")


def _listed(folder: Path, lines: Iterable[str]) -> Iterator[SegmentName]:
    """The names in `lines` of segments of one folder, whether they are still there or not."""
    for path in map(PurePosixPath, lines):
        if path.parent == PurePosixPath(folder) and (name := segment_name(path.name)) is not None:
            yield name


def _decision_rows(segment: Segment) -> Iterator[Row]:
    return read_decisions(segment.path)


def _at_ns(row: Row) -> int:
    return int(row["at_ns"])


def _end_ns(row: Row) -> int:
    return int(row["end_ns"])


def _at(cut: Cut, decision: Decision, behind_ns: int) -> bool:
    return decision.end_ns + behind_ns + SLACK_NS >= cut.start_ns and decision.start_ns - SLACK_NS <= cut.end_ns
