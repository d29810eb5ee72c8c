"""An export as a whole: which format, written out of sight, put in its place when it is complete."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from operators.errors import ConfigError, SessionError
from pipeline.session.read import Session

Format = Literal["mcap", "rerun", "parquet"]
Progress = Callable[[int], None]
"""Told now and then: session time reached."""
_PACKAGE = {"mcap": ("mcap", "mcap"), "rerun": ("rerun", "rerun-sdk")}


def format_of(out: Path) -> Format:
    return {".mcap": "mcap", ".rrd": "rerun"}.get(out.suffix.lower(), "parquet")  # type: ignore[return-value]


def export(session: Session, out: Path, to: Format | None = None, progress: Progress = lambda at_ns: None) -> dict[str, int]:
    """What was written, by topic, entity or file. Raises ConfigError for an `out` that is there or a library that is not; OSError."""
    chosen = to or format_of(out)
    if out.exists() or out.is_symlink():
        raise ConfigError(str(out), "", "is there already", "name a new file or folder, or delete it")
    if not out.absolute().parent.is_dir():
        raise ConfigError(str(out), "", "is in a folder that does not exist", "make it first")
    _check_library(chosen)
    part = out.with_name(f".{out.name}.part{out.suffix}")
    _remove(part)
    try:
        counts = _writer(chosen)(session, part, progress)
        part.replace(out)
    finally:
        _remove(part)
    if not counts:
        raise SessionError(str(session.folder), "holds nothing to export")
    return counts


def _check_library(chosen: Format) -> None:
    module, package = _PACKAGE.get(chosen, ("pyarrow", "pyarrow"))
    if find_spec(module) is None:
        raise ConfigError("--to", "", f"{chosen} needs the package {package}, which is not installed", f"pip install 'sensorium[{chosen}]'")


def _writer(chosen: Format) -> Callable[[Session, Path, Progress], dict[str, int]]:
    if chosen == "mcap":
        from pipeline.session.export.mcap import export_mcap

        return export_mcap
    if chosen == "rerun":
        from pipeline.session.export.rerun import export_rerun

        return export_rerun
    from pipeline.session.export.parquet import export_parquet

    return export_parquet


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
