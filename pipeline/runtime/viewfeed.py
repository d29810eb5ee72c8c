"""The socket of the live view: who watches a session, and what goes to them.

    Feed (one a process of a session, XPUB) ----> whoever binds `Wires.view` (SUB): the API, for its page

It never waits: what is not taken is dropped and counted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import zmq

HIGH_WATER = 64
"""Messages that wait for a watcher who is slow: about a second."""


def topic(session: str) -> bytes:
    """What to subscribe to. No session's topic begins with another's."""
    return session.encode() + b"\n"


class Feed:
    """The socket: who watches, and what goes to them. An empty address: nobody, ever."""

    def __init__(self, context: zmq.Context[Any], address: str, session: str) -> None:
        self._topic = topic(session)
        self._wanted: set[bytes] = set()
        self._socket = _publisher(context, address) if address else None
        self.watched = False
        self.dropped = 0

    def look(self) -> None:
        """Brings `watched` up to date."""
        while self._socket is not None and int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN:
            said = self._socket.recv(zmq.NOBLOCK)
            if said[:1] == b"\x01":
                self._wanted.add(said[1:])
            else:
                self._wanted.discard(said[1:])
        self.watched = any(self._topic.startswith(wanted) for wanted in self._wanted)

    def send(self, header: Mapping[str, Any], body: bytes = b"") -> None:
        """Now or not at all."""
        if self._socket is None:
            return
        try:
            self._socket.send_multipart([self._topic, json.dumps(header, separators=(",", ":")).encode(), body], zmq.NOBLOCK)
        except zmq.Again:
            self.dropped += 1

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close(linger=0)


def _publisher(context: zmq.Context[Any], address: str) -> zmq.Socket[Any]:
    socket: zmq.Socket[Any] = context.socket(zmq.XPUB)
    socket.linger = 0
    socket.sndhwm = HIGH_WATER
    socket.setsockopt(zmq.XPUB_NODROP, 1)  # so that what is dropped can be counted
    socket.immediate = 1  # a watcher who is gone is unsubscribed, and nothing waits for the next
    socket.reconnect_ivl, socket.reconnect_ivl_max = 100, 1000
    socket.connect(address)
    return socket
