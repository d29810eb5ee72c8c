"""The secret that lets a program of this user talk to a session over the network: one file, readable by its owner only, never shown."""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from pathlib import Path

from operators.errors import SourceError

MIN_LENGTH = 16


def token_path() -> Path:
    """$XDG_STATE_HOME/sensorium/token, else ~/.local/state/sensorium/token."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "sensorium" / "token"


def read_token(label: str, path: Path) -> str:
    """The token in that file, which is made if it is not there. Raises SourceError if others may read it, or it is too short."""
    try:
        return _read(label, path) if path.exists() else _make(path)
    except OSError as error:
        raise SourceError(label, f"the token file {path} cannot be used ({error.strerror})") from None


def _make(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    token = secrets.token_urlsafe(24)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, f"{token}\n".encode())
    finally:
        os.close(descriptor)
    try:
        os.link(beside, path)  # if another process was faster, its token is the one
    except FileExistsError:
        return path.read_text("utf-8").strip()
    finally:
        os.unlink(beside)
    return token


def _read(label: str, path: Path) -> str:
    about = path.stat()
    if stat.S_IMODE(about.st_mode) & 0o077 or about.st_uid != os.getuid():
        raise SourceError(label, f"the token file {path} can be read by others; chmod 600 it, and make it yours")
    token = path.read_text("utf-8", "replace").strip()
    if len(token) < MIN_LENGTH or not token.isascii():
        raise SourceError(label, f"the token file {path} wants {MIN_LENGTH} characters of ASCII or more; remove it, and a new one is made")
    return token


def is_token(given: str | None, token: str) -> bool:
    """Compares without telling by its time how much was right."""
    return given is not None and hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def bearer(header: str | None) -> str | None:
    """The token of an `Authorization: Bearer ...` header."""
    kind, _, token = (header or "").partition(" ")
    return token.strip() if kind.lower() == "bearer" and token.strip() else None
