"""What the routes share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.api.auth import Auth
from pipeline.api.hub import Hub, Refused, Seen
from pipeline.api.view import View
from pipeline.service import Service

PAGE = Path(__file__).parent / "page"


@dataclass(slots=True, kw_only=True)
class House:
    """say: of the hello line: version, utc, address. view: pictures, levels and texts of running sessions; None: there are none.

    recordings: their folder. run_dir: where logs and codes are.
    """

    service: Service
    hub: Hub
    auth: Auth
    run_dir: Path
    recordings: Path
    view: View | None = None
    say: Mapping[str, Any] = field(default_factory=dict)
    page: Path = PAGE
    metrics: Callable[[], bytes] = lambda: b""

    def session(self, name: str, *, running: bool = False) -> Seen:
        """Raises Refused (404), for one that has ended, too, where it must be running."""
        seen = self.hub.sessions.get(name)
        if seen is None:
            known = ", ".join(name for name, each in self.hub.sessions.items() if each.gone is None) or "none"
            raise Refused(f"no session of that name runs (running: {known})", 404)
        if running and seen.gone is not None:
            raise Refused(f"session {name} has ended", 404)
        return seen
