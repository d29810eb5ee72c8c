"""Edges between processes: ZeroMQ PUSH and PULL, one socket pair an input, over ipc:// in a private folder or tcp:// with keys.

ZeroMQ's own buffers are kept at a few messages, so that our EdgeQueue, not ZeroMQ, decides what is dropped. Closing throws
away what is under way (no linger): who must not lose anything keeps sending until it is told that all has arrived.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import zmq

from operators.packet import Dropped, Packet, StreamEvent
from pipeline.clock import Clock
from pipeline.runtime.edge import EdgePolicy, EdgeQueue
from pipeline.runtime.keys import Keys, receives, sends
from pipeline.runtime.wire import MAX_BODY, Envelope, WireError, decode, encode

__all__ = ["EdgePolicy", "EdgeReceiver", "EdgeSender", "Inbox", "Outbox"]

_HIGH_WATER = 4
_READABLE = int(zmq.POLLIN)  # an enum's own & costs more than the rest of the question
_BORROW_FROM = 32 << 10
"""Bodies from this size on are lent to ZeroMQ instead of copied; below it a copy is cheaper."""


def _socket(context: zmq.Context[Any], kind: int, high_water: int) -> zmq.Socket[Any]:
    socket: zmq.Socket[Any] = context.socket(kind)
    socket.linger = 0
    socket.sndhwm = socket.rcvhwm = high_water
    socket.immediate = 1  # nothing waits inside ZeroMQ for a peer that is not there
    socket.reconnect_ivl, socket.reconnect_ivl_max = 20, 200
    socket.maxmsgsize = MAX_BODY
    return socket


class EdgeSender:
    """The sending end. Only a lossless edge ever makes its caller wait (`full`). address: empty: it is told by `connect`."""

    def __init__(
        self,
        context: zmq.Context[Any],
        address: str,
        policy: EdgePolicy,
        clock: Clock,
        *,
        stream: int,
        generation: int,
        keys: Keys | None = None,
    ) -> None:
        self.queue = EdgeQueue(policy)
        self._clock, self._stream, self._generation = clock, stream, generation
        self._sent = 0
        self._socket = _socket(context, zmq.PUSH, _HIGH_WATER)
        sends(self._socket, keys)
        self._address = ""
        self.connect(address)

    def connect(self, address: str) -> None:
        """To the receiver there, and no longer to the one before."""
        if address and address != self._address:
            if self._address:
                self._socket.disconnect(self._address)
            self._socket.connect(address)
            self._address = address

    @property
    def full(self) -> bool:
        return self.queue.full

    def put(self, event: StreamEvent) -> list[Dropped]:
        """Queues the event and sends what the receiver will take; gives what was dropped for it."""
        return self.queue.put(event, self._clock.now_ns()) + self.flush()

    def flush(self) -> list[Dropped]:
        """Sends what the receiver will take, without waiting."""
        dropped: list[Dropped] = []
        while len(self.queue):
            item, stale = self.queue.get(self._clock.now_ns())
            dropped += stale
            if item is not None and not self._send(item.event, item.since_ns):
                self.queue.unget(item)
                break
        return dropped

    def wait(self, timeout_ms: int) -> None:
        """Until the receiver takes more, at most timeout_ms."""
        self._socket.poll(timeout_ms, zmq.POLLOUT)

    def close(self) -> None:
        self._socket.close(linger=0)

    def _send(self, event: StreamEvent, since_ns: int) -> bool:
        envelope = Envelope(event=event, stream=self._stream, generation=self._generation, index=self._sent, sent_ns=since_ns)
        if not self._socket.poll(0, zmq.POLLOUT):
            return False
        header, body = encode(envelope)
        try:
            self._socket.send(header, zmq.NOBLOCK | zmq.SNDMORE)
            self._socket.send(body, zmq.NOBLOCK, copy=len(body) < _BORROW_FROM)
        except zmq.Again:
            return False
        self._sent += isinstance(event, Packet)
        return True


@dataclass(slots=True)
class Received:
    """What one receiver counted: packets given on, packets missing between two that came, messages that did not decode."""

    packets: int = 0
    missing: int = 0
    repeated: int = 0
    bad: int = 0


@dataclass(slots=True)
class _Track:
    generation: int = -1
    next_index: int = 0
    counts: Received = field(default_factory=Received)


class EdgeReceiver:
    """The receiving end. replays True: a restarted sender begins again from its first packet, and what is known is left out."""

    def __init__(
        self, context: zmq.Context[Any], address: str, streams: tuple[str, ...], *, replays: bool, keys: Keys | None = None
    ) -> None:
        self._streams, self._replays = streams, replays
        self._track = _Track()
        self.socket = _socket(context, zmq.PULL, _HIGH_WATER)
        receives(self.socket, keys)
        self.socket.bind(address)

    @property
    def address(self) -> str:
        """Where its senders connect to: as it was told, with the port that it got."""
        return self.socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")

    @property
    def counts(self) -> Received:
        return self._track.counts

    def receive(self, most: int = 64) -> Iterator[Envelope | Dropped]:
        """What has come, up to `most` messages, without waiting; Dropped("bad_message") for what is none of ours."""
        for _ in range(most):
            if not int(self.socket.getsockopt(zmq.EVENTS)) & _READABLE:  # asked first: an exception costs as much as a message
                return
            parts = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
            try:
                envelope = _opened(parts, self._streams)
            except WireError:
                self.counts.bad += 1
                yield Dropped(stream="", reason="bad_message")
                continue
            if self._is_news(envelope):
                yield envelope

    def close(self) -> None:
        self.socket.close(linger=0)

    def _is_news(self, envelope: Envelope) -> bool:
        track, is_packet = self._track, isinstance(envelope.event, Packet)
        if self._replays and envelope.index < track.next_index:
            track.counts.repeated += is_packet
            return False
        if not self._replays and envelope.generation != track.generation:
            track.generation, track.next_index = envelope.generation, envelope.index
        if is_packet:
            track.counts.missing += max(0, envelope.index - track.next_index)
            track.counts.packets += 1
            track.next_index = envelope.index + 1
        return True


def _opened(parts: list[zmq.Frame], streams: tuple[str, ...]) -> Envelope:
    if len(parts) != 2:
        raise WireError(f"{len(parts)} parts")
    return decode(parts[0].buffer, parts[1].buffer, streams)


class Outbox:
    """Small JSON messages to the engine: reports that the next one replaces, and letters that must arrive."""

    def __init__(self, context: zmq.Context[Any], address: str, most: int = 10_000, keys: Keys | None = None) -> None:
        self._socket = _socket(context, zmq.PUSH, 256)
        sends(self._socket, keys)
        self._socket.connect(address)
        self._letters: deque[bytes] = deque()
        self._most = most
        self.dropped: Counter[str] = Counter()

    def report(self, message: Mapping[str, Any]) -> bool:
        """Sends it now or not at all."""
        return not self.flush() and self._send(_bytes(message))

    def letter(self, message: Mapping[str, Any]) -> None:
        """Sends it, in order, as soon as it is taken; the oldest are dropped and counted when too many wait."""
        self._letters.append(_bytes(message))
        self.flush()
        if len(self._letters) > self._most:
            self._letters.popleft()
            self.dropped["overflow"] += 1

    def flush(self) -> int:
        """Sends what is taken; gives how many letters still wait."""
        while self._letters and self._send(self._letters[0]):
            self._letters.popleft()
        return len(self._letters)

    @property
    def waiting(self) -> int:
        """Letters."""
        return len(self._letters)

    def wait(self, timeout_ms: int) -> None:
        self._socket.poll(timeout_ms, zmq.POLLOUT)

    def close(self) -> None:
        self._socket.close(linger=0)

    def _send(self, message: bytes) -> bool:
        try:
            self._socket.send(message, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True


class Inbox:
    """Where the engine gets them. What is no JSON object is counted in `bad`."""

    def __init__(self, context: zmq.Context[Any], address: str, keys: Keys | None = None) -> None:
        self.bad = 0
        self.socket = _socket(context, zmq.PULL, 256)
        receives(self.socket, keys)
        self.socket.bind(address)

    @property
    def address(self) -> str:
        """Where the others connect to."""
        return self.socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")

    def messages(self, timeout_ms: int, most: int = 1000) -> Iterator[dict[str, Any]]:
        """Waits up to timeout_ms for the first, then gives what is there."""
        if not self.socket.poll(timeout_ms):
            return
        for _ in range(most):
            try:
                raw = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            message = _parsed(raw)
            if message is None:
                self.bad += 1
            else:
                yield message

    def close(self) -> None:
        self.socket.close(linger=0)


def _bytes(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def _parsed(raw: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None
