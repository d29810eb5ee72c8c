"""What is still known of packets that have left a stream's buffer: when the newest started and ended, and which span overflowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from operators.packet import Packet
from operators.takes import NEVER, Take

Stamp = tuple[int, int, int]
"""start_ns, seq, end_ns of a packet; the greater one is the newer one."""

NO_STAMP: Stamp = (-NEVER, 0, 0)


def stamp_of(packet: Packet) -> Stamp:
    return packet.start_ns, packet.seq, packet.end_ns


class Stamps:
    """The newest of the packets that left, as each window that may still go out would see it.

    A packet may leave before its time (it came late and no window needs it), so one stamp is kept for the oldest window to come
    and one more for each later window which first saw such a packet.
    """

    __slots__ = ("_ahead", "_newest")

    def __init__(self) -> None:
        self._newest = NO_STAMP
        self._ahead: dict[int, Stamp] = {}

    def note(self, packet: Packet) -> None:
        """A packet that every window to come starts after, or has seen."""
        self._newest = max(self._newest, stamp_of(packet))

    def note_ahead(self, packet: Packet, window: int) -> None:
        """A packet that only the windows from `window` on see."""
        self._ahead[window] = max(self._ahead.get(window, NO_STAMP), stamp_of(packet))

    def advance(self, window: int) -> None:
        """No window before this one will go out."""
        if self._ahead:
            for seen in [seen for seen in self._ahead if seen <= window]:
                self._newest = max(self._newest, self._ahead.pop(seen))

    def before(self, time_ns: int) -> Stamp:
        """The newest that started before time_ns; NO_STAMP if there is none."""
        newest = self._newest if self._newest[0] < time_ns else NO_STAMP
        if self._ahead:
            newest = max([newest, *(stamp for stamp in self._ahead.values() if stamp[0] < time_ns)])
        return newest

    def snapshot(self) -> dict[str, Any]:
        return {"newest": list(self._newest), "ahead": [[window, *stamp] for window, stamp in self._ahead.items()]}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._newest = _stamp(*state["newest"])
        self._ahead = {window: _stamp(*stamp) for window, *stamp in state["ahead"]}


def _stamp(start_ns: int, seq: int, end_ns: int) -> Stamp:
    return start_ns, seq, end_ns


class Tear:
    """The span that an overflow took out of a stream: no window over it is complete."""

    __slots__ = ("from_ns", "newest", "to_ns")

    def __init__(self) -> None:
        self.from_ns = self.to_ns = -NEVER
        self.newest = NO_STAMP

    def add(self, packet: Packet, take: Take, floor_ns: int) -> None:
        """floor_ns: start of the oldest window that may still go out; a tear that lies behind it is over."""
        if self.to_ns <= floor_ns + take.before_ns:
            self.from_ns = packet.start_ns
        self.from_ns = min(self.from_ns, packet.start_ns)
        self.to_ns = max(self.to_ns, take.holds_until_ns(packet))
        self.newest = max(self.newest, stamp_of(packet))

    def reaches(self, take: Take, window_ns: int) -> bool:
        """Something was lost that this window could have had."""
        return self.to_ns > window_ns + take.before_ns and self.from_ns < window_ns + take.reach_ns

    def snapshot(self) -> list[int]:
        return [self.from_ns, self.to_ns, *self.newest]

    def restore(self, state: list[int]) -> None:
        self.from_ns, self.to_ns = state[:2]
        self.newest = _stamp(*state[2:])
