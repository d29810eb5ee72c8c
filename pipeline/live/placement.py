"""Compressed packets of a live stream on the session's timeline: each starts when the picture or sound does that was decoded from it.

Only what was decoded has a place in the session, and a decoder gives pictures later than their packets, in another order. So packets
wait, in order of decoding, until their stamp or a later one has been placed:

 came        I0   P3   B1        B2                 waiting for their pictures, bounded
 placed                     0         1   2   3     what was decoded and went into the run, by stamp
 to the tap                 I0                P3 B1 B2

What never went into the run (damaged, refused, too late) is never placed. A picture's packet is kept nevertheless, where its stamp lies
from the next picture that was placed: later ones are made of it. Sound's is left out: a gap in the log is one in the media.
"""

from __future__ import annotations

from collections import deque

from pipeline.live.captured import Compressed
from pipeline.ports import MediaTap

MOST_WAITING = 512
MOST_BYTES = 16 << 20
REORDERED = 32
"""No decoder holds back more: what waits behind so many has been given up by it."""
NEAR_NS = 10_000_000_000
"""Stamps that lie further apart are of two lines of the device's clock."""
USUAL_NS = 33_333_333
APART_NS = 3_000_000
"""No two pictures that are placed start closer together: in a file, whose stamps are milliseconds, they could not be told apart."""


class Placement:
    """Of one stream. gaps: only what was placed is given. All calls come from the thread that the tap is called in."""

    def __init__(self, stream: str, tap: MediaTap, *, gaps: bool) -> None:
        self._stream, self._tap, self._gaps = stream, tap, gaps
        self._waiting: deque[Compressed] = deque()
        self._bytes = 0
        self._starts: dict[int, int] = {}
        self._newest = (0, 0)
        self._whole = True

    def came(self, item: Compressed) -> None:
        """After a gap nothing can be decoded until the next key frame, so nothing before it is kept."""
        if not self._whole and not item.packet.is_keyframe:
            return
        self._whole = True
        self._waiting.append(item)
        self._bytes += item.packet.size
        if len(self._waiting) > MOST_WAITING or self._bytes > MOST_BYTES:
            self.gap()

    def placed(self, stamp_ns: int, start_ns: int) -> None:
        """What was decoded from the packet with this stamp starts at start_ns of the session."""
        self._starts[stamp_ns] = start_ns
        self._newest = (stamp_ns, start_ns)
        if len(self._starts) > REORDERED:
            del self._starts[next(iter(self._starts))]
        while (first_ns := self._first_ns()) is not None:
            if first_ns > stamp_ns and first_ns not in self._starts and len(self._waiting) <= REORDERED:
                return
            self._next(first_ns)

    def gap(self) -> None:
        """Packets are missing from here on."""
        self._clear()
        self._whole = False

    def end(self) -> None:
        """Nothing more comes by this connection: what was placed goes, with what it is decoded from; the rest was never seen."""
        while any(item.stamp_ns in self._starts for item in self._waiting) and (first_ns := self._first_ns()) is not None:
            self._next(first_ns)
        self._clear()

    def _next(self, first_ns: int) -> None:
        item = self._waiting.popleft()
        self._bytes -= item.packet.size
        if first_ns in self._starts:
            self._give(item, self._starts[first_ns])
        elif not self._gaps:
            self._give(item, self._near_ns(item, first_ns))

    def _near_ns(self, item: Compressed, first_ns: int) -> int:
        """Where one that was never placed starts: as far from the newest as by its stamp, and decoded before the next that was placed is.

        A sender whose stamps went back has it otherwise behind pictures that were made after it; and a file's packets stand in order.
        """
        stamp_ns, start_ns = self._newest
        away_ns = first_ns - stamp_ns
        near_ns = start_ns + (away_ns if abs(away_ns) <= NEAR_NS else 0)
        for later in self._waiting:
            if later.stamp_ns in self._starts:
                return min(near_ns, self._starts[later.stamp_ns] - later.lead_ns + item.lead_ns - APART_NS)
        return near_ns

    def _clear(self) -> None:
        self._waiting.clear()
        self._starts.clear()
        self._bytes = 0

    def _first_ns(self) -> int | None:
        """The stamp of the first that waits; one without (the first of an RTSP session) lies its own length before the next."""
        before_ns = 0
        for item in self._waiting:
            if item.stamp_ns is not None:
                return item.stamp_ns - before_ns
            before_ns += item.duration_ns or USUAL_NS
        return None

    def _give(self, item: Compressed, start_ns: int) -> None:
        # What lies before the session (a backlog) is kept for the sake of what is decoded after it.
        times_ns = max(0, start_ns), max(0, start_ns - item.lead_ns), item.duration_ns
        self._tap.packet(self._stream, item.packet, item.template, times_ns)
