"""Log lines of all our processes: one place that formats them, as text for a terminal or as JSON for programs, with secrets masked.

    logs.set_up("engine", service.log, run_dir)                 once, at a process's entry
    log = logging.getLogger("sensorium.engine")
    log.info("an actor was started again", extra={"session": "desk", "facts": {"source": "cam", "attempt": 2}})

RUN_DIR/log-WHERE.jsonl keeps the newest lines for `sensorium logs`: at most two files of FILE_BYTES each, for their owner only.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pipeline.mask import is_secret, mask, printable

Style = Literal["auto", "text", "json"]
FILE_BYTES = 2 << 20
LINE_BYTES = 16 << 10
LEVELS = {"DEBUG": "debug", "INFO": "info", "WARNING": "warning", "ERROR": "error", "CRITICAL": "error"}


def set_up(where: str, style: Style = "auto", run_dir: Path | None = None, *, level: int = logging.INFO) -> None:
    """Lines of this process go to stderr, and those of the newest two files to the run directory. Other libraries' warnings do, too."""
    chosen = style if style != "auto" else "text" if sys.stderr.isatty() else "json"
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    handlers[0].setFormatter(AsText(where) if chosen == "text" else AsJson(where))
    if run_dir is not None:
        handlers.append(Kept(run_dir / f"log-{where}.jsonl"))
        handlers[-1].setFormatter(AsJson(where))
    logging.basicConfig(level=logging.WARNING, handlers=handlers, force=True)
    logging.getLogger("sensorium").setLevel(level)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # what goes wrong in a request is told by the API's own guard


def values_of(record: logging.LogRecord, where: str) -> dict[str, Any]:
    """The line as plain values: utc, level, where, session (if there is one), line, facts, trace (of an exception)."""
    utc = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    values: dict[str, Any] = {"utc": utc, "level": LEVELS.get(record.levelname, "info"), "where": where}
    if session := getattr(record, "session", ""):
        values["session"] = printable(str(session))
    values["line"] = printable(mask(record.getMessage()))
    for name, fact in dict(getattr(record, "facts", {})).items():
        values.setdefault(name, "***" if is_secret(name) else _fact(fact))
    if record.exc_info:
        values["trace"] = mask(logging.Formatter().formatException(record.exc_info))[-LINE_BYTES // 2 :]
    return values


def _fact(value: object) -> object:
    return printable(mask(value)) if isinstance(value, str) else value if isinstance(value, int | float | None) else mask(str(value))


class AsJson(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self._where = where

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(values_of(record, self._where), ensure_ascii=False, separators=(",", ":"))


class AsText(logging.Formatter):
    """For people: 12:00:01.250 engine warning desk: an actor was started again  source=cam attempt=2"""

    def __init__(self, where: str) -> None:
        super().__init__()
        self._where = where

    def format(self, record: logging.LogRecord) -> str:
        return as_text(values_of(record, self._where))


def as_text(values: dict[str, Any]) -> str:
    """A line of `values_of` for people."""
    known = ("utc", "level", "where", "session", "line", "trace")
    head = f"{str(values.get('utc', ''))[11:23]} {values.get('where', '')}"
    level = "" if values.get("level") == "info" else f" {values.get('level')}"
    session = f" {values['session']}:" if values.get("session") else ""
    facts = "".join(f" {name}={value}" for name, value in values.items() if name not in known)
    trace = f"\n{values['trace']}" if values.get("trace") else ""
    return f"{head}{level}{session} {values.get('line', '')}{' ' if facts else ''}{facts}{trace}"


class Kept(logging.Handler):
    """Appends to a file, which is renamed when it is full. What cannot be written is left out: a full disk stops nothing."""

    def __init__(self, path: Path, most: int = FILE_BYTES) -> None:
        super().__init__()
        self._path, self._most = path, most

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record).encode("utf-8", "replace")[:LINE_BYTES] + b"\n"
        with suppress(OSError):
            if self._path.exists() and self._path.stat().st_size + len(line) > self._most:
                self._path.replace(before(self._path))
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)


def before(path: Path) -> Path:
    return path.with_suffix(".1.jsonl")


def newest(run_dir: Path, most: int, session: str | None = None) -> list[dict[str, Any]]:
    """The newest lines of all processes, oldest first; with a session, those that name it."""
    lines = [line for path in sorted(run_dir.glob("log-*.jsonl")) for line in _lines(path)]
    wanted = [line for line in lines if session is None or line.get("session") == session]
    return sorted(wanted, key=lambda line: str(line["utc"]))[-most:] if most else []


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return
    for line in text.splitlines():
        with suppress(ValueError):
            values = json.loads(line)
            if isinstance(values, dict) and "utc" in values:
                yield values
