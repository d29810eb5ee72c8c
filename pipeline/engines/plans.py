"""Plans that were built here, kept for the next start. A plan is executable code: only one of our own making is ever given to TensorRT.

FOLDER/                    0700, ours alone
FOLDER/key                 0600, 32 random bytes of this machine and user
FOLDER/<name>.plan         HMAC-SHA256 of name and plan, then the plan
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from operators.errors import EngineMismatch

_MAC_BYTES = 32


def default_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sensorium" / "plans"


def plan_name(*parts: str) -> str:
    """Of everything that a plan depends on: model digest, graph, library, version, GPU."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]


class PlanCache:
    """Raises EngineMismatch for a folder that others may write to."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.stat()
        if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise EngineMismatch(f"{folder} is not ours alone (mode {stat.S_IMODE(found.st_mode):o}); chmod 700 it, or remove it")
        self._folder, self._key = folder, _key(folder / "key")

    def load(self, name: str) -> bytes | None:
        """None: there is none. Raises EngineMismatch for one that was not built here or was changed since; nothing of it was used."""
        try:
            content = self._path(name).read_bytes()
        except OSError:
            return None
        mac, plan = content[:_MAC_BYTES], content[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(name, plan)):
            raise EngineMismatch(f"{self._path(name)} is not the plan that was built here; it was not used")
        return plan

    def save(self, name: str, plan: bytes) -> None:
        part = self._path(name).with_suffix(".part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(self._mac(name, plan) + plan)
        part.replace(self._path(name))

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.plan"

    def _mac(self, name: str, plan: bytes) -> bytes:
        return hmac.new(self._key, name.encode() + b"\0" + plan, hashlib.sha256).digest()


def _key(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        key = path.read_bytes()
        if len(key) != 32 or stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise EngineMismatch(f"{path} is damaged or readable by others; remove {path.parent}") from None
        return key
    key = secrets.token_bytes(32)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
    return key
