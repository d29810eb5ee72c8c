"""The access log: a line for every request, without its query; of refused ones, which anybody can send, not more than some a minute."""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from typing import Any

from pipeline.api.rate import Buckets

REFUSED_PER_MINUTE = 60

log = logging.getLogger("sensorium.api.access")


class Access:
    """now_ns: a monotonic clock."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._allowed = Buckets(REFUSED_PER_MINUTE, now_ns)
        self._untold = 0

    def note(self, scope: MutableMapping[str, Any], status: int) -> None:
        """A line for what was answered with this status."""
        if status in (400, 401, 403, 421, 429) and self._allowed.take("refused"):
            self._untold += 1
            return
        client = scope.get("client") or ("",)
        facts = {
            "method": scope.get("method", "WEBSOCKET"),
            "path": str(scope["path"])[:200],
            "status": status,
            "address": str(client[0]),
            "by": scope.get("sensorium.way", ""),
        }
        if self._untold:
            facts["not_told_before"], self._untold = self._untold, 0
        log.log(logging.INFO if status < 400 else logging.WARNING, "answered" if status < 400 else "refused", extra={"facts": facts})
