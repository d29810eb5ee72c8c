"""What a recording wants of the file system, in one place, so that a test can let any of it fail."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class File(Protocol):
    """An unbuffered file for writing."""

    def write(self, data: bytes | memoryview, /) -> int | None: ...

    def fileno(self) -> int: ...

    def close(self) -> None: ...


class Disk:
    """The real one. All of it may raise OSError."""

    def create(self, path: Path) -> File:
        """A new file, private; its folders are made."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb", buffering=0)

    def sync(self, file: File) -> None:
        os.fsync(file.fileno())

    def rename(self, old: Path, new: Path) -> None:
        old.rename(new)
        folder = os.open(new.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def append_line(self, path: Path, values: Mapping[str, Any]) -> None:
        """A line of JSON at the end of a file, in one write: several processes may do it at once."""
        line = json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line  # the last one was torn
            os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def free_bytes(self, folder: Path) -> int:
        return shutil.disk_usage(folder).free
