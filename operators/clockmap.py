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
told is never taken back, and the map is steered to the new line at a bounded rate.

What cannot be known one way: the least delay itself. It is given (`delay_ns`), or the device's clock is known at the first
packet (`offset_ns`) and only its rate is followed. A lasting step of the delay looks exactly like a step of the clock: both are reported.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from operators.envelope import Point, support_line
from operators.errors import ContractError


@dataclass(frozen=True, slots=True, kw_only=True)
class Discontinuity:
    """The device's time is not what it was.

    reset  device time went back (a new counter, a reconnect)
    jump   device time moved by by_ns against arrivals (> 0: it fell behind, e.g. lost samples; < 0: it leapt ahead): a new line starts
    gap    no packet for by_ns of device time; the clock went on, the line stays
    """

    kind: Literal["reset", "jump", "gap"]
    device_ns: int
    by_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockRules:
    """How to read one device's clock.

    offset_ns     session minus device time at the first packet, where it is known (a counter started with the session); None: read it
                  off the arrivals
    delay_ns      the least time from stamp to arrival, taken off the arrivals when offset_ns is None
    jump_ns       how far off the envelope is no longer delay or drift
    confirm_ns    how long all packets must be late by jump_ns before it is called a jump and not a stall
    slew_ppm      the fastest that the map is steered towards a better line; 100 times that in the first 10 s of a line
    """

    offset_ns: int | None = None
    delay_ns: int = 0
    bucket_ns: int = 1_000_000_000
    horizon_ns: int = 600_000_000_000
    jump_ns: int = 50_000_000
    gap_ns: int = 2_000_000_000
    confirm_ns: int = 5_000_000_000
    slew_ppm: float = 500.0
    max_drift_ppm: float = 1000.0

    def __post_init__(self) -> None:
        if min(self.bucket_ns, self.jump_ns, self.gap_ns, self.confirm_ns) <= 0 or self.horizon_ns < 10 * self.bucket_ns:
            raise ContractError(f"bucket, jump, gap, confirm > 0 and a horizon of at least 10 buckets wanted, got {self}")
        if not (0 < self.slew_ppm <= 5000 and 0 < self.max_drift_ppm <= 100_000 and self.delay_ns >= 0):
            raise ContractError(f"0 < slew_ppm <= 5000, 0 < max_drift_ppm <= 100000, delay_ns >= 0 wanted, got {self}")


