"""What all text feeds have in common: lines out of bytes, bounded, and the box between a server's threads and the one that reads."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping

from operators.errors import ContractError
from operators.packet import TextSpan
from pipeline.live.captured import Captured, Happened, Lost, Now
from pipeline.live.link import LinkPolicy
from pipeline.live.source import Live
from pipeline.live.stream import StreamRules

STREAM = "text"
MAX_BYTES = 64 << 10
MAX_WAITING = 256
QUIET_NS = 50_000_000
POLL_S = 0.05

TextItem = Captured | Lost | Happened


class TextFeed(Live):
    """A live source of one stream, `text`, that is silent most of the time. Text holds from the moment we have it.

    max_bytes: longer texts are dropped and counted (oversize).
    """

    def __init__(self, label: str, *, max_bytes: int, policy: LinkPolicy | None = None, exclusive: bool = False) -> None:
        if not 1 <= max_bytes <= 16 << 20:
            raise ContractError(f"max_bytes of 1 to {16 << 20} wanted, got {max_bytes}")
        self.max_bytes = max_bytes
        rules = {STREAM: StreamRules(kind="text", quiet_ns=QUIET_NS)}
        super().__init__(label, rules, exclusive=exclusive, policy=policy or LinkPolicy(stall_ns=None))


def text_item(data: bytes, now_ns: Now, max_bytes: int) -> TextItem | None:
    """One text as it came, without the line's end; None: it is empty. Too long or not UTF-8: Lost."""
    if len(data) > max_bytes:
        return Lost(stream=STREAM, reason="oversize")
    try:
        text = data.decode("utf-8").strip("\r\n")
    except UnicodeDecodeError:
        return Lost(stream=STREAM, reason="bad_utf8")
    return Captured(stream=STREAM, payload=TextSpan(text=text), arrival_ns=now_ns(), length_ns=0) if text.strip() else None


class Lines:
    """Bytes in any chunks -> texts, one a line. A line that grows beyond max_bytes is skipped to its end and counted once."""

    def __init__(self, now_ns: Now, max_bytes: int) -> None:
        self._now_ns, self._max_bytes = now_ns, max_bytes
        self._open = b""
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[TextItem]:
        *whole, rest = data.split(b"\n")
        for line in whole:
            yield from self._line(line)
        self._open += rest
        if len(self._open) > self._max_bytes + 1:  # a carriage return more is not too long
            self._open, self._skipping = b"", True

    def end(self) -> Iterator[TextItem]:
        """What is left is a line too."""
        yield from self._line(b"")

    def _line(self, line: bytes) -> Iterator[TextItem]:
        data, self._open = (self._open + line).rstrip(b"\r"), b""
        if self._skipping:
            self._skipping = False
            yield Lost(stream=STREAM, reason="oversize")
        elif (item := text_item(data, self._now_ns, self._max_bytes)) is not None:
            yield item


class TextBox:
    """Texts from any thread to the one that reads; bounded, the oldest go first, counted."""

    def __init__(self, now_ns: Now, max_bytes: int, *, max_waiting: int = MAX_WAITING) -> None:
        self._now_ns, self._max_bytes = now_ns, max_bytes
        self._items: deque[TextItem] = deque()
        self._max_waiting = max_waiting
        self._counted: Counter[TextItem] = Counter()
        self._there = threading.Condition()

    def put(self, data: bytes) -> TextItem | None:
        """What became of it, for an answer to the sender."""
        item = text_item(data, self._now_ns, self._max_bytes)
        if isinstance(item, Captured):
            with self._there:
                self._items.append(item)
                while len(self._items) > self._max_waiting:
                    self._items.popleft()
                    self._counted[Lost(stream=STREAM, reason="capture_overflow")] += 1
                self._there.notify()
        elif item is not None:
            self.count(item)
        return item

    def count(self, item: TextItem) -> None:
        """Something that is counted, however often it happens: it takes no room."""
        with self._there:
            self._counted[item] += 1
            self._there.notify()

    def lost(self, reason: str) -> None:
        self.count(Lost(stream=STREAM, reason=reason))

    def happened(self, what: str) -> None:
        self.count(Happened(stream=STREAM, what=what))

    def take(self) -> list[TextItem]:
        """Waits up to POLL_S for the first."""
        with self._there:
            if not self._items and not self._counted:
                self._there.wait(POLL_S)
            items: list[TextItem] = []
            for item, count in self._counted.items():
                items += [Lost(stream=STREAM, reason=item.reason, count=count)] if isinstance(item, Lost) else [item] * min(count, 100)
            items += self._items
            self._items.clear()
            self._counted.clear()
            return items


class BoxConnection:
    """A connection whose texts come through a box; a subclass starts what fills it, and says whether it still lives."""

    def __init__(self, box: TextBox, detail: str) -> None:
        self.box = box
        self.details: Mapping[str, str] = {STREAM: detail}

    def alive(self) -> bool:
        return True

    def read(self, stop: threading.Event) -> Iterator[TextItem]:
        while not stop.is_set() and self.alive():
            yield from self.box.take()

    def close(self) -> None:
        """Ends what fills the box."""
