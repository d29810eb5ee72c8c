"""What a window sees of one stream: the five takes of StreamRule in three classes.

    before     key      reach
 -----|---------|---------|------>  offsets from the window's start
 for nearest and interpolate:      for latest and state:        for window:
   before = centre - tolerance       before = length - 1          before = 0
   key    = centre                   key    = length - 1          no key
   reach  = centre + tolerance + 1   reach  = length              reach  = length

A packet matters to a window only if it starts before `reach` and holds beyond `before`; of the packets that start
at or before `key` only the newest matters. This is said once, here, and used for looking up, for forgetting,
for judging late packets and for the windows that an overflow damaged. Of several packets with one start, the takes
that choose take the one with the greatest seq.
"""

from __future__ import annotations

from typing import Protocol

from operators.buffer import PacketBuffer, past_end_ns
from operators.packet import Packet
from operators.window import StreamRule

NEVER = 1 << 62
"""Later than any session; -NEVER is earlier than any."""


class Take(Protocol):
    """Offsets are from a window's start, times are on the session timeline; indices are of the buffer."""

    reach_ns: int
    before_ns: int
    key_ns: int
    """-NEVER for window, which has none."""
    replaces: bool
    """A packet ends the one before it, even if it does not last itself."""
    settles_early: bool
    """settled_ns looks at newest_ns."""

    def holds_until_ns(self, packet: Packet) -> int:
        """The packet matters to a window only if this is later than the window's `before`."""
        ...

    def shadow_ns(self, start_ns: int, window_ns: int) -> int:
        """A packet that starts at start_ns is of no use to this window or a later one if a newer one starts before this."""
        ...

    def pick(self, buffer: PacketBuffer, window_ns: int) -> tuple[Packet, ...]:
        """The window's packets, in order of start."""
        ...

    def keep_from(self, buffer: PacketBuffer, window_ns: int) -> int:
        """Packets before this index matter neither to the window that starts at window_ns nor to any later one."""
        ...

    def settled_ns(self, promise_ns: int, newest_ns: int) -> int:
        """Windows that start at or before this can no longer change.

        promise_ns: no packet to come starts before it. newest_ns: the newest start before promise_ns that is known.
        """
        ...


class WindowTake:
    """Every packet that overlaps the window."""

    key_ns = -NEVER
    replaces = False
    settles_early = False

    def __init__(self, rule: StreamRule, length_ns: int) -> None:
        self.reach_ns = length_ns
        self.before_ns = 0

    def holds_until_ns(self, packet: Packet) -> int:
        return past_end_ns(packet)

    def shadow_ns(self, start_ns: int, window_ns: int) -> int:
        return start_ns

    def pick(self, buffer: PacketBuffer, window_ns: int) -> tuple[Packet, ...]:
        return buffer.overlapping(window_ns, window_ns + self.reach_ns)

    def keep_from(self, buffer: PacketBuffer, window_ns: int) -> int:
        return buffer.index_ending_after(window_ns)

    def settled_ns(self, promise_ns: int, newest_ns: int) -> int:
        return promise_ns - self.reach_ns


class HoldTake:
    """latest and state: the newest packet that starts before the end, while it holds."""

    replaces = True
    settles_early = False

    def __init__(self, rule: StreamRule, length_ns: int) -> None:
        self.reach_ns = length_ns
        self.before_ns = self.key_ns = length_ns - 1
        self._ttl_ns = rule.ttl_ns
        self._state = rule.take == "state"

    def holds_until_ns(self, packet: Packet) -> int:
        """state: its own end (if it has a length) or its start plus the ttl; latest: its end plus the ttl."""
        if not self._state:
            return NEVER if self._ttl_ns is None else packet.end_ns + self._ttl_ns
        ends_ns = packet.end_ns if packet.end_ns > packet.start_ns else NEVER
        return ends_ns if self._ttl_ns is None else min(ends_ns, packet.start_ns + self._ttl_ns)

    def shadow_ns(self, start_ns: int, window_ns: int) -> int:
        return max(start_ns + 1, window_ns + self.reach_ns)

    def pick(self, buffer: PacketBuffer, window_ns: int) -> tuple[Packet, ...]:
        index = buffer.index_from(window_ns + self.reach_ns) - 1
        if index < buffer.first or self.holds_until_ns(buffer[index]) <= window_ns + self.before_ns:
            return ()
        return (buffer[index],)

    def keep_from(self, buffer: PacketBuffer, window_ns: int) -> int:
        index = buffer.index_from(window_ns + self.reach_ns) - 1
        if index < buffer.first:
            return buffer.first
        return index + (self.holds_until_ns(buffer[index]) <= window_ns + self.before_ns)

    def settled_ns(self, promise_ns: int, newest_ns: int) -> int:
        return promise_ns - self.reach_ns


