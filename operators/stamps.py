"""From the stamps that a device writes to session time: every way in which they go wrong is an event, and time never bends.

A stamp is read against the one before it of the same stream, and against how much later it arrived:

 wrap          it fell by about the counter's period: unwrapped, nothing else happens
 duplicate     the same stamp again: the packet is refused
 out_of_order  one packet from before the newest: refused
 reset         the device's time began again near 0           \
 backward      it went back, and stayed there                  |  a new line: the clock is learnt afresh,
 leap          it advanced far more than the time that passed  |  what was said of the past stays
 lag           it advanced far less (device asleep, samples lost)/
 jump, gap     as `operators.clockmap` finds them, more slowly and more finely
 off_clock     the packet fits no line: refused; if that goes on, a new line
 reanchored    it would lie in the future: the line was learnt from packets that came late (a backlog at the start): a new one begins
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from operators.clockmap import ClockMap, ClockRules

LEAP_NS = 500_000_000
LAG_NS = 5_000_000_000
OLDEST_NS = 10_000_000_000
"""A live packet is never older than this when it arrives."""
NEAR_ZERO_NS = 1_000_000_000
YOUNG_NS = 3_000_000_000
AHEAD_NS, YOUNG_AHEAD_NS = 40_000_000, 3_000_000
"""A stamp so far after its arrival is no jitter of the map; in the first seconds of a line, when it is a guess, already less."""
PATIENCE = 25
"""So many packets in a row that fit no line are a new one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """time_ns None: refused, and the last of `faults` is the reason. faults: names from the list above, in order."""

    time_ns: int | None
    faults: tuple[str, ...] = ()


@dataclass(slots=True)
class _Last:
    """The newest stamp of one stream, unwrapped, and when it arrived."""

    device_ns: int
    arrival_ns: int
    wraps: int = 0
    back: int = 0
    strange: int = 0


class SourceClock:
    """The clock of one device and all of its streams.

    wrap_ns: period of the device's counter, None where the library unwraps it (or it never will).
    """

    def __init__(self, rules: ClockRules | None = None, *, wrap_ns: int | None = None) -> None:
        self._rules = rules or ClockRules()
        self._wrap_ns = wrap_ns
        self._map = ClockMap(self._rules)
        self._last: dict[str, _Last] = {}
        self._since_ns = 0  # when this line began
        self._newest: tuple[int, int] | None = None  # device time and arrival of the packet that is furthest ahead

    @property
    def drift_ppm(self) -> float | None:
        return self._map.drift_ppm

    @property
    def uncertainty_ns(self) -> int:
        return self._map.uncertainty_ns

    def read(self, stream: str, stamp_ns: int, arrival_ns: int) -> Reading:
        """The session time of a packet's start. arrival_ns: session time at which its start can have arrived at the earliest known."""
        last = self._last.get(stream)
        faults: list[str] = []
        device_ns = stamp_ns
        if last is not None:
            device_ns, wrapped = self._unwrapped(stamp_ns, last)
            faults += ["wrap"] * wrapped
            refused, fault = _judged(device_ns, arrival_ns, last)
            if refused is not None:
                return Reading(time_ns=None, faults=(*faults, refused))
            if fault is not None:
                faults.append(fault)
                self._new_line()
                device_ns = stamp_ns
        return self._mapped(stream, device_ns, arrival_ns, faults)

    def at(self, stream: str, stamp_ns: int) -> int:
        """Session time of another instant of a packet that was just read (its end)."""
        last = self._last[stream]
        return self._map.to_session_ns(stamp_ns + last.wraps * (self._wrap_ns or 0))

    def _unwrapped(self, stamp_ns: int, last: _Last) -> tuple[int, bool]:
        period_ns = self._wrap_ns
        if period_ns is None:
            return stamp_ns, False
        device_ns = stamp_ns + last.wraps * period_ns
        if last.device_ns - device_ns < period_ns // 2:
            return device_ns, False
        last.wraps += 1
        return device_ns + period_ns, True

    def _mapped(self, stream: str, device_ns: int, arrival_ns: int, faults: Sequence[str]) -> Reading:
        found: list[str] = list(faults)
        last = self._last.get(stream) or _Last(device_ns, arrival_ns)
        if not self._fits(device_ns, arrival_ns):
            last.strange += 1
            self._last[stream] = last
            if last.strange < PATIENCE:
                return Reading(time_ns=None, faults=(*found, "off_clock"))
            found.append("off_clock")
            self._new_line()
        if self._newest is None:
            self._since_ns = arrival_ns
        if self._newest is None or device_ns > self._newest[0]:
            # Streams interleave: the map is fed by whichever is ahead, so that it sees one rising time.
            self._newest = (device_ns, arrival_ns)
            change = self._map.update(device_ns, arrival_ns)
            found += [] if change is None else [change.kind]
        time_ns = self._map.to_session_ns(device_ns)
        if time_ns - arrival_ns > (YOUNG_AHEAD_NS if arrival_ns - self._since_ns < YOUNG_NS else AHEAD_NS):
            since_ns = self._since_ns
            self._new_line()
            reading = self._mapped(stream, device_ns, arrival_ns, [*found, "reanchored"])
            self._since_ns = since_ns  # it is not young again
            return reading
        self._last[stream] = _Last(device_ns, arrival_ns, wraps=last.wraps)
        return Reading(time_ns=time_ns, faults=tuple(found))

    def _fits(self, device_ns: int, arrival_ns: int) -> bool:
        """Whether the packet can be of the line that the device's other packets make."""
        if self._newest is None:
            return True
        ahead_ns = (device_ns - self._newest[0]) - (arrival_ns - self._newest[1])
        return -OLDEST_NS < ahead_ns < LEAP_NS

    def _new_line(self) -> None:
        self._map = ClockMap(self._rules)
        self._last.clear()
        self._newest = None


def _judged(device_ns: int, arrival_ns: int, last: _Last) -> tuple[str | None, str | None]:
    """(why the packet is refused, why a new line begins); both None: it goes on as before."""
    step_ns, waited_ns = device_ns - last.device_ns, arrival_ns - last.arrival_ns
    if step_ns == 0:
        return "duplicate", None
    if step_ns < 0:
        last.back += 1
        if last.back == 1:
            return "out_of_order", None
        return None, "reset" if device_ns < NEAR_ZERO_NS else "backward"
    if step_ns - waited_ns > LEAP_NS:
        return None, "leap"
    return None, "lag" if waited_ns - step_ns > LAG_NS else None
