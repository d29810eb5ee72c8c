"""Hours of a camera and a microphone with clocks of their own, as their packets reach a host. Virtual time.

video  30 frames a second, stamped by a clock that is 15 ppm slow
audio  50 blocks a second, stamped by its count of samples, which runs `ppm` fast

on the way   a least delay (video 20 ms, audio 11 ms), known as from a calibration; on it a delay of the gamma law with shape 2 and the
             standard deviation of the jitter (4 ms, 1.5 ms); in order, as from USB or TCP
congestion   every 40 to 80 s, for 0.2 to 1.5 s, every delay is 20 to 150 ms longer
stall        every 10 to 20 minutes nothing arrives for 0.5 to 5 s; then everything at once
lost block   every 8 to 16 minutes the microphone loses 1 to 5 blocks, and its counter does not know of them
reconnect    every 40 to 80 minutes one of the two is away for 1 to 8 s and then counts from 0 again
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from operator import attrgetter

MS = 1_000_000
S = 1_000_000_000
LEAST_NS = {"video": 20 * MS, "audio": 11 * MS}
JITTER_MS = {"video": 4.0, "audio": 1.5}
PERIOD_NS = {"video": S // 30, "audio": 20 * MS}
VIDEO_PPM = -15.0

Spans = list[tuple[int, int, int]]
"""(start_ns, end_ns, extra): in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A packet reaches the host.

    true_ns: when in the world it really began. device_ns: what its device says. lost: blocks lost just before, unsaid.
    again: the device counts from 0 since this packet.
    """

    stream: str
    arrival_ns: int
    true_ns: int
    device_ns: int
    lost: int = 0
    again: bool = False


def drift_script(hours: float, ppm: float, seed: int) -> Iterator[Seen]:
    """Both streams in the order of arrival."""
    until_ns = round(hours * 3600 * S)
    lot = random.Random(seed)
    congestion = [(a, b, lot.randrange(20, 150) * MS) for a, b in _spans(lot, until_ns, (40, 80), (0.2, 1.5))]
    stalls = [(a, b, 0) for a, b in _spans(lot, until_ns, (600, 1200), (0.5, 5.0))]
    losses = [at for at, _ in _spans(lot, until_ns, (480, 960), (0.1, 0.1))]
    away: dict[str, list[tuple[int, int]]] = {"video": [], "audio": []}
    for span in _spans(lot, until_ns, (2400, 4800), (1.0, 8.0)):
        away[lot.choice(("video", "audio"))].append(span)
    streams = [
        _stream(name, until_ns, rate, random.Random(f"{seed} {name}"), congestion, stalls, losses if name == "audio" else [], away[name])
        for name, rate in (("video", VIDEO_PPM), ("audio", ppm))
    ]
    return merge(*streams, key=attrgetter("arrival_ns"))


def _spans(lot: random.Random, until_ns: int, every_s: tuple[float, float], length_s: tuple[float, float]) -> list[tuple[int, int]]:
    out, at_ns = [], 0
    while at_ns < until_ns:
        at_ns += round(lot.uniform(*every_s) * S)
        out.append((at_ns, at_ns + round(lot.uniform(*length_s) * S)))
    return out


def _stream(
    name: str,
    until_ns: int,
    ppm: float,
    lot: random.Random,
    congestion: Spans,
    stalls: Spans,
    losses: list[int],
    away: list[tuple[int, int]],
) -> Iterator[Seen]:
    period_ns, least_ns, theta = PERIOD_NS[name], LEAST_NS[name], JITTER_MS[name] * MS / 2**0.5
    slow, held, gone, gaps = _Within(congestion), _Within(stalls), _Within([(a, b, 0) for a, b in away]), iter([*losses, 1 << 62])
    next_loss_ns, zero_ns, uncounted_ns, arrived_ns, true_ns, again = next(gaps), 0, 0, 0, 0, False
    while true_ns < until_ns:
        lost = 0
        if true_ns >= next_loss_ns:
            lost, next_loss_ns = lot.randint(1, 5), next(gaps)
            uncounted_ns += lost * period_ns
            true_ns += lost * period_ns
        if gone.at(true_ns) is not None:
            again, true_ns = True, true_ns + period_ns
            continue
        if again:
            zero_ns, uncounted_ns = true_ns, 0
        counted_ns = true_ns - zero_ns - uncounted_ns
        device_ns = counted_ns + round(counted_ns * ppm * 1e-6)
        extra = slow.at(true_ns)
        due_ns = true_ns + least_ns + round(lot.gammavariate(2, theta)) + (extra[2] if extra else 0)
        stall = held.at(due_ns)
        arrived_ns = max(arrived_ns, stall[1] if stall else due_ns)
        yield Seen(stream=name, arrival_ns=arrived_ns, true_ns=true_ns, device_ns=device_ns, lost=lost, again=again)
        again = False
        true_ns += period_ns


class _Within:
    """Which of some spans a rising time lies in."""

    def __init__(self, spans: Spans) -> None:
        self._spans = iter(spans)
        self._span = next(self._spans, None)

    def at(self, time_ns: int) -> tuple[int, int, int] | None:
        while self._span is not None and time_ns >= self._span[1]:
            self._span = next(self._spans, None)
        return self._span if self._span is not None and self._span[0] <= time_ns else None
