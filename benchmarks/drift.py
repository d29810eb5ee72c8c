"""How far apart picture and sound drift in hours: the clock map beside nominal counting, arrival times and a delay-locked loop.

    python -m benchmarks.drift [--hours 10] [--seed 101] [--ppm 50 -50 ...]

The script: benchmarks/drift_script.py. At every frame the session time that each stream's clock is mapped to is compared with the truth;
the A/V error is the difference of the two. All contestants know the least delays; those that follow a mean also know the mean delay.

p99, max        of |A-V| in ms, after 60 s of warm-up
re-lock         the longest time from a lost block or a reconnect until |A-V| stays within 5 ms for a second
told            lost blocks and reconnects that were reported, of all
back            how often session time ran backwards within a stream
us/packet       CPU of the map, the script itself taken off

Exit 1 if the clock map misses one of: p99 <= 5 ms, re-lock < 30 s, session time never back.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from benchmarks.drift_script import JITTER_MS, LEAST_NS, MS, PERIOD_NS, S, Seen, drift_script
from benchmarks.machine import markdown, where_and_when
from operators.clockmap import ClockMap, ClockRules

PPM = (50.0, -50.0, 100.0, -100.0, 200.0, -200.0, 500.0, -500.0)
WARM_UP_NS = 60 * S
GOOD_NS = 5 * MS


class Clock(Protocol):
    def session_ns(self, seen: Seen) -> int: ...


class Mapped:
    """Ours."""

    def __init__(self, stream: str) -> None:
        self.map = ClockMap(ClockRules(delay_ns=LEAST_NS[stream]))

    def session_ns(self, seen: Seen) -> int:
        self.map.update(seen.device_ns, seen.arrival_ns)
        return self.map.to_session_ns(seen.device_ns)


class Counted:
    """The device's count at its nominal rate, from the first packet on; a reconnect begins a new count at its arrival."""

    def __init__(self, stream: str) -> None:
        self._mean_ns = _mean_delay_ns(stream)
        self._zero_ns: int | None = None

    def session_ns(self, seen: Seen) -> int:
        if self._zero_ns is None or seen.again:
            self._zero_ns = seen.arrival_ns - self._mean_ns - seen.device_ns
        return self._zero_ns + seen.device_ns


class Arrived:
    """When it came, less the mean delay."""

    def __init__(self, stream: str) -> None:
        self._mean_ns = _mean_delay_ns(stream)

    def session_ns(self, seen: Seen) -> int:
        return seen.arrival_ns - self._mean_ns


class Locked:
    """The second-order delay-locked loop of Adriaensen, "Using a DLL to filter time" (LAC 2005), at 0.1 Hz, on device time.

    It starts again at a reconnect, and where it is 50 ms off for 20 packets in a row.
    """

    def __init__(self, stream: str, bandwidth_hz: float = 0.1) -> None:
        self._mean_ns, self._period_ns = _mean_delay_ns(stream), PERIOD_NS[stream]
        omega = 2 * 3.141592653589793 * bandwidth_hz * self._period_ns / 1e9
        self._b, self._c = 2**0.5 * omega, omega * omega
        self._at = self._rate = 0.0
        self._last_ns: int | None = None
        self._off = 0

    def session_ns(self, seen: Seen) -> int:
        heard_ns = seen.arrival_ns - self._mean_ns
        if self._last_ns is None or seen.again or self._off >= 20:
            self._at, self._rate, self._off = float(heard_ns), self._rate or 1.0, 0
        else:
            step_ns = seen.device_ns - self._last_ns
            self._at += step_ns * self._rate
            error = heard_ns - self._at
            self._off = self._off + 1 if abs(error) > 50 * MS else 0
            self._at += self._b * error
            self._rate += self._c * error / self._period_ns
        self._last_ns = seen.device_ns
        return round(self._at)


def _mean_delay_ns(stream: str) -> int:
    return LEAST_NS[stream] + round(JITTER_MS[stream] * MS * 2**0.5)


@dataclass(slots=True)
class Score:
    errors_ns: list[int] = field(default_factory=list)
    relock_ns: int = 0
    back: int = 0
    steps: int = 0
    cpu_us: float = 0.0
    told: str = ""


def follow(seen: Iterable[Seen], clocks: dict[str, Clock]) -> Score:
    """Feeds a script to the clocks of both streams; nothing but arrivals, stamps and `again` may be looked at there."""
    score, off = Score(), {"video": 0, "audio": 0}
    last = {"video": -(1 << 62), "audio": -(1 << 62)}
    broken_ns: int | None = None  # since when the clocks are not locked after a step
    good_ns = cpu_ns = packets = 0
    for packet in seen:
        begun_ns = time.perf_counter_ns()
        session_ns = clocks[packet.stream].session_ns(packet)
        cpu_ns += time.perf_counter_ns() - begun_ns
        packets += 1
        score.back += session_ns < last[packet.stream]
        last[packet.stream] = session_ns
        off[packet.stream] = session_ns - packet.true_ns
        error_ns = abs(off["audio"] - off["video"])
        if (packet.lost or packet.again) and packet.true_ns > WARM_UP_NS:
            score.steps += 1
            broken_ns, good_ns = packet.arrival_ns, packet.arrival_ns
        if broken_ns is not None:
            good_ns = packet.arrival_ns if error_ns > GOOD_NS else good_ns
            if packet.arrival_ns - good_ns > S:
                score.relock_ns, broken_ns = max(score.relock_ns, good_ns - broken_ns), None
        if packet.stream == "video" and packet.true_ns > WARM_UP_NS:
            score.errors_ns.append(error_ns)
    if broken_ns is not None:
        score.relock_ns = max(score.relock_ns, good_ns - broken_ns)
    score.errors_ns.sort()
    score.cpu_us = cpu_ns / 1e3 / packets
    if isinstance(clocks["audio"], Mapped) and isinstance(clocks["video"], Mapped):
        counts = clocks["audio"].map.counts + clocks["video"].map.counts
        score.told = f"{counts['jump'] + counts['reset']}/{score.steps}"
    return score


def row(name: str, score: Score) -> list[str]:
    n = len(score.errors_ns)
    figures = [f"{score.errors_ns[int(n * share)] / MS:.2f}" for share in (0.5, 0.99)] + [f"{score.errors_ns[-1] / MS:.1f}"]
    return [name, *figures, f"{score.relock_ns / S:.1f}", score.told, str(score.back), f"{score.cpu_us:.1f}"]


def held(score: Score) -> bool:
    return score.errors_ns[int(len(score.errors_ns) * 0.99)] <= GOOD_NS and score.relock_ns < 30 * S and not score.back


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--ppm", type=float, nargs="+", default=PPM)
    parser.add_argument("--no-peers", action="store_true")
    args = parser.parse_args()
    print(f"{where_and_when()}; {args.hours:g} h, seed {args.seed}\n")
    rows, broken = [], []
    contestants = {"clock map": Mapped} | ({} if args.no_peers else {"nominal count": Counted, "arrival": Arrived, "DLL": Locked})
    for ppm in args.ppm:
        for name, make in contestants.items():
            score = follow(drift_script(args.hours, ppm, args.seed), {stream: make(stream) for stream in LEAST_NS})
            rows.append(row(f"{ppm:+g} ppm, {name}", score))
            print(rows[-1], file=sys.stderr, flush=True)
            if make is Mapped and not held(score):
                broken.append(f"{ppm:+g} ppm")
    print(markdown(["", "p50", "p99", "max", "re-lock s", "told", "back", "us/packet"], rows))
    print("\n" + ("\n".join(f"BROKEN at {name}" for name in broken) or "every claim holds"))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