class CentreTake:
    """nearest and interpolate: what starts around the window's centre, start + length // 2."""

    replaces = False
    settles_early = True

    def __init__(self, rule: StreamRule, length_ns: int) -> None:
        self._centre_ns = length_ns // 2
        self._tolerance_ns = rule.tolerance_ns
        self._ends_at_ns = min(length_ns, self._centre_ns + rule.tolerance_ns + 1)
        self._interpolate = rule.take == "interpolate"
        self.reach_ns = self._centre_ns + rule.tolerance_ns + 1
        self.before_ns = self._centre_ns - rule.tolerance_ns
        self.key_ns = self._centre_ns

    def holds_until_ns(self, packet: Packet) -> int:
        return packet.start_ns + 1

    def shadow_ns(self, start_ns: int, window_ns: int) -> int:
        """Up to the centre; for nearest as far beyond it as the packet lies before it (a tie goes to the earlier)."""
        centre_ns = window_ns + self._centre_ns
        mirrored_ns = start_ns if self._interpolate else 2 * centre_ns - start_ns
        return max(start_ns + 1, centre_ns + 1, mirrored_ns)

    def pick(self, buffer: PacketBuffer, window_ns: int) -> tuple[Packet, ...]:
        centre_ns = window_ns + self._centre_ns
        after = buffer.index_after(centre_ns)
        left_ns = centre_ns - buffer.start_ns(after - 1) if after > buffer.first else NEVER
        right_ns = buffer.start_ns(after) - centre_ns if after < buffer.last else NEVER
        left, right = left_ns <= self._tolerance_ns, right_ns <= self._tolerance_ns
        if left and (left_ns == 0 or (not self._interpolate and left_ns <= right_ns)):
            return (buffer[after - 1],)
        if not right or (self._interpolate and not left):
            return ()
        following = buffer[buffer.index_after(centre_ns + right_ns) - 1]
        return (buffer[after - 1], following) if self._interpolate else (following,)

    def keep_from(self, buffer: PacketBuffer, window_ns: int) -> int:
        newest = buffer.index_after(window_ns + self._centre_ns) - 1
        return max(newest, buffer.index_from(window_ns + self.before_ns))

    def settled_ns(self, promise_ns: int, newest_ns: int) -> int:
        """By the promise up to centre + tolerance; or earlier, once no packet to come can be nearer than one that is here.

        With the newest start f before the promise P: a packet to come lies at P or later, so it is behind f for each centre
        up to f (interpolate has its bracket), and farther than f for each centre up to (f + P) / 2 (a tie goes to f).
        Not before the promise reaches the window's end, though: the age in the slot is judged there.
        """
        by_promise_ns = promise_ns - self.reach_ns
        early_ns = (newest_ns if self._interpolate else (newest_ns + promise_ns) // 2) - self._centre_ns
        return max(by_promise_ns, min(early_ns, promise_ns - self._ends_at_ns))


def take_of(rule: StreamRule, length_ns: int) -> Take:
    if rule.take == "window":
        return WindowTake(rule, length_ns)
    return HoldTake(rule, length_ns) if rule.take in ("latest", "state") else CentreTake(rule, length_ns)
