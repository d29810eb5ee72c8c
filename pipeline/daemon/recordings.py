"""Recorded sessions by name, and their replay as a session of the daemon."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.commands.replay import Asked, replay_plan
from pipeline.daemon.opening import Wish, checked_name
from pipeline.runtime.requests import Refused
from pipeline.session.layout import MANIFEST
from pipeline.session.read import Session


def named(recordings: Path, name: str) -> Path:
    """The folder of that name, found by looking, not by putting a path together. Raises Refused."""
    found = [path for path in recordings.glob("*") if path.name == name and (path / MANIFEST).is_file() and not path.is_symlink()]
    if not found:
        raise Refused(f"no recording is called {name!r}")
    return found[0]


def replay_wish(folder: Path, rest: Mapping[str, Any]) -> Wish:
    """rest: start_ns, end_ns, speed, session; all may be left out. Raises Refused, SessionError, ConfigError."""
    start, end = _seconds(rest.get("start_ns")), _seconds(rest.get("end_ns"))
    speed, session = rest.get("speed", 1), rest.get("session")
    if not (speed == "max" or (isinstance(speed, int | float) and not isinstance(speed, bool))) or not isinstance(session, str | None):
        raise Refused(f"speed wants a number or max, session a name; got {speed!r}, {session!r}")
    asked = Asked(session=str(folder), speed=str(speed), start=start, end=end, runner="ray")
    plan, _, _ = replay_plan(Session.open(folder), asked)
    return Wish(config=plan.config, session=checked_name(session), replay=folder.name)


def _seconds(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 62:
        raise Refused(f"nanoseconds of the session's time wanted, got {value!r}")
    return f"{value / 1e9:.9f}"
