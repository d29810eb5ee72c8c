"""Decisions to a web address, at least once, signed.

    sinks: [{use: "pipeline.sinks.webhook:Webhook", url: "https://example.org/decisions", secret_env: DESK_SECRET}]

POST with {"decisions": [...]}, each as a line of a JSONL file. `Idempotency-Key` is the decision's id, of several a hash of theirs.
`Sensorium-Signature: v1=HEX` is HMAC-SHA256 with the secret over `Sensorium-Timestamp` (seconds since 1970), a dot and the body:
`pipeline.outgoing.signature.is_signed` checks it, and refuses what is too old.
"""

from __future__ import annotations

import hashlib
import http.client
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from operators.errors import ContractError
from pipeline.backoff import SECOND
from pipeline.clock import wall_ns
from pipeline.live.token import token_path
from pipeline.outgoing.courier import Item, Undelivered
from pipeline.outgoing.secret import secret_of
from pipeline.outgoing.signature import signed
from pipeline.outgoing.sink import CLOSE_S, QUEUE, Sending
from pipeline.ports import Status

BATCH = 32
TIMEOUT_S = 10.0
ANSWER_BYTES = 65_536
"""No more of an answer is read; nothing of it is shown."""
AGAIN = (408, 425, 429)
MOST_AFTER_S = 3600
"""A server that asks for more patience is asked again after so long."""


class Webhook(Sending):
    """url: https, or http of this machine. secret_file (0600) or secret_env: what the body is signed with, 16 bytes or more.

    batch: decisions in a request. queue: so many wait; then the oldest are dropped. timeout_s: for a whole request.
    spool: default ~/.local/state/sensorium/spool/webhook-HASH. ca_file: of a server's own authority. close_s: to send the rest at the end.
    """

    def __init__(
        self,
        *,
        url: str,
        secret_file: Path | None = None,
        secret_env: str | None = None,
        batch: int = BATCH,
        queue: int = QUEUE,
        timeout_s: float = TIMEOUT_S,
        spool: Path | None = None,
        ca_file: Path | None = None,
        close_s: float = CLOSE_S,
    ) -> None:
        place = _place(url)
        if not 1 <= batch <= 1000 or not 0 < timeout_s <= 600:
            raise ContractError(f"batch of 1 to 1000 and timeout_s of 0 to 600 wanted, got {batch}, {timeout_s}")
        secret = secret_of(secret_file, secret_env)
        spool = spool or token_path().parent / "spool" / f"webhook-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
        carrier = _Post(place, secret, batch, timeout_s, ca_file)
        super().__init__(f"webhook {place.hostname}", carrier, queue=queue, spool=spool, close_s=close_s)


def _place(url: str) -> SplitResult:
    """The address, of which no error says more than its scheme and host: its path may be a secret."""
    try:
        place = urlsplit(url)
        host, _ = place.hostname or "", place.port
    except ValueError:
        raise ContractError("url is no address") from None
    if place.scheme not in ("https", "http") or not host or place.username or place.password or not url.isascii() or not url.isprintable():
        raise ContractError("url wants https://HOST/PATH, in ASCII and without a password")
    if place.scheme == "http" and host not in ("127.0.0.1", "localhost", "::1"):
        raise ContractError(f"url wants https beyond this machine, got http://{host}")
    return place


class _Post:
    """One connection, kept open between requests."""

    def __init__(self, place: SplitResult, secret: bytes, batch: int, timeout_s: float, ca_file: Path | None) -> None:
        self.most, self._secret, self._place, self._timeout_s = batch, secret, place, timeout_s
        self._path = (place.path or "/") + (f"?{place.query}" if place.query else "")
        self._tls = ssl.create_default_context(cafile=ca_file) if place.scheme == "https" else None
        self._connection: http.client.HTTPConnection | None = None

    def carry(self, items: Sequence[Item]) -> Mapping[str, int]:
        body = b'{"decisions":[' + b",".join(item.body for item in items) + b"]}"
        status, after = self._ask(
            body, {"Content-Type": "application/json", "Idempotency-Key": key_of(items), **signed(body, self._secret)}
        )
        if 200 <= status < 300:
            return {}
        if 400 <= status < 500 and status not in AGAIN:
            return {f"answered {status}": len(items)}
        raise Undelivered(f"it answered {status}", after_ns=_after_ns(after))

    def _ask(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        """(status, Retry-After). Within timeout_s, however slowly a server talks."""
        limit = threading.Timer(self._timeout_s, self.cancel)
        limit.daemon = True
        limit.start()
        try:
            connection = self._connection = self._connection or self._connect()
            connection.request("POST", self._path, body, dict(headers))
            answer = connection.getresponse()
            answer.read(ANSWER_BYTES)
            if not answer.isclosed():  # there is more of it, which nobody wants
                self.close()
            return answer.status, answer.headers.get("Retry-After", "")
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise Undelivered(_why(error)) from None
        finally:
            limit.cancel()

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._place.hostname or "", self._place.port
        if self._tls is not None:
            return http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls)
        return http.client.HTTPConnection(host, port, timeout=self._timeout_s)

    def tell(self, status: Status) -> None:
        """A webhook is about decisions."""

    def idle(self) -> None:
        pass

    def cancel(self) -> None:
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def key_of(items: Sequence[Item]) -> str:
    """The id of one decision; of several a hash of theirs, equal for the same in the same order."""
    ids = [item.id for item in items]
    return ids[0] if len(ids) == 1 else hashlib.sha256("\0".join(ids).encode()).hexdigest()[:32]


def _after_ns(text: str) -> int:
    """Of a Retry-After: seconds, or a date."""
    if text.isascii() and text.isdigit():
        return min(int(text[:9]), MOST_AFTER_S) * SECOND
    with suppress(ValueError, TypeError, OverflowError):
        seconds = parsedate_to_datetime(text).timestamp() - wall_ns() / SECOND
        return round(min(max(seconds, 0), MOST_AFTER_S) * SECOND)
    return 0


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(error, http.client.RemoteDisconnected):
        return "it closed the connection without an answer"
    if isinstance(error, http.client.HTTPException | ValueError):
        return f"it does not talk HTTP ({type(error).__name__})"
    return f"it cannot be reached ({getattr(error, 'strerror', None) or type(error).__name__})"
