"""An edge between two operators: its delivery policy, and the bounded queue that carries it out.

Pure: time comes in as an argument. Packets may be dropped, by reason and counted; promises (Watermark, Closed) never are.
Two promises with no packet between them are one: only the newer is kept, in the newer's place, so none comes early.

    entered == left + sum(dropped.values()) + waiting        at any moment, packets only
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from operators.errors import ContractError
from operators.packet import Dropped, Packet, StreamEvent, Watermark

Delivery = Literal["lossless", "latest", "drop_oldest", "throttle"]
"""What happens to packets that the receiver does not take at once.

lossless     nothing is dropped: the sender waits. For files read faster than real time.
latest       only the newest packet waits ("superseded").
drop_oldest  the oldest go beyond max_packets or max_bytes ("overflow").
throttle     at most per_second packets of stream time go in ("throttled"); beyond that as drop_oldest.
All but lossless also drop what has waited longer than max_age_ns ("stale").
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgePolicy:
    """A Delivery and its bounds. per_second is for throttle only; max_age_ns None: any age."""

    policy: Delivery = "drop_oldest"
    max_packets: int = 64
    max_bytes: int = 8 << 20
    max_age_ns: int | None = 1_000_000_000
    per_second: float | None = None

    def __post_init__(self) -> None:
        if self.max_packets < 1 or self.max_bytes < 1 or (self.max_age_ns is not None and self.max_age_ns <= 0):
            raise ContractError(f"max_packets >= 1, max_bytes >= 1, max_age_ns > 0 wanted, got {self}")
        if (self.policy == "throttle") != (self.per_second is not None and self.per_second > 0):
            raise ContractError(f"per_second > 0 goes with throttle and only with it, got {self}")


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event in the queue since since_ns."""

    event: StreamEvent
    nbytes: int
    since_ns: int


class EdgeQueue:
    """What waits at the sending end of one edge, in order."""

    def __init__(self, policy: EdgePolicy) -> None:
        self.policy = policy
        self.entered = 0
        self.left = 0
        self.dropped: Counter[str] = Counter()
        self._queue: deque[Waiting] = deque()
        self._packets = 0
        self._bytes = 0
        self._next_start_ns: int | None = None

    @property
    def waiting(self) -> int:
        """Packets in the queue."""
        return self._packets

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def full(self) -> bool:
        """A lossless edge that wants its sender to wait; other policies make room by dropping."""
        return self.policy.policy == "lossless" and (self._packets >= self.policy.max_packets or self._bytes >= self.policy.max_bytes)

    def put(self, event: StreamEvent, now_ns: int) -> list[Dropped]:
        """Takes the event in; gives what had to go for it (perhaps the event itself)."""
        if not isinstance(event, Packet):
            self._queue.append(Waiting(event, 0, now_ns))
            self._merge_promises(len(self._queue) - 2)
            return []
        self.entered += 1
        if self._throttles(event):
            return [self._count(event, "throttled")]
        self._queue.append(Waiting(event, event.nbytes, now_ns))
        self._packets += 1
        self._bytes += event.nbytes
        return list(self._make_room(now_ns))

    def get(self, now_ns: int) -> tuple[Waiting | None, list[Dropped]]:
        """The next to send, or None; and the packets found too old on the way."""
        stale = list(self._drop_stale(now_ns))
        if not self._queue:
            return None, stale
        item = self._queue.popleft()
        if isinstance(item.event, Packet):
            self._forget(item)
            self.left += 1
        return item, stale

    def unget(self, item: Waiting) -> None:
        """Puts back, in front, what `get` gave and the transport did not take."""
        self._queue.appendleft(item)
        if isinstance(item.event, Packet):
            self._packets += 1
            self._bytes += item.nbytes
            self.left -= 1

    def _throttles(self, packet: Packet) -> bool:
        if self.policy.per_second is None:
            return False
        if self._next_start_ns is not None and packet.start_ns < self._next_start_ns:
            return True
        step_ns = round(1e9 / self.policy.per_second)
        # From the last due instant, not from this packet: else 30 fps throttled to 20 would give 15.
        due_ns = packet.start_ns if self._next_start_ns is None else max(self._next_start_ns, packet.start_ns - step_ns)
        self._next_start_ns = due_ns + step_ns
        return False

    def _make_room(self, now_ns: int) -> Iterator[Dropped]:
        if self.policy.policy == "lossless":
            return
        most = 1 if self.policy.policy == "latest" else self.policy.max_packets
        reason = "superseded" if self.policy.policy == "latest" else "overflow"
        while self._packets > most:
            yield self._drop_oldest(reason)
        while self._bytes > self.policy.max_bytes:
            yield self._drop_oldest("overflow")
        yield from self._drop_stale(now_ns)

    def _drop_stale(self, now_ns: int) -> Iterator[Dropped]:
        if self.policy.policy == "lossless" or self.policy.max_age_ns is None:
            return
        while (oldest := self._oldest()) is not None and now_ns - self._queue[oldest].since_ns > self.policy.max_age_ns:
            yield self._drop_oldest("stale")

    def _oldest(self) -> int | None:
        # At most the few promises of one stream stand before the oldest packet: they are merged.
        return next((i for i, item in enumerate(self._queue) if isinstance(item.event, Packet)), None)

    def _drop_oldest(self, reason: str) -> Dropped:
        index = self._oldest()
        assert index is not None  # noqa: S101 (callers count packets)
        item = self._queue[index]
        del self._queue[index]
        self._forget(item)
        self._merge_promises(index - 1)
        assert isinstance(item.event, Packet)  # noqa: S101
        return self._count(item.event, reason)

    def _merge_promises(self, index: int) -> None:
        if 0 <= index < len(self._queue) - 1:
            first, second = self._queue[index].event, self._queue[index + 1].event
            if isinstance(first, Watermark) and isinstance(second, Watermark) and first.stream == second.stream:
                del self._queue[index]

    def _forget(self, item: Waiting) -> None:
        self._packets -= 1
        self._bytes -= item.nbytes

    def _count(self, packet: Packet, reason: str) -> Dropped:
        self.dropped[reason] += 1
        return Dropped(stream=packet.stream, reason=reason, start_ns=packet.start_ns)
