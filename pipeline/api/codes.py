"""One-time codes that let a browser in: whoever may write into the run directory makes one, and the API takes it away when it is used.

RUN_DIR/enter/<SHA-256 of the code>   an empty file, for its owner only; its time stamp is when the code was made
A code is kept nowhere itself. It is good once, because a file can be removed only once, and for TTL_NS.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path

TTL_NS = 10 * 60 * 1_000_000_000
MOST = 32
LENGTH = 43


def new_code(run_dir: Path, wall_ns: int) -> str:
    """wall_ns: now, as files are stamped with. Old codes go; of more than MOST the oldest."""
    folder = run_dir / "enter"
    folder.mkdir(mode=0o700, exist_ok=True)
    _sweep(folder, wall_ns)
    code = secrets.token_urlsafe(32)
    path = folder / _digest(code)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    os.utime(path, ns=(wall_ns, wall_ns))
    return code


def redeem(run_dir: Path, code: str, wall_ns: int) -> bool:
    """Whether the code is good; it is not any more afterwards. Looked up by its hash, so the time it takes tells nothing of the code."""
    path = run_dir / "enter" / _digest(code)
    try:
        made_ns = path.stat().st_mtime_ns
        path.unlink()
    except OSError:
        return False
    return 0 <= wall_ns - made_ns <= TTL_NS


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "replace")).hexdigest()


def _sweep(folder: Path, wall_ns: int) -> None:
    made: list[tuple[int, Path]] = []
    for path in folder.iterdir():
        with suppress(OSError):
            made.append((path.stat().st_mtime_ns, path))
    made.sort(reverse=True)
    for place, (made_ns, path) in enumerate(made):
        if place >= MOST - 1 or wall_ns - made_ns > TTL_NS:
            path.unlink(missing_ok=True)
