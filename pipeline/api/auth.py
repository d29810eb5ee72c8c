"""Who may: the bearer of the token, or a browser that came in by a one-time code and keeps a cookie.

RUN_DIR/cookies.json  0600  {SHA-256 of a cookie's value: until when, wall-clock ns}: a new API process lets the same browsers in
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from pipeline.api.codes import redeem
from pipeline.live.token import bearer, is_token

COOKIE_TTL_NS = 7 * 24 * 3600 * 1_000_000_000
MOST_COOKIES = 64
MOST_COOKIE_BYTES = 16_384

Way = Literal["token", "cookie"]


class Auth:
    """token: the secret. wall_ns: now. secure: under TLS: the cookie goes over nothing else. port: keeps two daemons' cookies apart."""

    def __init__(self, token: str, run_dir: Path, wall_ns: Callable[[], int], *, secure: bool, port: int) -> None:
        self._token, self._run_dir, self._wall_ns = token, run_dir, wall_ns
        self.secure = secure
        self.cookie_name = "__Host-sensorium" if secure else f"sensorium-{port}"
        self._path = run_dir / "cookies.json"
        self._cookies = _read(self._path)

    def way(self, headers: Mapping[bytes, bytes]) -> Way | None:
        """How this request may; None: it may not. headers: lower-case names."""
        given = headers.get(b"authorization")
        if given is not None:  # who shows a token is judged by it alone
            return "token" if is_token(bearer(given.decode("latin-1")), self._token) else None
        return "cookie" if self._is_known(self._cookie(headers.get(b"cookie", b""))) else None

    def enter(self, code: str) -> str | None:
        """The Set-Cookie line for a good code; None: it is not good, or not any more."""
        now_ns = self._wall_ns()
        if len(code) > 128 or not redeem(self._run_dir, code, now_ns):
            return None
        value = secrets.token_urlsafe(32)
        kept = sorted(((until, key) for key, until in self._cookies.items() if until > now_ns), reverse=True)[: MOST_COOKIES - 1]
        self._cookies = {key: until for until, key in kept} | {_digest(value): now_ns + COOKIE_TTL_NS}
        self._write()
        return self._line(value, COOKIE_TTL_NS // 1_000_000_000)

    def leave(self, headers: Mapping[bytes, bytes]) -> str:
        """Forgets the cookie; gives the Set-Cookie line that removes it from the browser."""
        if self._cookies.pop(_digest(self._cookie(headers.get(b"cookie", b""))), None) is not None:
            self._write()
        return self._line("", 0)

    def _line(self, value: str, seconds: int) -> str:
        secure = "; Secure" if self.secure else ""
        return f"{self.cookie_name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"

    def _cookie(self, header: bytes) -> str:
        # Split by hand: cookies of other programs on this host come too, and one odd one must not hide ours.
        pairs = (part.strip().partition("=") for part in header[:MOST_COOKIE_BYTES].decode("latin-1").split(";"))
        return next((value for name, _, value in pairs if name == self.cookie_name), "")

    def _is_known(self, value: str) -> bool:
        # Found by its hash: how long that takes tells nothing of the value.
        return bool(value) and self._cookies.get(_digest(value), 0) > self._wall_ns()

    def _write(self) -> None:
        new = self._path.with_suffix(".new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(self._cookies, file)
        new.replace(self._path)


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()


def _read(path: Path) -> dict[str, int]:
    """None are known where the file is not as we wrote it: the browsers come in again by a code."""
    try:
        about = path.stat()
        values = json.loads(path.read_text("utf-8")) if about.st_uid == os.getuid() and not about.st_mode & 0o077 else {}
    except (OSError, ValueError):
        return {}
    good = isinstance(values, dict) and all(isinstance(until, int) for until in values.values())
    return dict(values) if good else {}
