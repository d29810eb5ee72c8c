"""Session time as wall time, for formats that know no other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from pipeline.session.read import Session


class WallTime:
    """One fixed distance between the two, as the session's first clock anchor says; without one, session time 0 is when it was created."""

    def __init__(self, session: Session) -> None:
        anchored = next(_anchors(session.notes()), None)
        self.zero_ns = anchored if anchored is not None else _utc_ns(session.manifest.created) or 0

    def at(self, session_ns: int) -> int:
        """ns since 1970 UTC, not below 0."""
        return max(0, self.zero_ns + session_ns)


def _anchors(notes: Iterable[Mapping[str, Any]]) -> Iterator[int]:
    """Wall time of session time 0, as each anchor has it."""
    for note in notes:
        anchor = note.get("anchor")
        if not isinstance(anchor, dict) or not isinstance(session_ns := anchor.get("session_ns"), int):
            continue
        utc_ns = _utc_ns(str(anchor.get("utc")))
        if utc_ns is not None:
            yield utc_ns - session_ns


def _utc_ns(text: str) -> int | None:
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000) * 1_000_000
    except (ValueError, OverflowError, OSError):
        return None
