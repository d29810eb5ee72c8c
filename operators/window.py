"""What an aligner is told (AlignConfig) and what it says (AlignedWindow, Late, Skipped).

Window i covers [start_ns + i * hop_ns, start_ns + i * hop_ns + length_ns).

 cam   |--0--|--1--|--2--|--3--|
 mic    |0|1|2|3|4|5|6|7|8|9|
 text      |------hello------|
 window 0  [===========)
 window 1        [===========)
           ^-hop-^
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from operators.errors import ContractError
from operators.packet import Packet

Take = Literal["window", "latest", "state", "nearest", "interpolate"]
Mode = Literal["wait", "deadline"]
MissingReason = Literal["empty", "closed", "timeout"]
"""empty: its source promised that nothing happened. closed: it had ended. timeout: the deadline passed first, or what there was
overflowed: in either case nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRule:
    """How one stream is looked up for a window.

    take
      window       every packet that overlaps [start, end); an instant t belongs to [start, end) if start <= t < end
      latest       the newest packet that starts before the end, if it is no older than ttl_ns
      state        the packet in force at the window's last instant: from its start until the next packet's start,
                   its own end (if it has a length) or start + ttl_ns, whichever comes first
      nearest      the packet whose start is nearest to the window's centre, within tolerance_ns; a tie goes to the earlier
      interpolate  the last packet that starts at or before the centre and the first that starts after it, both within tolerance_ns
                   (one that starts exactly at the centre is alone); the values are blended by `operators.series`
    tolerance_ns  for nearest and interpolate: how far from the centre a packet may start
    ttl_ns        for latest and state: how long a packet holds; None: for ever
    max_bytes     bound of this stream's buffer; the oldest packets are dropped and counted beyond it
    """

    stream: str
    take: Take = "window"
    tolerance_ns: int = 0
    ttl_ns: int | None = None
    max_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        if self.tolerance_ns < 0 or (self.ttl_ns is not None and self.ttl_ns <= 0) or self.max_bytes <= 0:
            raise ContractError(f"stream {self.stream}: tolerance_ns >= 0, ttl_ns > 0, max_bytes > 0 wanted, got {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignConfig:
    """What windows to make, of which streams, and how long to wait for them.

    mode wait      a window closes when every stream's watermark has passed what the window needs: a function of the packets alone
    mode deadline  ... or when Tick.now_ns >= window end + deadline_ns, whichever is first
    tail_ns        after the last stream closed at C, windows go on while end_ns - hop_ns < C + tail_ns
    revise_ns      0: off; else a window that went out with a timeout is emitted once more (revision=1) when late packets that
                   change it arrived: as soon as the promises are complete, at the latest revise_ns after its end
    catch_up       the most windows worked off at once after a jump of time (see docs/time.md)
    """

    streams: tuple[StreamRule, ...]
    length_ns: int
    hop_ns: int
    start_ns: int = 0
    mode: Mode = "wait"
    deadline_ns: int = 0
    tail_ns: int = 0
    revise_ns: int = 0
    catch_up: int = 100

    def __post_init__(self) -> None:
        names = [rule.stream for rule in self.streams]
        if not names or len(set(names)) != len(names):
            raise ContractError(f"an aligner wants one rule for each of at least one stream, got {names}")
        if self.length_ns <= 0 or self.hop_ns <= 0 or self.deadline_ns < 0 or self.tail_ns < 0 or self.revise_ns < 0 or self.catch_up < 1:
            raise ContractError(f"length_ns, hop_ns, catch_up > 0 and deadline_ns, tail_ns, revise_ns >= 0 wanted, got {self}")

    def window_start_ns(self, index: int) -> int:
        return self.start_ns + index * self.hop_ns

    def window_end_ns(self, index: int) -> int:
        return self.start_ns + index * self.hop_ns + self.length_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One stream's part of a window.

    packets   in order of start; empty exactly when `missing` names the reason
    age_ns    window end minus the end of the newest packet that started before it, >= 0; None: never heard of
              (nearest and interpolate: that started before the window's end and no later than centre + tolerance)
    complete  the stream had promised everything that the window needs, and nothing of it overflowed
    """

    packets: tuple[Packet, ...]
    missing: MissingReason | None
    age_ns: int | None
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignedWindow:
    """What every stream said about [start_ns, end_ns). revision 1 replaces an earlier 0 of the same index."""

    index: int
    start_ns: int
    end_ns: int
    slots: dict[str, Slot]
    revision: int = 0

    @property
    def complete(self) -> bool:
        return all(slot.complete for slot in self.slots.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """A packet that came after its stream's promise, or after a window it belongs to had gone out.

    by_ns: how far it starts behind that frontier. kept: later windows may still use it (False: it broke a promise and is dropped).
    """

    packet: Packet
    by_ns: int
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """`count` windows from `index` on, [start_ns, end_ns) of window starts, were not made because of a jump of time."""

    index: int
    count: int
    start_ns: int
    end_ns: int
