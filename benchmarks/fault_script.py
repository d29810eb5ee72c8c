"""The fault script: minutes of a camera, a microphone and captions as they would reach a host, with everything that goes wrong.

Deterministic data in virtual time: the same (seconds, skew_ppm, seed) gives the same list. Nothing here knows any aligner.

 stream  what is made                         reaches the host
 video   30 frames a second, period 33.3 ms   start + log-normal delay, median 45 ms, sigma 0.5 (p99 144 ms), in order
 audio   50 blocks a second of 20 ms          end + log-normal delay, median 15 ms, sigma 0.1 (12-19 ms), in order
 text    a caption every 2-6 s, an instant    0.4-1.5 s after its instant, in order

 fault      at (share of the run)  what happens
 mic dead   20 %, 10 s             blocks that start in it are never made; nothing is promised
 frozen     45 %, 5 s              frames that start in it are never made; nothing is promised
 stall      70 %, 1 s              nothing reaches the host; then everything that was due comes at once, each stream in its order

 clock      video and text are stamped on the session's clock; the microphone's counter starts with the session and runs skew_ppm fast

What a source can truthfully promise, and does:
 video, audio  in order and without holes but for losses: Watermark(packet's end) right after each packet, in the packet's own stamps
 text          every 100 ms: nothing is to come that starts more than 1.5 s ago (its greatest lateness); the stall holds it too
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from operators.clockmap import ClockMap, ClockRules
from operators.packet import AudioBlock, Embedding, Packet, Payload, TextSpan, Watermark

MS = 1_000_000
S = 1_000_000_000
STREAMS = ("video", "audio", "text")
TEXT_LATENESS_NS = 1500 * MS

VIDEO_MEDIAN_MS, VIDEO_SIGMA = 45.0, 0.5
AUDIO_MEDIAN_MS, AUDIO_SIGMA = 15.0, 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An event reaches the host at arrival_ns. true_ns: when in the world the packet (or promise) really starts."""

    arrival_ns: int
    true_ns: int
    event: Packet | Watermark


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultScript:
    """All arrivals in the order of arrival, a little beyond seconds; the faults as [start, end) in session time."""

    seconds: int
    skew_ppm: float
    seed: int
    mic_dead_ns: tuple[int, int]
    frozen_ns: tuple[int, int]
    stall_ns: tuple[int, int]
    arrivals: tuple[Arrival, ...]

    def packets(self) -> list[tuple[int, Packet]]:
        """(arrival_ns, packet), without the promises."""
        return [(arrival.arrival_ns, arrival.event) for arrival in self.arrivals if isinstance(arrival.event, Packet)]

    def truth(self) -> dict[tuple[str, int], int]:
        """(stream, seq) -> when the packet truly started."""
        return {(a.event.stream, a.event.seq): a.true_ns for a in self.arrivals if isinstance(a.event, Packet)}


def fault_script(seconds: int = 600, skew_ppm: float = 0.0, seed: int = 1) -> FaultScript:
    """At least 60 s, so that the faults do not meet."""
    if seconds < 60:
        raise ValueError(f"a fault script wants at least 60 s, got {seconds}")
    dead = _fault(seconds, 0.20, 10)
    frozen = _fault(seconds, 0.45, 5)
    stall = _fault(seconds, 0.70, 1)
    until_ns = (seconds + 3) * S
    made = [
        *_video(random.Random(seed), until_ns, frozen, stall),
        *_audio(random.Random(seed + 1), until_ns, dead, stall, skew_ppm),
        *_text(random.Random(seed + 2), until_ns, stall),
    ]
    made.sort(key=lambda arrival: arrival.arrival_ns)  # stable: a promise stays behind its packet
    return FaultScript(
        seconds=seconds, skew_ppm=skew_ppm, seed=seed, mic_dead_ns=dead, frozen_ns=frozen, stall_ns=stall, arrivals=tuple(made)
    )


def with_clock_map(script: FaultScript) -> FaultScript:
    """The same arrivals with the microphone's stamps mapped to session time by what its arrivals say of its clock."""
    clock = ClockMap(ClockRules(offset_ns=0))
    return replace(script, arrivals=tuple(_mapped(clock, arrival) for arrival in script.arrivals))


def with_text_on_arrival(script: FaultScript) -> FaultScript:
    """The same arrivals with captions that begin to hold when they are heard of; their heartbeat then promises up to now."""
    return replace(script, arrivals=tuple(_on_arrival(arrival) for arrival in script.arrivals))


