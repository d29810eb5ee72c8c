"""How long an answer may take: what is asked of the supervisor may start processes, an event stream has no end, all else has the limit."""

from __future__ import annotations

from collections.abc import Callable

ASK_S = 45.0
"""For the supervisor's answer; a session is started when its models are loaded."""
MARGIN_S = 5.0


def allowance(seconds: float) -> Callable[[str, str], float | None]:
    """seconds: the limit. Gives, for a method and a path, how long its answer may take; None: it has no end."""

    def of(method: str, path: str) -> float | None:
        if path.startswith("/api/sessions/") and path.endswith("/decisions/stream"):
            return None
        return seconds if method == "GET" else max(seconds, ASK_S + MARGIN_S)

    return of
