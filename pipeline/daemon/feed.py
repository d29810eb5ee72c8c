"""What the API's process is told: every session, its statuses, its decisions; and all of it once more when it is started again."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from operators.decision import Decision
from pipeline.plan import Plan
from pipeline.ports import Status
from pipeline.runtime.codec import status_to_json
from pipeline.runtime.parts import kinds_of, takes_changes

log = logging.getLogger("sensorium.session")

KEPT = 1000
"""So many decisions of a session are told again to a new API process: who reads them goes on from the last id it knows."""

Tell = Callable[[dict[str, Any]], None]


class SessionFeed:
    """A sink of one session. tell: takes the messages for the API. about: see `about_session`; it is told with the first `change`."""

    def __init__(self, session: str, about: Mapping[str, Any], tell: Tell) -> None:
        self._session, self._about, self._tell = session, dict(about), tell
        self._status: dict[str, Any] | None = None
        self._decisions: deque[dict[str, Any]] = deque(maxlen=KEPT)

    def decision(self, decision: Decision) -> None:
        message = {"type": "decision", "session": self._session, "decision": decision.to_json()}
        self._decisions.append(message)
        self._tell(message)

    def status(self, status: Status) -> None:
        self._status = {"type": "status", "session": self._session, "status": status_to_json(status)}
        self._tell(self._status)

    def change(self, about: Mapping[str, Any]) -> None:
        """Sources came or went, or its recording began or ended."""
        self._about |= about
        self._tell(self._begin())

    def again(self, most: int = KEPT) -> Iterator[dict[str, Any]]:
        """All that a new API process needs to know. most: so many decisions at most, the newest."""
        yield self._begin()
        yield from () if self._status is None else (self._status,)
        yield from list(self._decisions)[-most:]

    def close(self) -> None:
        """Its end is told by the desk."""

    def _begin(self) -> dict[str, Any]:
        return {"type": "session", "session": self._session, **self._about}


class SessionLog:
    """A sink that writes down what happened to a session, for `sensorium logs`."""

    def __init__(self, session: str) -> None:
        self._about = {"session": session}

    def decision(self, decision: Decision) -> None:
        """There are other places for these."""

    def status(self, status: Status) -> None:
        for line in status.events:
            log.info(line, extra=self._about)
        if status.final:
            facts = {"decisions": status.decisions, "missed_deadlines": status.missed_deadlines, "skipped": status.skipped}
            log.info(f"the session has {status.state}", extra={**self._about, "facts": facts})

    def close(self) -> None:
        """Nothing is open."""


def about_session(plan: Plan, *, config: str = "", since: str = "", replay: str = "") -> dict[str, Any]:
    """What a page wants to know of a session before its first decision."""
    window = plan.model.spec.window
    return {
        "config": config,
        "labels": list(plan.model.spec.labels),
        "inputs": kinds_of(plan),
        "sources": {name: list(plan.source_inputs(name)) for name in plan.config.sources},
        "recording": "",
        "since": since,
        "live": takes_changes(plan),
        "window": {
            "hop_ns": plan.align.hop_ns,
            "length_ns": plan.align.length_ns,
            "lag_ns": window.lag_ms * 1_000_000,
            "deadline_ns": plan.align.deadline_ns,
        },
        "replay": replay,
    }
