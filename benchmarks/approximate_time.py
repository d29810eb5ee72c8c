"""ROS 2's ApproximateTimeSynchronizer and Cache, re-implemented from their published behaviour, as the yardstick of faults.py.

Behaviour as of message_filters' Python package (github.com/ros2/message_filters, src/message_filters/__init__.py, rolling, 2025);
written anew, on integer nanoseconds:

- one queue per topic, keyed by stamp; beyond queue_size the oldest stamp is deleted, without a word;
- a new message looks at the other queues; stamps farther than `slop` from its own are passed over; a queue without any ends the search;
- of each queue the stamps in order of distance to the new one, all combinations in that order (itertools.product); the first whose
  greatest and least stamp are less than `slop` apart is emitted and removed; what is older stays until the queue pushes it out;
- nothing is ever emitted without a new message, and nothing is ever emitted with a part missing.

Python integers instead of rclpy's Time and Duration objects make this faster than the original: CPU figures are in the peer's favour.
`dropped` is our own count; the original has none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import product

from operators.packet import Packet

Match = tuple[Packet, ...]


class ApproximateTime:
    """Joins messages of `topics` whose stamps are within slop_ns of each other."""

    def __init__(self, topics: Sequence[str], *, queue_size: int, slop_ns: int) -> None:
        self._queues: dict[str, dict[int, Packet]] = {topic: {} for topic in topics}
        self._queue_size, self._slop_ns = queue_size, slop_ns
        self.dropped = 0

    def add(self, message: Packet) -> Match | None:
        """The joined messages in the order of the topics, or None."""
        stamp = message.start_ns
        own = self._queues[message.stream]
        own[stamp] = message
        while len(own) > self._queue_size:
            del own[min(own)]
            self.dropped += 1
        near = self._near(message.stream, stamp)
        return self._first_match(near, stamp, message.stream) if near is not None else None

    def _near(self, topic: str, stamp: int) -> list[list[int]] | None:
        """For each topic the stamps to try, nearest first; None if one has none."""
        near = []
        for other, queue in self._queues.items():
            stamps = [stamp] if other == topic else [s for s in queue if abs(s - stamp) <= self._slop_ns]
            if not stamps:
                return None
            near.append(sorted(stamps, key=lambda s: abs(s - stamp)))
        return near

    def _first_match(self, near: list[list[int]], stamp: int, topic: str) -> Match | None:
        if stamp not in self._queues[topic]:
            return None  # older than the whole full queue: it was pushed out by its own arrival
        for stamps in product(*near):
            if max(stamps) - min(stamps) < self._slop_ns:
                return tuple(queue.pop(s) for queue, s in zip(self._queues.values(), stamps, strict=True))
        return None


class Cache:
    """The newest `size` messages of a topic; looked up by stamp."""

    def __init__(self, size: int) -> None:
        self._messages: deque[Packet] = deque(maxlen=size)

    def add(self, message: Packet) -> None:
        self._messages.append(message)

    def before(self, stamp: int) -> Packet | None:
        """The newest message at or before stamp (getElemBeforeTime)."""
        return next((message for message in reversed(self._messages) if message.start_ns <= stamp), None)