class ClockMap:
    """One device's clock. `update` with every packet, then `to_session_ns` of its start and end.

    The map is continuous and never falls; where it has been asked it never changes. Only a reset or a jump makes it step, forward.
    """

    def __init__(self, rules: ClockRules | None = None) -> None:
        self.rules = rules or ClockRules()
        self._delay_ns = self.rules.delay_ns
        self._anchored = self.rules.offset_ns is not None
        self._told: Point | None = None  # the latest device time that the map was asked for, and the answer
        self._pieces: deque[tuple[int, int, float]] = deque(maxlen=64)  # (from device_ns, session_ns there, rate - 1)
        self._clear()

    def _clear(self) -> None:
        """A new line: what was learnt of the old one is gone."""
        self._points: deque[Point] = deque()
        self._least: Point | None = None
        self._first: Point | None = None
        self._last_device_ns = 0
        self._line: tuple[int, float, float] = (0, 0.0, 0.0)  # device_ns, height there, slope
        self._spread_ns = 0.0
        self._high: tuple[int, int, int] | None = None  # arrival_ns of the first, count, least height: packets too late, in a row

    def update(self, device_ns: int, arrival_ns: int) -> Discontinuity | None:
        """Learns from one packet: device_ns is its stamp, arrival_ns when it reached us in session time. A stamp may repeat."""
        point = (device_ns, arrival_ns - device_ns)
        if self._first is None:
            self._start(point, self._delay_ns if not self._anchored else point[1] - (self.rules.offset_ns or 0))
            return None
        found = self._check(point, arrival_ns)
        if found is not None and found.kind != "gap":
            self._restart(point)
            return found
        least = self._least
        if least is not None and device_ns // self.rules.bucket_ns != least[0] // self.rules.bucket_ns:
            self._close_bucket(least, device_ns)
            least = None
        if least is None or point[1] < least[1]:
            self._least = point
        self._last_device_ns = device_ns
        return found

    def to_session_ns(self, device_ns: int) -> int:
        """Session time of a device time; asking fixes the answer for all times up to device_ns. Raises ContractError before any update."""
        if not self._pieces:
            raise ContractError("a clock map wants at least one update before it can be asked")
        if self._told is None or device_ns > self._told[0]:
            self._told = (device_ns, self._at(device_ns))
        return self._at(device_ns)

    @property
    def drift_ppm(self) -> float | None:
        """How much the device's clock is fast (> 0) or slow against the session's; None until the line is 10 buckets long."""
        return -self._line[2] * 1e6 if len(self._points) >= 10 else None

    @property
    def uncertainty_ns(self) -> int:
        """Typical error of a session time now: scatter of the envelope plus the correction still owed; an unknown least delay not in it."""
        if self._first is None or not self._pieces:
            return 0
        owed = abs(self._target_ns(self._last_device_ns) - self._at(self._last_device_ns))
        return round(self._spread_ns + owed)

    def _check(self, point: Point, arrival_ns: int) -> Discontinuity | None:
        device_ns, height = point
        if device_ns < self._last_device_ns:
            return Discontinuity(kind="reset", device_ns=device_ns, by_ns=device_ns - self._last_device_ns)
        above = round(height - self._envelope(device_ns))
        if above < -self.rules.jump_ns and arrival_ns - self._first_arrival_ns() > self.rules.confirm_ns:
            return Discontinuity(kind="jump", device_ns=device_ns, by_ns=above)
        if above <= self.rules.jump_ns:
            self._high = None
        else:
            since, count, least = self._high or (arrival_ns, 0, above)
            self._high = (since, count + 1, min(least, above))
            # A stall ends in a burst within the confirmation time, and a few stragglers are no proof.
            if arrival_ns - since > self.rules.confirm_ns and count >= 20:
                return Discontinuity(kind="jump", device_ns=device_ns, by_ns=self._high[2])
        gap_ns = device_ns - self._last_device_ns
        return Discontinuity(kind="gap", device_ns=device_ns, by_ns=gap_ns) if gap_ns > self.rules.gap_ns else None

    def _start(self, point: Point, delay_ns: int) -> None:
        """The first packet of a line: it is taken to have been delayed by delay_ns."""
        device_ns, height = point
        session_ns = device_ns + height - delay_ns
        self._first = self._least = point
        self._last_device_ns, self._line, self._delay_ns = device_ns, (device_ns, float(height), 0.0), delay_ns
        self._pieces.append((device_ns, max(session_ns, self._told[1]) if self._told else session_ns, 0.0))

    def _restart(self, point: Point) -> None:
        """A new line after a reset or jump; only the least delay is carried over, since the way to us is the same."""
        if self._told is not None:
            self._told = (point[0], self._told[1])
        self._anchored = False
        self._pieces.clear()
        self._clear()
        self._start(point, self._delay_ns)

    def _close_bucket(self, least: Point, device_ns: int) -> None:
        self._points.append(least)
        while self._points[-1][0] - self._points[0][0] > self.rules.horizon_ns:
            self._points.popleft()
        if len(self._points) > 60 and least[0] // self.rules.bucket_ns % 10:
            return  # a line over a minute or more does not move in a bucket, and fitting it is the only step that costs
        self._line, self._spread_ns = support_line(self._points, self.rules.max_drift_ppm * 1e-6)
        if self._anchored and self._first is not None and self._points[0][0] - self._first[0] < self.rules.bucket_ns:
            # While the whole history is in view, its start is where the offset is known: what the line shows there is the least delay.
            self._delay_ns = round(self._envelope(self._first[0])) - (self.rules.offset_ns or 0)
        self._steer(device_ns)

    def _steer(self, device_ns: int) -> None:
        """A new piece of the map from the latest time that has been told, aimed at the line 10 s on."""
        from_ns = max(device_ns, self._told[0]) if self._told else device_ns
        session_ns = self._at(from_ns)
        owed = (self._target_ns(from_ns) - session_ns) / 10e9
        young = self._first is not None and device_ns - self._first[0] < 10_000_000_000
        limit = self.rules.slew_ppm * 1e-6 * (100 if young and not self._anchored else 1)
        self._pieces.append((from_ns, session_ns, self._line[2] + min(limit, max(-limit, owed * (10 if young else 1)))))

    def _first_arrival_ns(self) -> int:
        return sum(self._first) if self._first else 0

    def _envelope(self, device_ns: int) -> float:
        from_ns, height, slope = self._line
        if not self._points and self._least is not None:
            height = min(height, self._least[1])
        return height + (device_ns - from_ns) * slope

    def _target_ns(self, device_ns: int) -> int:
        return device_ns + round(self._envelope(device_ns)) - self._delay_ns

    def _at(self, device_ns: int) -> int:
        from_ns, session_ns, rate = next((piece for piece in reversed(self._pieces) if piece[0] <= device_ns), self._pieces[0])
        return session_ns + (device_ns - from_ns) + round((device_ns - from_ns) * rate)

    def snapshot(self) -> Mapping[str, Any]:
        """All state as plain values (tuples, lists, ints, floats); the rules are not part of it."""
        return {
            "delay_ns": self._delay_ns,
            "anchored": self._anchored,
            "told": self._told,
            "pieces": list(self._pieces),
            "points": list(self._points),
            "least": self._least,
            "first": self._first,
            "last_device_ns": self._last_device_ns,
            "line": self._line,
            "spread_ns": self._spread_ns,
            "high": self._high,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._delay_ns, self._anchored, self._told = state["delay_ns"], state["anchored"], state["told"]
        self._pieces = deque(state["pieces"], maxlen=64)
        self._points = deque(state["points"])
        self._least, self._first, self._last_device_ns = state["least"], state["first"], state["last_device_ns"]
        self._line, self._spread_ns, self._high = state["line"], state["spread_ns"], state["high"]
