"""Device time -> session time: offset and drift of one source's clock, from (device time, arrival time) pairs.

A packet stamped d by its device arrives at `arrival = d + offset + drift + delay`. The delay is never negative and has a long tail
(queues, scheduling, USB, radio), so its mean says nothing: the clock is read off the *least* delays, the lower envelope.

 arrival - device
   |   .    .  :    .       .  .     :     each dot one packet
   | .   .:  . .  .   :  .   . . :  .
   |__:_______.____:___.__________:__.     lower envelope: offset + least delay; its slope is the drift
   +-------------------------------------- device time

Method: least value per bucket, lower convex hull of the buckets in the horizon, and of the hull the edge over the mean abscissa, which
minimises the summed height of all points above it (Zhang, Liu, Xia, "Clock synchronization algorithms for network measurements",
INFOCOM 2002; the same line as the linear programme of Moon, Skelly, Towsley, INFOCOM 1999). A delay-locked loop (Adriaensen, "Using a
DLL to filter time", 2005) or a PI servo follows the mean delay and bends with every queue; from them comes only the last step: what was
told is never taken back, and the map is steered to the new line at a bounded rate. After a step or a reset the rate is kept: the crystal
is the same, so only the offset has to be found again.

What cannot be known one way: the least delay itself. It is given (`delay_ns`), or the device's clock is known at the first
packet (`offset_ns`) and only its rate is followed. A lasting step of the delay looks exactly like a step of the clock: the rules say
which of the two a source can have (`steps`), and both are reported.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict
from itertools import islice
from typing import Any

from operators.clockrules import ClockRules, Discontinuity
from operators.envelope import CRYSTAL, Line, Point, support_line
from operators.errors import ContractError

__all__ = ["ClockMap", "ClockRules", "Discontinuity"]


class ClockMap:
    """One device's clock. `update` with every packet, then `to_session_ns` of its start and end.

    The map is continuous and never falls; where it has been asked it never changes. Only a reset or a jump makes it step, forward.
    counts: every discontinuity so far, by kind.
    """

    def __init__(self, rules: ClockRules | None = None) -> None:
        self.rules = rules or ClockRules()
        self.counts: Counter[str] = Counter()
        self._anchored = self.rules.offset_ns is not None
        self._delay_ns = self.rules.delay_ns or 0
        self._known_ns: int | None = None  # the device time at which offset_ns was true
        self._told: Point | None = None  # the latest device time that the map was asked for, and the answer
        self._pieces: deque[tuple[int, int, float]] = deque(maxlen=64)  # (from device_ns, session_ns there, rate - 1)
        self._rate: float | None = None  # the slope of the line before this one
        self._usual = Line(at=0, height=0.0)  # the last line over 30 buckets or more: how the least delays lie above it
        self._clear()

    def _clear(self) -> None:
        """A new line: of the old one only the rate is known."""
        self._points: deque[Point] = deque()
        self._least: Point | None = None
        self._first: Point | None = None
        self._last_device_ns = self._last_arrival_ns = 0
        self._line = Line(at=0, height=0.0)
        self._base_ns = 0  # arrival - device of the line's first packet: heights are told from there, as 10**18 ns leave a float no room
        self._lowest = 0  # the least height of all packets of the line
        self._longer_ns = 0  # by how much the way to us has become longer since the line began
        self._high: tuple[int, int, int, int] | None = None  # late in a row: for how long, how many, least and usual

    def update(self, device_ns: int, arrival_ns: int, *, rough: bool = False) -> Discontinuity | None:
        """Learns from one packet: device_ns is its stamp, arrival_ns when it reached us in session time.

        rough: the stamp may be some milliseconds off. Nothing is learnt from it but whether the clock is where it should be.
        """
        unwrapped_ns = self._unwrap(device_ns)
        if self._first is None:
            self._base_ns = arrival_ns - unwrapped_ns
            return self._begin(unwrapped_ns, rough)
        point = (unwrapped_ns, arrival_ns - unwrapped_ns - self._base_ns - self._longer_ns)
        found = self._wrapped(device_ns, unwrapped_ns) or self._check(point, arrival_ns)
        if found is not None:
            self.counts[found.kind] += 1
            if found.kind in ("reset", "jump", "unsynchronised"):
                self._restart(point, found)
                return found
            if found.kind in ("disorder", "duplicate"):
                return found
            if found.kind == "delay":
                self._longer_ns += found.by_ns
                self._high = None
                point = (unwrapped_ns, point[1] - found.by_ns)
        least = self._least
        if least is not None and unwrapped_ns // self.rules.bucket_ns != least[0] // self.rules.bucket_ns:
            self._close_bucket(least, unwrapped_ns)
            self._least = least = None
        if not rough and (least is None or point[1] < least[1]):
            self._least = point
        self._last_device_ns, self._last_arrival_ns = unwrapped_ns, arrival_ns
        return found

    def to_session_ns(self, device_ns: int) -> int:
        """Session time of a device time; asking fixes the answer for all times up to device_ns. Raises ContractError before any update."""
        if not self._pieces:
            raise ContractError("a clock map wants at least one update before it can be asked")
        device_ns = self._unwrap(device_ns)
        if self._told is None or device_ns > self._told[0]:
            self._told = (device_ns, self._at(device_ns))
        return self._at(device_ns)

    @property
    def synchronised(self) -> bool:
        """Whether the offset to other clocks is known; False: it is read off arrivals, wrong by the least delay, which nobody knows.

        An offset that was given is believed once a bucket of arrivals does not speak against it.
        """
        return (self._anchored and bool(self._points)) or self.rules.delay_ns is not None

    @property
    def drift_ppm(self) -> float | None:
        """How much the device's clock is fast (> 0) or slow against the session's; None until a line is 10 buckets long."""
        return -self._line.slope * 1e6 if len(self._points) >= 10 or self._rate is not None else None

    @property
    def uncertainty_ns(self) -> int:
        """Typical error of a session time now: scatter of the envelope plus the correction still owed; an unknown least delay not in it."""
        if self._first is None or not self._pieces:
            return 0
        owed = abs(self._target_ns(self._last_device_ns) - self._at(self._last_device_ns))
        return round(self._line.middle + owed)

    def _unwrap(self, device_ns: int) -> int:
        """A wrapped stamp as the nearest to the newest."""
        wrap_ns = self.rules.wrap_ns
        if wrap_ns is None or self._first is None:
            return device_ns
        return device_ns + round((self._last_device_ns - device_ns) / wrap_ns) * wrap_ns

    def _wrapped(self, device_ns: int, unwrapped_ns: int) -> Discontinuity | None:
        wrap_ns = self.rules.wrap_ns
        if wrap_ns is None or unwrapped_ns // wrap_ns <= self._last_device_ns // wrap_ns:
            return None
        return Discontinuity(kind="wrap", device_ns=device_ns, by_ns=wrap_ns)

    def _check(self, point: Point, arrival_ns: int) -> Discontinuity | None:
        device_ns, height = point
        behind_ns = self._last_device_ns - device_ns
        if behind_ns > self.rules.disorder_ns:
            return Discontinuity(kind="reset", device_ns=device_ns, by_ns=-behind_ns)
        found = self._step(device_ns, self._above(point), arrival_ns) or self._misplaced(height, arrival_ns)
        if found is not None or behind_ns < 0:
            gap = -behind_ns > self.rules.gap_ns
            return found or (Discontinuity(kind="gap", device_ns=device_ns, by_ns=-behind_ns) if gap else None)
        return Discontinuity(kind="disorder" if behind_ns else "duplicate", device_ns=device_ns, by_ns=-behind_ns)

    def _step(self, device_ns: int, above: int, arrival_ns: int) -> Discontinuity | None:
        """Packets that are too early at once; packets that are too late when all have been for confirm_ns.

        Too early or late is against what was usual in the last buckets: a rate that is not yet known makes no step.
        """
        limit = self._limit_ns()
        recent = min(self._above(point) for point in (*islice(reversed(self._points), 3), self._least or (0, 0)))
        if above < min(0, recent) - limit and arrival_ns - self._first_arrival_ns() > self.rules.confirm_ns:
            return self._stepped(device_ns, above - min(0, recent))
        lasted_ns, count, least, usual = self._high or (0, 0, above, max(round(self._usual.middle), recent))
        if above <= usual + limit:
            self._high = None
            return None
        # Only time in which both clocks went on: a stall ends in a burst, and neither that nor a few stragglers are a proof.
        lasted_ns += max(0, min(arrival_ns - self._last_arrival_ns, device_ns - self._last_device_ns, self.rules.bucket_ns))
        self._high = (lasted_ns, count + 1, min(least, above), usual)
        if lasted_ns <= self.rules.confirm_ns or count < 20:
            return None
        return self._stepped(device_ns, self._high[2] - round(self._usual.middle))

    def _stepped(self, device_ns: int, by_ns: int) -> Discontinuity:
        return Discontinuity(kind="jump" if self.rules.steps == "clock" else "delay", device_ns=device_ns, by_ns=by_ns)

    def _limit_ns(self) -> int:
        """How far beyond the usual is a step: 8 standard deviations of the buckets' least delays, by their median."""
        if not self._usual.scatter:
            return self.rules.jump_ns
        return round(min(self.rules.jump_ns, max(self.rules.step_ns, 8 * 1.4826 * self._usual.scatter)))

    def _misplaced(self, height: int, arrival_ns: int) -> Discontinuity | None:
        """An anchor that would have packets arrive before they were made, or on a way longer than any."""
        age_ns = arrival_ns - self._first_arrival_ns()
        self._lowest = min(self._lowest, height)
        if not self._anchored or not self.rules.bucket_ns <= age_ns <= 10 * self.rules.bucket_ns:
            return None
        delay_ns = self._lowest + self._base_ns - (self.rules.offset_ns or 0)
        if -self.rules.step_ns - age_ns * self.rules.max_drift_ppm * 1e-6 <= delay_ns <= self.rules.most_delay_ns:
            return None
        return Discontinuity(kind="unsynchronised", device_ns=self._last_device_ns, by_ns=delay_ns)

    def _begin(self, device_ns: int, rough: bool) -> Discontinuity | None:
        """The first packet of all: where an offset is given, it tells the least delay, unless that can be none."""
        delay_ns = self._base_ns - (self.rules.offset_ns or 0)
        self._known_ns = device_ns if self._known_ns is None else self._known_ns
        # One packet may be late; that it is early is proof.
        if not self._anchored or -self.rules.step_ns <= delay_ns <= self.rules.most_delay_ns + self.rules.bucket_ns:
            self._start((device_ns, 0), delay_ns if self._anchored else self._delay_ns)
            self._least = None if rough else self._least
            return None
        self._anchored = False
        self.counts["unsynchronised"] += 1
        self._start((device_ns, 0), self._delay_ns)
        return Discontinuity(kind="unsynchronised", device_ns=device_ns, by_ns=delay_ns)

    def _start(self, point: Point, delay_ns: int) -> None:
        """The first packet of a line: it is taken to have been delayed by delay_ns."""
        device_ns, height = point
        session_ns = device_ns + height + self._base_ns - delay_ns
        self._first = self._least = point
        self._last_device_ns, self._last_arrival_ns, self._delay_ns = device_ns, sum(point) + self._base_ns, delay_ns
        self._line = Line(at=device_ns, height=float(height), slope=self._rate or 0.0)
        self._pieces.append((device_ns, max(session_ns, self._told[1]) if self._told else session_ns, self._line.slope))

    def _restart(self, point: Point, why: Discontinuity) -> None:
        """A new line after a reset or jump. Carried over: the least delay, since the way to us is the same, and the rate."""
        if self._told is not None:
            self._told = (point[0], self._told[1])
        if why.kind == "jump" and self._high is not None:
            point = (point[0], point[1] - max(0, self._above(point) - self._high[2]))  # the least delayed since the step
        if why.kind == "unsynchronised":
            self._delay_ns = self.rules.delay_ns or 0
        if len(self._points) >= 10:
            self._rate = self._line.slope
        self._anchored = False
        base_ns = self._base_ns + self._longer_ns + point[1]
        self._pieces.clear()
        self._clear()
        self._base_ns = base_ns
        self._start((point[0], 0), self._delay_ns)

    def _close_bucket(self, least: Point, device_ns: int) -> None:
        self._points.append(least)
        while self._points[-1][0] - self._points[0][0] > self.rules.horizon_ns:
            self._points.popleft()
        if len(self._points) > 60 and least[0] // self.rules.bucket_ns % 10:
            return  # a line over a minute or more does not move in a bucket, and fitting it is the only step that costs
        expected, doubt = (0.0, CRYSTAL) if self._rate is None else (self._rate, CRYSTAL / 10)
        self._line = support_line(self._points, self.rules.max_drift_ppm * 1e-6, expected, doubt)
        if len(self._points) >= 30:
            self._usual = self._line
        if self._anchored and self._known_ns is not None and self._points[-1][0] - self._known_ns <= self.rules.horizon_ns:
            # While the whole history is in view, its start is where the offset is known: what the line shows there is the least delay.
            self._delay_ns = round(self._line.y(self._known_ns)) + self._base_ns - (self.rules.offset_ns or 0)
        self._steer(device_ns)

    def _steer(self, device_ns: int) -> None:
        """A new piece of the map from the latest time that has been told, aimed at the line 10 s on."""
        from_ns = max(device_ns, self._told[0]) if self._told else device_ns
        session_ns = self._at(from_ns)
        owed = (self._target_ns(from_ns) - session_ns) / 10e9
        young = self._first is not None and device_ns - self._first[0] < 10_000_000_000
        limit = self.rules.slew_ppm * 1e-6 * (100 if young and not self._anchored else 1)
        self._pieces.append((from_ns, session_ns, self._line.slope + min(limit, max(-limit, owed * (10 if young else 1)))))

    def _first_arrival_ns(self) -> int:
        return sum(self._first) + self._base_ns if self._first else 0

    def _above(self, point: Point) -> int:
        height = self._line.y(point[0])
        if not self._points and self._least is not None:
            height = min(height, self._least[1])
        return round(point[1] - height)

    def _target_ns(self, device_ns: int) -> int:
        return device_ns + self._base_ns + round(self._line.y(device_ns)) - self._delay_ns

    def _at(self, device_ns: int) -> int:
        from_ns, session_ns, rate = next((piece for piece in reversed(self._pieces) if piece[0] <= device_ns), self._pieces[0])
        return session_ns + (device_ns - from_ns) + round((device_ns - from_ns) * rate)

    def snapshot(self) -> Mapping[str, Any]:
        """All state as plain values (tuples, lists, dicts, ints, floats); the rules are not part of it."""
        state = {name: value for name, value in vars(self).items() if name.startswith("_")}
        plain = {"_pieces": list(self._pieces), "_points": list(self._points), "_line": asdict(self._line), "_usual": asdict(self._usual)}
        return {**state, **plain, "counts": dict(self.counts)}

    def restore(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        self._pieces = deque(state["_pieces"], maxlen=64)
        self._points = deque(state["_points"])
        self._line, self._usual = Line(**state["_line"]), Line(**state["_usual"])
        self.counts = Counter(state["counts"])
