"""One stream of a live source: captured payloads in, packets and promises on the session's timeline out. No clock, no thread."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from operators.packet import AudioBlock, Dropped, Frame, Packet, Payload, StreamEvent, Watermark
from operators.stamps import SourceClock
from pipeline.live.capture import GAP
from pipeline.live.captured import Captured, Compressed
from pipeline.live.placement import APART_NS, Placement
from pipeline.ports import Kind, Quality, StreamSpec

MOST_AGE_NS = 2_000_000_000
AHEAD_NS = 2_000_000
MUTE_NS = 1_000_000_000
SOUND_SLACK_NS = 1_000_000
"""Rounding, and the map's first corrections: what is less than this is no overlap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRules:
    """rate_hz: the usual one, where the stream has none of its own. quiet_ns: for a stream that is silent most of the time: how long
    after its start a packet may arrive at most, so that the promise follows the clock at that distance; None: silence is no promise."""

    kind: Kind
    rate_hz: float | None = None
    quiet_ns: int | None = None
    detail: str = ""

    def spec(self, name: str) -> StreamSpec:
        return StreamSpec(name=name, kind=self.kind, rate_hz=self.rate_hz, detail=self.detail)


class LiveStream:
    """seq: of its first packet; from_ns: nothing that starts before it goes out (a restart).

    placement: takes its compressed packets, where they are recorded.
    """

    def __init__(self, name: str, rules: StreamRules, *, seq: int, from_ns: int, placement: Placement | None = None) -> None:
        self.name, self.rules = name, rules
        self.faults: Counter[str] = Counter()
        self.promised_ns = max(0, from_ns)
        self.heard_ns: int | None = None
        self.fresh = False  # something came on this connection
        self.quality: Quality | None = None
        self.muted_ns = 0
        self._placement = placement
        self._refused = ""
        self._seq = seq
        self._format: tuple[object, ...] | None = None
        self._steps: deque[int] = deque(maxlen=15)
        self._start_ns: int | None = None
        self._taken_ns = -APART_NS

    @property
    def muted(self) -> bool:
        return self.muted_ns >= MUTE_NS

    def reconnected(self) -> None:
        """What comes now is of another epoch: no length is measured across the break."""
        self._start_ns = None
        self._format = None
        self.muted_ns = 0
        self.fresh = False
        self.end()

    def end(self) -> None:
        """Nothing more comes by the connection there was."""
        if self._placement is not None:
            self._placement.end()

    def take(self, item: Captured, clock: SourceClock) -> Iterator[StreamEvent]:
        self.heard_ns = item.arrival_ns
        self.fresh = True
        self._note_format(item.payload)
        start_ns = self._start(item, clock)
        if start_ns is None:
            yield self._drop(self._refused)
            return
        end_ns = self._end(item, clock, start_ns)
        slack_ns = self._slack_ns()
        if start_ns < self.promised_ns:
            if self.promised_ns - start_ns > slack_ns:
                yield self._drop("before_promise", start_ns)
                return
            start_ns = self.promised_ns  # jitter
        if self.rules.kind == "video":
            if start_ns < self._taken_ns + APART_NS:
                yield self._drop("before_promise", start_ns)
                return
            self._taken_ns = start_ns
        if self._placement is not None and item.stamp_ns is not None:
            self._placement.placed(item.stamp_ns, start_ns)
        self._note_sound(item.payload, end_ns - start_ns)
        packet = Packet(stream=self.name, seq=self._seq, start_ns=start_ns, end_ns=max(start_ns, end_ns), payload=item.payload)
        self._seq += 1
        yield packet
        yield self._promise(packet.end_ns if self.rules.kind == "audio" else start_ns + slack_ns)

    def keep(self, item: Compressed) -> None:
        """What is decoded from it comes later, or never."""
        if self._placement is not None:
            self._placement.came(item)

    def happened(self, what: str) -> None:
        self.faults[what] += 1
        if what == GAP and self._placement is not None:
            self._placement.gap()

    def silent(self, now_ns: int, *, connected: bool) -> Watermark:
        """What can be promised while nothing comes: of a source that is away, that it has nothing; else what was promised before."""
        if not connected:
            return self._promise(now_ns)
        return self._promise(self.promised_ns if self.rules.quiet_ns is None else now_ns - self.rules.quiet_ns)

    def drop(self, reason: str, count: int) -> Dropped:
        """Something was lost before it got here."""
        return Dropped(stream=self.name, reason=reason, count=count)

    def _start(self, item: Captured, clock: SourceClock) -> int | None:
        """Session time of its start by the best stamp that is plausible; None: refused."""
        if item.at_ns is not None:
            if -AHEAD_NS <= item.arrival_ns - item.at_ns <= MOST_AGE_NS:
                self.quality = "device"
                return min(item.at_ns, item.arrival_ns)
            self.faults["stamp_implausible"] += 1
        if item.device_ns is None:
            self.quality = "arrival"
            return item.arrival_ns - item.delay_ns - (item.length_ns or 0)
        reading = clock.read(self.name, item.device_ns, item.arrival_ns - item.delay_ns - (item.length_ns or 0))
        self.faults.update(reading.faults)
        self.quality = item.quality
        if reading.time_ns is None:
            self._refused = reading.faults[-1]
            return None
        # The map may run a few milliseconds ahead of the arrivals until it is steered back. Sound must stay unbroken; a picture need not.
        return reading.time_ns if item.length_ns else min(reading.time_ns, item.arrival_ns)

    def _end(self, item: Captured, clock: SourceClock, start_ns: int) -> int:
        if item.length_ns is None:
            return start_ns + self._period_ns(start_ns)
        if item.at_ns is None and item.device_ns is not None and item.length_ns:
            return clock.at(self.name, item.device_ns + item.length_ns)
        return start_ns + item.length_ns

    def _period_ns(self, start_ns: int) -> int:
        """A picture lasts until the next one, which nobody has seen: as long as they usually do."""
        if self._start_ns is not None and start_ns > self._start_ns:
            self._steps.append(start_ns - self._start_ns)
        self._start_ns = start_ns
        return round(median(self._steps)) if len(self._steps) > 2 else round(1e9 / (self.rules.rate_hz or 30))

    def _slack_ns(self) -> int:
        """How far a start may be off its stamp. For a picture: no two come closer together than half the usual distance."""
        if self.rules.kind != "video":
            return SOUND_SLACK_NS if self.rules.kind == "audio" else 0
        return round(median(self._steps)) // 2 if len(self._steps) > 2 else 0

    def _note_format(self, payload: Payload) -> None:
        form: tuple[object, ...] | None = None
        if isinstance(payload, Frame):
            form = payload.data.shape
        elif isinstance(payload, AudioBlock):
            form = (payload.rate_hz, payload.data.shape[0])
        if self._format is not None and form != self._format:
            self.faults["format_change"] += 1
        self._format = form

    def _note_sound(self, payload: Payload, length_ns: int) -> None:
        if isinstance(payload, AudioBlock):
            self.muted_ns = 0 if payload.data.any() else self.muted_ns + length_ns

    def _promise(self, time_ns: int) -> Watermark:
        self.promised_ns = max(self.promised_ns, time_ns)
        return Watermark(stream=self.name, time_ns=self.promised_ns)

    def _drop(self, reason: str, start_ns: int | None = None) -> Dropped:
        return Dropped(stream=self.name, reason=reason, start_ns=start_ns)
