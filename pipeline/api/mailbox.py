"""What waits for one reader: bounded, the oldest go first, every drop counted by kind; of pictures only the newest of a stream waits."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_WAITING = 512


@dataclass(slots=True)
class Note:
    """One message, for any number of readers; written as JSON once, and only if one wants it."""

    kind: str
    message: Mapping[str, Any]
    _text: str = field(default="", repr=False)

    def text(self) -> str:
        if not self._text:
            self._text = json.dumps(self.message, separators=(",", ":"), ensure_ascii=False)
        return self._text


@dataclass(frozen=True, slots=True)
class Picture:
    """stream: of which it is the newest. frame: as it is sent."""

    stream: str
    frame: bytes
    kind: str = "picture"


Item = Note | Picture


class Mailbox:
    """Filled and emptied in one event loop. kinds: what is wanted, None: all. dropped: by kind, since its start."""

    def __init__(self, kinds: frozenset[str] | None = None, max_waiting: int = MAX_WAITING) -> None:
        self._notes: deque[Note] = deque()
        self._pictures: dict[str, Picture] = {}
        self._kinds, self._max_waiting = kinds, max_waiting
        self._there = asyncio.Event()
        self.dropped: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._notes) + len(self._pictures)

    def put(self, item: Item) -> None:
        if self._kinds is not None and item.kind not in self._kinds:
            return
        if isinstance(item, Picture):
            self.dropped[item.kind] += item.stream in self._pictures
            self._pictures[item.stream] = item
        else:
            self._notes.append(item)
            if len(self._notes) > self._max_waiting:
                self.dropped[self._notes.popleft().kind] += 1
        self._there.set()

    async def take(self) -> list[Item]:
        """Waits for the first, then gives all: notes in order, then pictures."""
        await self._there.wait()
        items: list[Item] = [*self._notes, *self._pictures.values()]
        self._notes.clear()
        self._pictures.clear()
        self._there.clear()
        return items
