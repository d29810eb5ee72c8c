"""One stream of an aligner: its packets, its promise, and what each window sees of it.

Rules
  promise    the greatest watermark so far; NEVER once closed. It does not go back.
  frontier   the promise, or the end of the newest window that went out, whichever is later. A packet that starts
             before it is late; one that starts before the promise is never used, so that the promise can be relied upon.
  closed_at  the time of the close, but not before the promise: a stream that promised silence until t ended at t at the earliest.
  age        is judged by the newest packet that was said, also after it was forgotten.
  tear       the span that an overflow took; no window over it is complete.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from operators.buffer import PacketBuffer
from operators.gone import NO_STAMP, Stamp, Stamps, Tear, stamp_of
from operators.packet import Dropped, Packet
from operators.takes import NEVER, WindowTake, take_of
from operators.window import AlignConfig, Late, MissingReason, Slot, StreamRule


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCounts:
    """Where a stream's packets are: entered == forgotten + late + sum(dropped.values()) + buffered, always.

    forgotten     no window to come can use them any more
    late          Late with kept=False; late_kept are among buffered or forgotten
    dropped       Dropped by reason
    refused       watermarks and closes that were not taken, by reason
    """

    entered: int
    forgotten: int
    late: int
    late_kept: int
    buffered: int
    dropped: Mapping[str, int]
    refused: Mapping[str, int]


class AlignedStream:
    """The aligner asks it about windows by index and by the time they start (window_ns)."""

    def __init__(self, rule: StreamRule, config: AlignConfig) -> None:
        self.name = rule.stream
        self.buffer = PacketBuffer()
        self.promise_ns = self.frontier_ns = -NEVER
        self.closed_at_ns: int | None = None
        self.covered = -NEVER  # the last window that this stream's promise settles
        self._take = take_of(rule, config.length_ns)
        self._rule, self._config = rule, config
        # Where a window ends as far as this stream goes: nearest and interpolate look no further than centre + tolerance.
        self._ends_ns = min(config.length_ns, self._take.reach_ns)
        self._touch_ns = min(0, self._take.before_ns, self._take.reach_ns - config.hop_ns)
        self._floor_ns = config.start_ns  # start of the oldest window that may still go out
        self._gone, self._tear = Stamps(), Tear()
        self._entered = self._forgotten = self._late = self._late_kept = 0
        self._dropped: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    # -- events in

    def admit(self, packet: Packet) -> tuple[Dropped, ...]:
        """Takes a packet that starts at the frontier or later."""
        self._entered += 1
        if not self.buffer.add(packet):
            return (self._drop("duplicate", packet.start_ns),)
        return (self._overflow(),) if self.buffer.bytes > self._rule.max_bytes else ()

    def judge(self, packet: Packet, open_windows: Iterable[int]) -> tuple[Late | Dropped, ...]:
        """Takes a packet that starts before the frontier. open_windows: starts of the windows that it might still change."""
        if self.closed_at_ns is not None:
            self._entered += 1
            return (self._drop("after_close", packet.start_ns),)
        keeps_promise = packet.start_ns >= self.promise_ns
        if keeps_promise and packet in self.buffer:
            return self.admit(packet)  # which finds the duplicate
        kept = keeps_promise and any(self._matters(packet, window_ns) for window_ns in open_windows)
        late = Late(packet=packet, by_ns=self.frontier_ns - packet.start_ns, kept=kept)
        if kept:
            self._late_kept += 1
            return (late, *self.admit(packet))
        self._entered += 1
        self._late += 1
        if keeps_promise:
            self._note_ahead(packet)
        return (late,)

    def promise(self, time_ns: int) -> Dropped | None:
        """No packet to come starts before time_ns. A Dropped of 0 packets says that the watermark was refused."""
        if self.closed_at_ns is not None:
            return self._refuse("after_close")
        if time_ns < self.promise_ns:
            return self._refuse("watermark_backwards")
        self.promise_ns = time_ns
        self.frontier_ns = max(self.frontier_ns, time_ns)
        newest_ns = self._newest_before(time_ns)[0] if self._take.settles_early else -NEVER
        self.covered = (self._take.settled_ns(time_ns, newest_ns) - self._config.start_ns) // self._config.hop_ns
        return None

    def close(self, time_ns: int) -> Dropped | None:
        """Nothing follows; the stream ended at time_ns."""
        if self.closed_at_ns is not None:
            return self._refuse("after_close")
        self.closed_at_ns = max(time_ns, self.promise_ns)
        self.promise_ns = self.frontier_ns = self.covered = NEVER
        return None

    def heard_until_ns(self) -> int:
        """The session lasts at least until then."""
        return self.promise_ns if self.closed_at_ns is None else self.closed_at_ns

    # -- windows

    def slot(self, index: int, window_ns: int) -> Slot:
        """What this window sees of the stream, as far as it is known now."""
        packets = self._take.pick(self.buffer, window_ns)
        torn = self.is_torn(window_ns)
        settled = index <= self.covered
        missing: MissingReason | None = None
        if not packets:
            missing = "timeout" if torn or not settled else "empty"
            # Judged by when the stream ended, not by whether we have heard of it: else arrival order would show.
            if not torn and self.closed_at_ns is not None and self.closed_at_ns < window_ns + self._ends_ns:
                missing = "closed"
        return Slot(packets=packets, missing=missing, age_ns=self._age_ns(window_ns), complete=settled and not torn)

    def _age_ns(self, window_ns: int) -> int | None:
        newest = self._newest_before(window_ns + self._ends_ns)
        return None if newest == NO_STAMP else max(0, window_ns + self._config.length_ns - newest[2])

    def is_torn(self, window_ns: int) -> bool:
        """An overflow took something that this window would have had."""
        if not self._tear.reaches(self._take, window_ns):
            return False
        lost = self._tear.newest
        # What lies up to the key instant is of no use behind something newer, and all that was lost is older still.
        return lost[0] > window_ns + self._take.key_ns or not self._in_shadow(lost, window_ns)

    def went_out(self, window_ns: int) -> None:
        """The window was emitted (or skipped): what starts before its end is late from now on."""
        self.frontier_ns = max(self.frontier_ns, window_ns + self._ends_ns)

    def forget_before(self, index: int, window_ns: int) -> None:
        """Lets go of what neither this window nor a later one can use."""
        self._floor_ns = window_ns
        self._gone.advance(index)
        buffer = self.buffer
        keep = self._take.keep_from(buffer, window_ns)
        # What starts at the frontier stays: a second copy of it is a duplicate, whenever it comes.
        if keep > buffer.first and buffer.start_ns(keep - 1) >= self.frontier_ns:
            keep = buffer.index_from(self.frontier_ns)
        if keep > buffer.first:
            self._gone.note(buffer[keep - 1])
            self._forgotten += buffer.forget(keep)
        if isinstance(self._take, WindowTake):
            for packet in buffer.forget_ended_among(min(window_ns, self.frontier_ns)):
                self._gone.note(packet)
                self._forgotten += 1

    def forget_all(self) -> None:
        """The session is over."""
        self._forgotten += self.buffer.forget(self.buffer.last)

    # -- quiet windows

    def touches(self, window_ns: int) -> bool:
        """Something of the stream overlaps the window, or began since the one before."""
        if self._newest_before(window_ns + self._take.reach_ns)[0] >= window_ns + self._touch_ns:
            return True
        return isinstance(self._take, WindowTake) and bool(self._take.pick(self.buffer, window_ns))

    def next_touched(self, index: int) -> int:
        """The first window from index on that something known touches, in O(log n); NEVER if there is none."""
        config, buffer = self._config, self.buffer
        window_ns = config.window_start_ns(index)
        if self.touches(window_ns):
            return index
        following = buffer.index_from(window_ns + self._take.reach_ns)
        if following == buffer.last:
            return NEVER
        return (buffer.start_ns(following) - config.start_ns - self._take.reach_ns) // config.hop_ns + 1

    # -- what is known

    def _newest_before(self, time_ns: int) -> Stamp:
        """The newest packet known, here or gone, that started before time_ns."""
        last = self.buffer.index_from(time_ns) - 1
        gone = self._gone.before(time_ns)
        return max(gone, stamp_of(self.buffer[last])) if last >= self.buffer.first else gone

    def _in_shadow(self, stamp: Stamp, window_ns: int) -> bool:
        """What is known takes the place of that packet, for this window and for all later ones."""
        return self._newest_before(self._take.shadow_ns(stamp[0], window_ns))[:2] > stamp[:2]

    def _matters(self, packet: Packet, window_ns: int) -> bool:
        """The window or a later one could have this packet, or would have another one but for it."""
        take = self._take
        if packet.start_ns >= window_ns + take.reach_ns or self._in_shadow(stamp_of(packet), window_ns):
            return False
        if take.holds_until_ns(packet) > window_ns + take.before_ns:
            return True
        return take.replaces and bool(take.pick(self.buffer, window_ns))

    def _note_ahead(self, packet: Packet) -> None:
        first = (packet.start_ns - self._config.start_ns - self._ends_ns) // self._config.hop_ns + 1
        self._gone.note_ahead(packet, first)
        self._gone.advance((self._floor_ns - self._config.start_ns) // self._config.hop_ns)

    # -- account and state

    def _overflow(self) -> Dropped:
        """Drops the oldest packets until the rest fits."""
        buffer, count, first_ns = self.buffer, 0, self.buffer.start_ns(self.buffer.first)
        while buffer.bytes > self._rule.max_bytes:
            self._tear.add(buffer.drop_oldest(), self._take, self._floor_ns)
            count += 1
        return self._drop("overflow", first_ns, count)

    def _drop(self, reason: str, start_ns: int, count: int = 1) -> Dropped:
        self._dropped[reason] += count
        return Dropped(stream=self.name, reason=reason, count=count, start_ns=start_ns)

    def _refuse(self, reason: str) -> Dropped:
        self._refused[reason] += 1
        return Dropped(stream=self.name, reason=reason, count=0)

    def counts(self) -> StreamCounts:
        return StreamCounts(
            entered=self._entered,
            forgotten=self._forgotten,
            late=self._late,
            late_kept=self._late_kept,
            buffered=len(self.buffer),
            dropped=dict(self._dropped),
            refused=dict(self._refused),
        )

    def snapshot(self) -> dict[str, Any]:
        """Plain values and packets; owns its containers."""
        return {
            "buffer": self.buffer.snapshot(),
            "promise_ns": self.promise_ns,
            "frontier_ns": self.frontier_ns,
            "closed_at_ns": self.closed_at_ns,
            "covered": self.covered,
            "floor_ns": self._floor_ns,
            "gone": self._gone.snapshot(),
            "tear": self._tear.snapshot(),
            "counts": [self._entered, self._forgotten, self._late, self._late_kept],
            "dropped": dict(self._dropped),
            "refused": dict(self._refused),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.buffer = PacketBuffer(**state["buffer"])
        self.promise_ns, self.frontier_ns = state["promise_ns"], state["frontier_ns"]
        self.closed_at_ns, self.covered, self._floor_ns = state["closed_at_ns"], state["covered"], state["floor_ns"]
        self._gone.restore(state["gone"])
        self._tear.restore(state["tear"])
        self._entered, self._forgotten, self._late, self._late_kept = state["counts"]
        self._dropped, self._refused = Counter(state["dropped"]), Counter(state["refused"])
