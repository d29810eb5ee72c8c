"""Deleting a recorded session, and looking whether it is gone."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from operators.errors import NotASession, SessionError
from pipeline.session.lock import is_being_recorded
from pipeline.session.read import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """What was deleted, and whether anything is left of it."""

    files: int
    bytes: int
    left: bool

    def __str__(self) -> str:
        return f"deleted {self.files} files, {self.bytes} bytes; {'something is still there' if self.left else 'nothing is left'}"


def purge(folder: Path) -> Purged:
    """Raises SessionError where it is no session, is being recorded, or is a link."""
    Session.open(folder)
    if is_being_recorded(folder):
        raise SessionError(str(folder), "is being recorded at this moment; stop that run first (sensorium stop)")
    if folder.is_symlink():
        raise NotASession(str(folder), "is a link; name the folder itself")
    files, size = sum(1 for file in folder.rglob("*") if file.is_file()), size_of(folder)
    shutil.rmtree(folder)
    return Purged(files=files, bytes=size, left=folder.exists())


def size_of(folder: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if folder.is_file():
        return folder.stat().st_size
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
