"""How a command asks something of a running session: by a file in its run directory, which only its user may read; another is the answer.

ask-<id>.json     of a run: {"attach": {"sources": {...}, "inputs": {...}, "transforms": {...}}} or {"detach": ["name", ...]};
                  of the daemon: see `pipeline.daemon.desk`
ask-<id>.answer   {"done": "a line"} or {"refused": "a line"}
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from operators.errors import SensoriumError
from pipeline.clock import Clock

PATIENCE_NS = 40_000_000_000
POLL_NS = 50_000_000
MAX_BYTES = 1 << 20


class Refused(SensoriumError):
    """The session does not do it; its text says why."""

    exit_code = 2


def ask(folder: Path, request: dict[str, Any], clock: Clock) -> str:
    """Asks the session of this run directory and gives its answer. Raises Refused, also where it does not answer in time."""
    name = post(folder, request)
    answer, until_ns = name.with_suffix(".answer"), clock.now_ns() + PATIENCE_NS
    while not answer.exists():
        if clock.now_ns() > until_ns or not folder.exists():
            name.with_suffix(".json").unlink(missing_ok=True)
            raise Refused("the session does not answer")
        clock.sleep_until(clock.now_ns() + POLL_NS)
    values = json.loads(answer.read_text("utf-8"))
    answer.unlink(missing_ok=True)
    if "refused" in values:
        raise Refused(values["refused"])
    return str(values["done"])


def post(folder: Path, request: dict[str, Any]) -> Path:
    """Asks, and does not wait; gives the request's path without its suffix."""
    name = folder / f"ask-{secrets.token_hex(8)}"
    _write(name.with_suffix(".json"), request)
    return name


def asked(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """What was asked of us and not answered; each is given once. What is no request is answered as such."""
    for path in sorted(folder.glob("ask-*.json")):
        try:
            text = path.read_text("utf-8") if path.stat().st_size <= MAX_BYTES else ""
            path.unlink()
            values = json.loads(text)
        except (OSError, ValueError):
            values = None
        if isinstance(values, dict):
            yield path, values
        else:
            answer(path, refused="this is no request")


def answer(path: Path, **values: str) -> None:
    """path: of the request."""
    _write(path.with_suffix(".answer"), values)


def _write(path: Path, values: object) -> None:
    """As a whole or not at all, for nobody else to read."""
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(json.dumps(values), "utf-8")
    new.replace(path)
