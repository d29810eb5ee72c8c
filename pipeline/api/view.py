"""The live view: pictures, levels and texts that actors publish while somebody looks, taken in over ZeroMQ and given to the listeners.

A session is subscribed to only while a page shows it: its actors make nothing otherwise.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import zmq
import zmq.asyncio

from pipeline.api.mailbox import Item, Note, Picture

HIGH_WATER = 64
MAX_BYTES = 256 << 10
KINDS = ("picture", "level", "text", "marks")


class View:
    """address: ipc://... that actors connect to. give: (session, item) for every message. run(), close()."""

    def __init__(self, address: str, give: Callable[[str, Item], None]) -> None:
        self._give = give
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, HIGH_WATER)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_BYTES)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(address)
        self._watched: Counter[str] = Counter()
        self.taken: Counter[str] = Counter()
        self.unfit = 0

    @contextmanager
    def watched(self, session: str) -> Iterator[None]:
        """Its actors publish as long as the context lasts."""
        self._watched[session] += 1
        if self._watched[session] == 1:
            self._socket.setsockopt(zmq.SUBSCRIBE, topic(session))
        try:
            yield
        finally:
            self._watched[session] -= 1
            if not self._watched[session]:
                del self._watched[session]
                self._socket.setsockopt(zmq.UNSUBSCRIBE, topic(session))

    async def run(self) -> None:
        """For ever."""
        while True:
            self.take(await self._socket.recv_multipart())

    def take(self, parts: list[bytes]) -> None:
        """What is no message of the view is counted, and passed over."""
        read = message_of(parts)
        if read is None:
            self.unfit += 1
            return
        session, header, body = read
        kind = str(header["kind"])
        self.taken[kind] += 1
        if kind == "picture":
            self._give(session, Picture(f"{header.get('source')}.{header.get('stream')}", framed(header, body)))
        else:
            self._give(session, Note(kind, {"type": kind, **{name: value for name, value in header.items() if name != "kind"}}))

    def close(self) -> None:
        self._socket.close(0)
        self._context.term()


def topic(session: str) -> bytes:
    """Ends with a byte that no name has, so that one session's is not the beginning of another's."""
    return session.encode() + b"\n"


def message_of(parts: list[bytes]) -> tuple[str, dict[str, Any], bytes] | None:
    """(session, header, body); None: it is none."""
    if len(parts) != 3 or not parts[0].endswith(b"\n"):
        return None
    with contextlib.suppress(ValueError, RecursionError):
        header = json.loads(parts[1])
        if isinstance(header, dict) and header.get("kind") in KINDS:
            return parts[0][:-1].decode("utf-8", "replace"), header, parts[2]
    return None


def framed(header: dict[str, Any], body: bytes) -> bytes:
    """A picture as one binary frame: 4 bytes big-endian length of the header, the header as JSON, the JPEG."""
    head = json.dumps(header, separators=(",", ":")).encode()
    return len(head).to_bytes(4, "big") + head + body