def _on_arrival(arrival: Arrival) -> Arrival:
    event, now_ns = arrival.event, arrival.arrival_ns
    if event.stream != "text":
        return arrival
    if isinstance(event, Watermark):
        return replace(arrival, event=replace(event, time_ns=now_ns))
    return replace(arrival, event=replace(event, start_ns=now_ns, end_ns=now_ns))


def _mapped(clock: ClockMap, arrival: Arrival) -> Arrival:
    event = arrival.event
    if event.stream != "audio":
        return arrival
    if isinstance(event, Watermark):
        return replace(arrival, event=replace(event, time_ns=clock.to_session_ns(event.time_ns)))
    clock.update(event.end_ns, arrival.arrival_ns)
    start_ns, end_ns = clock.to_session_ns(event.start_ns), clock.to_session_ns(event.end_ns)
    return replace(arrival, event=replace(event, start_ns=start_ns, end_ns=end_ns))


def _fault(seconds: int, share: float, length_s: int) -> tuple[int, int]:
    start_ns = round(seconds * share) * S
    return start_ns, start_ns + length_s * S


def _held(time_ns: int, stall: tuple[int, int]) -> int:
    return stall[1] if stall[0] <= time_ns < stall[1] else time_ns


def _delay_ns(rng: random.Random, median_ms: float, sigma: float) -> int:
    return round(median_ms * MS * math.exp(sigma * rng.gauss(0.0, 1.0)))


def _video(rng: random.Random, until_ns: int, frozen: tuple[int, int], stall: tuple[int, int]) -> Iterator[Arrival]:
    payload = Embedding(data=np.zeros(1, np.float32))
    reached_ns = seq = 0
    for k in range(30 * until_ns // S):
        start_ns, end_ns = k * S // 30, (k + 1) * S // 30
        delay_ns = _delay_ns(rng, VIDEO_MEDIAN_MS, VIDEO_SIGMA)
        if frozen[0] <= start_ns < frozen[1]:
            continue
        reached_ns = max(reached_ns, _held(start_ns + delay_ns, stall))
        yield from _delivered("video", seq, start_ns, end_ns, payload, reached_ns, start_ns)
        seq += 1


def _audio(rng: random.Random, until_ns: int, dead: tuple[int, int], stall: tuple[int, int], skew_ppm: float) -> Iterator[Arrival]:
    payload = AudioBlock(data=np.zeros((1, 1), np.float32), rate_hz=16000)
    reached_ns = seq = 0
    for true_ns in range(0, until_ns, 20 * MS):
        delay_ns = 20 * MS + _delay_ns(rng, AUDIO_MEDIAN_MS, AUDIO_SIGMA)
        if dead[0] <= true_ns < dead[1]:
            continue
        reached_ns = max(reached_ns, _held(true_ns + delay_ns, stall))
        start_ns, end_ns = (t + round(t * skew_ppm * 1e-6) for t in (true_ns, true_ns + 20 * MS))
        yield from _delivered("audio", seq, start_ns, end_ns, payload, reached_ns, true_ns)
        seq += 1


def _text(rng: random.Random, until_ns: int, stall: tuple[int, int]) -> Iterator[Arrival]:
    start_ns = seq = 0
    while (start_ns := start_ns + round(rng.uniform(2, 6) * S)) < until_ns:
        reached_ns = _held(start_ns + round(rng.uniform(0.4, 1.5) * S), stall)
        packet = Packet(stream="text", seq=seq, start_ns=start_ns, end_ns=start_ns, payload=TextSpan(text=f"caption {seq}"))
        yield Arrival(arrival_ns=reached_ns, true_ns=start_ns, event=packet)
        seq += 1
    for now_ns in range(TEXT_LATENESS_NS, until_ns + TEXT_LATENESS_NS, 100 * MS):
        promised_ns = now_ns - TEXT_LATENESS_NS
        yield Arrival(arrival_ns=_held(now_ns, stall), true_ns=promised_ns, event=Watermark(stream="text", time_ns=promised_ns))


def _delivered(stream: str, seq: int, start_ns: int, end_ns: int, payload: Payload, reached_ns: int, true_ns: int) -> Iterator[Arrival]:
    packet = Packet(stream=stream, seq=seq, start_ns=start_ns, end_ns=end_ns, payload=payload)
    yield Arrival(arrival_ns=reached_ns, true_ns=true_ns, event=packet)
    yield Arrival(arrival_ns=reached_ns, true_ns=true_ns + end_ns - start_ns, event=Watermark(stream=stream, time_ns=end_ns))
