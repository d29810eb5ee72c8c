"""Packets of one stream in order of (start_ns, seq), and how they are found.

Everything is found by bisection: on the starts, and on the running maximum of the ends, which is sorted too
whatever the ends themselves are. What left at the front is cut off in bulk, so that a packet costs O(log n) in its life.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

from operators.packet import Packet, TextSpan

PACKET_BYTES = 512
"""Counted for each packet beside its payload: about what the objects around an array cost, so that empty packets are bounded too."""

_GONE = Packet(stream="", seq=-1, start_ns=0, end_ns=0, payload=TextSpan(text=""))


def past_end_ns(packet: Packet) -> int:
    """The first instant that is not the packet's; an instant t is taken as [t, t + 1)."""
    return packet.end_ns if packet.end_ns > packet.start_ns else packet.start_ns + 1


class PacketBuffer:
    """Sorted packets; indices run from `first` to `last` (exclusive) and are valid until the next change.

    bytes: payloads plus PACKET_BYTES for each packet.
    """

    __slots__ = ("_nested_ns", "_packets", "_scan_from", "_sizes", "_starts", "_tops", "bytes", "first")

    def __init__(self, packets: Sequence[Packet] = (), scan_from: int = 16) -> None:
        self.first = 0
        self.bytes = 0
        self._starts: list[int] = []
        self._tops: list[int] = []  # greatest past_end_ns up to here; packets that were forgotten may count
        self._packets: list[Packet] = []
        self._sizes: list[int] = []
        self._nested_ns: int | None = None  # start of the newest packet that ends before an earlier one does
        self._scan_from = scan_from
        for packet in packets:
            self.add(packet)

    @property
    def last(self) -> int:
        return len(self._starts)

    def __len__(self) -> int:
        return len(self._starts) - self.first

    def __iter__(self) -> Iterator[Packet]:
        return iter(self._packets[self.first :])

    def __getitem__(self, index: int) -> Packet:
        return self._packets[index]

    def start_ns(self, index: int) -> int:
        return self._starts[index]

    def index_from(self, time_ns: int) -> int:
        """The first packet that starts at time_ns or later; `last` if there is none."""
        return bisect_left(self._starts, time_ns, self.first)

    def index_after(self, time_ns: int) -> int:
        """The first packet that starts after time_ns; `last` if there is none."""
        return bisect_right(self._starts, time_ns, self.first)

    def add(self, packet: Packet) -> bool:
        """False, and nothing changed, if a packet of the same start and seq is here."""
        starts, start_ns = self._starts, packet.start_ns
        if len(starts) > self.first and start_ns <= starts[-1]:
            return self._insert(packet)
        size = packet.nbytes + PACKET_BYTES
        self.bytes += size
        top_ns = past_end_ns(packet)
        if len(starts) > self.first and self._tops[-1] > top_ns:
            top_ns = self._tops[-1]
            self._nested_ns = start_ns
        starts.append(start_ns)
        self._tops.append(top_ns)
        self._packets.append(packet)
        self._sizes.append(size)
        return True

    def __contains__(self, packet: Packet) -> bool:
        return self._place(packet) is None

    def _place(self, packet: Packet) -> int | None:
        """Where the packet belongs; None: it is here."""
        index = self.index_after(packet.start_ns)
        while index > self.first and self._starts[index - 1] == packet.start_ns and self._packets[index - 1].seq >= packet.seq:
            index -= 1
            if self._packets[index].seq == packet.seq:
                return None
        return index

    def _insert(self, packet: Packet) -> bool:
        index = self._place(packet)
        if index is None:
            return False
        size = packet.nbytes + PACKET_BYTES
        self.bytes += size
        self._starts.insert(index, packet.start_ns)
        self._packets.insert(index, packet)
        self._sizes.insert(index, size)
        self._tops.insert(index, 0)
        self._raise_tops(index)
        return True

    def _raise_tops(self, index: int) -> None:
        """Sets the running maximum from index on."""
        top_ns = self._tops[index - 1] if index > self.first else past_end_ns(self._packets[index])
        for i in range(index, len(self._starts)):
            ends_ns = past_end_ns(self._packets[i])
            if ends_ns < top_ns:
                self._nested_ns = self._starts[i] if self._nested_ns is None else max(self._nested_ns, self._starts[i])
            top_ns = max(top_ns, ends_ns)
            if i > index and self._tops[i] == top_ns:
                break
            self._tops[i] = top_ns

    def overlapping(self, start_ns: int, end_ns: int) -> tuple[Packet, ...]:
        """Every packet of which an instant lies in [start_ns, end_ns)."""
        low = bisect_right(self._tops, start_ns, self.first)
        high = bisect_left(self._starts, end_ns, low)
        if low < high and self._nested_ns is not None and self._starts[low] <= self._nested_ns:
            return tuple([packet for packet in self._packets[low:high] if past_end_ns(packet) > start_ns])
        return tuple(self._packets[low:high])

    def forget(self, index: int) -> int:
        """Lets go of all packets before index; returns how many there were."""
        first, count = self.first, index - self.first
        if count <= 0:
            return 0
        self.bytes -= sum(self._sizes[first:index])
        self._packets[first:index] = [_GONE] * count
        self.first = index
        if index >= 256 and 2 * index >= len(self._starts):
            self._cut(index)
        return count

    def drop_oldest(self) -> Packet:
        """Takes out the packet that starts first."""
        packet = self._packets[self.first]
        self.forget(self.first + 1)
        if len(self):
            self._raise_tops(self.first)  # it may have lasted longer than those after it
        return packet

    def _cut(self, count: int) -> None:
        for column in (self._starts, self._tops, self._packets, self._sizes):
            del column[:count]
        self.first = 0

    def index_ending_after(self, time_ns: int) -> int:
        """All packets before this index have ended by time_ns."""
        return bisect_right(self._tops, time_ns, self.first)

    def forget_ended_among(self, time_ns: int) -> list[Packet]:
        """Lets go of the packets that ended by time_ns behind a longer one which still lasts, once they are the greater part.

        Without it one packet of an hour would make every look-up walk over all short ones of that hour.
        """
        first, high = self.first, bisect_left(self._starts, time_ns, self.first)
        if high - first < self._scan_from:
            return []
        region = self._packets[first:high]
        left = PacketBuffer([packet for packet in region if past_end_ns(packet) > time_ns])
        self._scan_from = 2 * len(left) + 16
        self._starts[first:high] = left._starts
        self._tops[first:high] = left._tops
        self._packets[first:high] = left._packets
        self._sizes[first:high] = left._sizes
        gone = [packet for packet in region if past_end_ns(packet) <= time_ns]
        self.bytes -= sum(packet.nbytes + PACKET_BYTES for packet in gone)
        return gone

    def snapshot(self) -> dict[str, Any]:
        """The arguments of a buffer that goes on as this one would."""
        return {"packets": list(self), "scan_from": self._scan_from}
