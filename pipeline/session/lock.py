"""Who is writing to a session: the process that records it holds a lock for as long as it lives, however it ends."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from operators.errors import SessionError

LOCK = "lock"


class SessionLock:
    """Held from construction to release(). Raises SessionError where another process holds it."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise SessionError(str(folder), "is being recorded at this moment; stop that run first (sensorium stop)") from None

    def release(self) -> None:
        with suppress(OSError):
            os.close(self._descriptor)


def is_being_recorded(folder: Path) -> bool:
    """Looks without writing: a session may lie on a medium that cannot be written."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
