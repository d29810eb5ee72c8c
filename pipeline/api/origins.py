"""By what names this server may be called, so that no foreign name that points here (DNS rebinding) and no foreign page gets an answer."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class Origins:
    """host: that it listens on. names: further ones that browsers may use."""

    def __init__(self, host: str, names: Sequence[str] = ()) -> None:
        own = list(LOOPBACK_NAMES) if is_loopback(host) or is_wildcard(host) else []
        if not is_wildcard(host):
            own.append(f"[{host}]" if ":" in host else host)
        self._names = {name.lower() for name in (*own, *names)}

    def is_host(self, header: bytes | None) -> bool:
        """The Host header: one of our names, with any port: before a container it may be another than ours."""
        name, port = _split((header or b"").decode("latin-1").lower())
        return name in self._names and (not port or (port.isascii() and port.isdigit()))

    def is_own(self, origin: bytes, host: bytes, scope: MutableMapping[str, Any]) -> bool:
        """The Origin header: the scheme and the very Host of this request. `null` is nobody's."""
        scheme = "https" if scope.get("scheme") in ("https", "wss") else "http"
        return origin.decode("latin-1").lower() == f"{scheme}://{host.decode('latin-1').lower()}"


def is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def is_wildcard(host: str) -> bool:
    return host in ("0.0.0.0", "::", "")  # noqa: S104 - compared, not listened on


def _split(authority: str) -> tuple[str, str]:
    """[::1]:8700 -> [::1] and 8700"""
    if authority.startswith("["):
        name, bracket, rest = authority.partition("]")
        return (name + bracket, rest[1:]) if not rest or rest.startswith(":") else ("", "")
    name, _, port = authority.partition(":")
    return name, port
