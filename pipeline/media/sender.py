"""One clock for the streams of a sender: by its own stamps, corrected by its wall clock as soon as it tells it (RTCP sender reports)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

REANCHOR_NS = 1_000_000
"""What changes by less is the sender's own jitter."""


class SenderClock:
    """streams: the first of them keeps its stamps, the others are moved to where the sender's wall clock puts them beside it.

    Before the first report nothing says how the streams' stamps belong together: they are taken as they are (provisional).
    """

    def __init__(self, streams: Sequence[str]) -> None:
        self.streams = tuple(streams)
        self._wall: dict[str, int] = {}  # wall clock minus stamp
        self._moved: dict[str, int] = {}

    @property
    def quality(self) -> Literal["ntp", "device"]:
        return "ntp" if all(name in self._wall for name in self.streams) else "device"

    def told(self, stream: str, stamp_ns: int, wall_ns: int) -> bool:
        """The sender's wall clock at one of its stamps. True: a stream has been moved, so its stamps jump once."""
        self._wall[stream] = wall_ns - stamp_ns
        if self.quality != "ntp":
            return False
        first = self.streams[0]
        jumped = False
        for name in self.streams[1:]:
            by_ns = self._wall[name] - self._wall[first]
            if abs(by_ns - self._moved.get(name, 0)) > REANCHOR_NS:
                self._moved[name] = by_ns
                jumped = True
        return jumped

    def device_ns(self, stream: str, stamp_ns: int) -> int:
        return stamp_ns + self._moved.get(stream, 0)
