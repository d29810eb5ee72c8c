"""A recorded session as what a core was given: its events in their order, and where a core began again, with the state it had.

    events/0.0-000000.arrows   [state] e e e e e
    events/0.0-000001.arrows   [state] e e e e      follows: the state is what the core has anyhow
    events/0.1-000000.arrows   [state] e e e        another life: the core takes this state
A segment that was cut off (killed, disk full) ends where it ends; the next one begins with its own state.

A window that was not decided because its turn came too late is written down where it was given up, and told before the window is cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from operators.decision import Decision
from operators.errors import ContractError, Truncated
from operators.packet import CoreEvent, Dropped, Tick
from pipeline.session.layout import Segment, SegmentLine
from pipeline.session.read import Session
from pipeline.session.rows import Row, event_of
from pipeline.session.snapshot import state_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What to replay. Decisions about [start_ns, end_ns) are wanted; end_ns None: to the end.

    ideal: wait for promises instead of cutting windows off where the deadline did.
    behind_ns: how long after a decision its revision may come. length_ns: how long the session is, for a progress bar; None: not known.
    """

    session: str
    start_ns: int = 0
    end_ns: int | None = None
    ideal: bool = False
    behind_ns: int = 0
    length_ns: int | None = None

    def wants(self, decision: Decision) -> bool:
        return decision.start_ns >= self.start_ns and (self.end_ns is None or decision.start_ns < self.end_ns)

    def is_over(self, decision: Decision) -> bool:
        """Nothing that comes after this decision is wanted, no revision either."""
        return self.end_ns is not None and decision.revision == 0 and decision.start_ns >= self.end_ns + self.behind_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """A core began here with this state, as `pipeline.runtime.core.FusionCore.snapshot` gave it."""

    state: Mapping[str, Any]


Replayed = CoreEvent | Resume | Dropped
"""A Dropped speaks of a window that is not to be decided: see `pipeline.runtime.core.FusionCore.take`."""


def replayed(replay: Replay) -> Iterator[tuple[int, Replayed]]:
    """(at_ns, event) in the recorded order. Begins with the last state before start_ns. Raises SessionError.

    at_ns: session time at which the core was given it.
    """
    session = Session.open(Path(replay.session))
    lines = session.lines()
    before: Segment | None = None
    found = _from(session, replay.start_ns, lines)
    for segment, following in zip_longest(found, found[1:]):
        follows = before is not None and not session.is_cut(before, lines) and segment.name.follows(before.name)
        resume = not follows and not (replay.ideal and before is not None)
        # Cut near the end of a segment, a window may be given up in the next.
        sheds = [] if replay.ideal else [*_sheds(session, segment), *([] if following is None else _sheds(session, following))]
        yield from _events(session, segment, resume=resume, ideal=replay.ideal, sheds=sheds)
        before = segment
    if before is None:
        raise Truncated(str(session.folder), "holds no event of the aligner: it was killed at once, or its events were deleted")


def _from(session: Session, start_ns: int, lines: Mapping[str, SegmentLine]) -> list[Segment]:
    """The segments from the last one on that begins at or before start_ns."""
    found = session.event_segments()
    begins = 0
    for index, segment in enumerate(found if start_ns > 0 else []):
        at_ns = _begins_ns(session, segment, lines)
        if at_ns is not None and at_ns <= start_ns:
            begins = index
    return found[begins:]


def _begins_ns(session: Session, segment: Segment, lines: Mapping[str, SegmentLine]) -> int | None:
    """By its line, where it has one: a day has thousands of segments."""
    line = lines.get(str(segment.path.relative_to(session.folder)))
    if line is not None:
        return line.start_ns
    first = next(session.event_rows(segment), None)
    return None if first is None else int(first["at_ns"])


def _sheds(session: Session, segment: Segment) -> list[Dropped]:
    """The windows that were given up in this segment."""
    return [event for row in session.shed_rows(segment) if isinstance(event := event_of(row), Dropped)]


def _events(session: Session, segment: Segment, *, resume: bool, ideal: bool, sheds: Sequence[Dropped]) -> Iterator[tuple[int, Replayed]]:
    held: list[Row] = []
    for row in session.event_rows(segment):
        if row["kind"] == "held":
            held.append(row)
            continue
        if row["kind"] == "snapshot":
            if resume:
                yield row["at_ns"], Resume(state=_state(session, row, held))
            yield from ((row["at_ns"], shed) for shed in sheds)
            continue
        try:
            event = event_of(row)
        except ContractError as error:
            raise Truncated(str(segment.path), f"holds what is no event ({error})") from None
        if event is not None and not isinstance(event, Dropped) and not (ideal and isinstance(event, Tick)):
            yield row["at_ns"], event


def _state(session: Session, row: Row, held: list[Row]) -> Mapping[str, Any]:
    try:
        state = state_of(row, held)
    except ContractError as error:
        raise Truncated(str(session.folder), f"holds a state that cannot be taken up ({error})") from None
    if not isinstance(state, Mapping):
        raise Truncated(str(session.folder), "holds a state that is none")
    return state
