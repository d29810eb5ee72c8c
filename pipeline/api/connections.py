"""Connections: how many there may be, how long a request may take to come in, and who gives way when there is no more room.

uvicorn bounds none of this. A connection that has not shown the token or the cookie yet is on probation: when all places are taken, the
one that is so for longest gives its place to a new one. So half-open connections cannot keep anybody out, and a flood of them only
themselves. Every connection is counted from its accept on, under TLS before the handshake, until its socket is closed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

CLOSING_S = 5.0
"""So long may the rest of an answer take to be read after the connection was closed by us."""
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@dataclass(slots=True, eq=False)
class _Place:
    transport: asyncio.Transport
    address: tuple[str, int]
    since_s: float
    proved: bool = False
    closing_since_s: float | None = None

    @property
    def closed(self) -> bool:
        socket = self.transport.get_extra_info("socket")
        return socket is None or socket.fileno() < 0


class Places:
    """most: connections at a time, and of one address. now_s: of the event loop. refused: by reason."""

    def __init__(self, most: int, most_of_one: int, now_s: Callable[[], float]) -> None:
        self._most, self._most_of_one, self._now_s = most, most_of_one, now_s
        self._places: list[_Place] = []
        self.refused: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._places)

    def take(self, transport: asyncio.Transport) -> bool:
        """False: there is no room; the caller closes it."""
        self.sweep()
        peer = transport.get_extra_info("peername") or ("", 0)
        address = (str(peer[0]), int(peer[1]))
        same = [place for place in self._places if place.address[0] == address[0]]
        if len(same) >= self._most_of_one and not self._evict(same, "address_connections"):
            return False
        if len(self._places) >= self._most and not self._evict(self._places, "connections"):
            return False
        self._places.append(_Place(transport, address, self._now_s()))
        return True

    def proved(self, address: tuple[str, int]) -> None:
        """A request of this connection showed the token or the cookie."""
        for place in self._places:
            if place.address == address:
                place.proved = True

    def _evict(self, among: list[_Place], why: str) -> bool:
        self.refused[why] += 1
        for place in among:  # oldest first
            if not place.proved:
                place.transport.abort()
                self._places.remove(place)
                return True
        return False

    def sweep(self) -> None:
        """Forgets those that are closed, and ends those whose last bytes nobody reads."""
        now_s = self._now_s()
        for place in self._places:
            if place.transport.is_closing() and place.closing_since_s is None:
                place.closing_since_s = now_s
            if place.closing_since_s is not None and now_s - place.closing_since_s > CLOSING_S:
                place.transport.abort()
        self._places = [place for place in self._places if not place.closed]


class Patient(H11Protocol):
    """HTTP/1.1 where the head of a request must have come within `patience_s` of its first byte, or of the connection."""

    patience_s: float
    refused: Counter[str]
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        if self._waiting is None and self.conn.their_state is h11.IDLE:
            self._wait()
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self.refused["malformed"] += 1
        super().send_400_response(msg)

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(self.patience_s, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _too_slow(self) -> None:
        self.refused["slow_head"] += 1
        self.transport.abort()


class Door(asyncio.Protocol):
    """What a connection meets first: a place, or a refusal; then TLS, and then HTTP takes over."""

    def __init__(self, places: Places, http: Callable[[], asyncio.Protocol], context: ssl.SSLContext | None, patience_s: float) -> None:
        self._places, self._http, self._context, self._patience_s = places, http, context, patience_s
        self._handshake: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        plain = cast("asyncio.Transport", transport)
        if not self._places.take(plain):
            if self._context is None:
                plain.write(BUSY)
                plain.close()
            else:
                plain.abort()
        elif self._context is None:
            _hand_over(plain, self._http())
        else:
            plain.pause_reading()  # until TLS takes over
            self._handshake = asyncio.ensure_future(self._secure(plain, self._context))

    async def _secure(self, plain: asyncio.Transport, context: ssl.SSLContext) -> None:
        loop, held = asyncio.get_running_loop(), _Held()
        try:
            secured = await loop.start_tls(plain, held, context, server_side=True, ssl_handshake_timeout=self._patience_s)
        except (OSError, asyncio.CancelledError):  # ssl.SSLError and the time-out are OSErrors
            self._places.refused["handshake"] += 1
            plain.abort()
            return
        if secured is None:
            plain.abort()
            return
        http = self._http()
        _hand_over(secured, http)
        for data in held.data:
            http.data_received(data)


class _Held(asyncio.Protocol):
    """Keeps what came together with the end of the handshake, before HTTP is there to take it."""

    def __init__(self) -> None:
        self.data: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.data.append(data)


def _hand_over(transport: asyncio.Transport, protocol: asyncio.Protocol) -> None:
    transport.set_protocol(protocol)
    protocol.connection_made(transport)


def patient(patience_s: float, refused: Counter[str]) -> type[Any]:
    """The class that uvicorn makes a protocol of for each connection."""
    return type("PatientProtocol", (Patient,), {"patience_s": patience_s, "refused": refused})
