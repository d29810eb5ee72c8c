"""A camera and a microphone whose truth is known: which 20 ms of sound each frame belongs to. Virtual time.

video  30 frames a second, a camera clock; stamps scatter by 4 ms (normal); arrives 25 ms later or more
audio  blocks of 20 ms, `ppm` faster than the camera, at any phase to it; stamps scatter by 1.5 ms; arrives 8 ms after its end or more

both   numbered by their source; 1 % are lost on the way; arrival + gamma (shape 2, mean 6 ms); 5 % are overtaken: up to 200 ms later;
       every 5 to 15 s all that arrives within 100 to 300 ms comes at its end in a burst

step          from a third of the run on the sound arrives 40 ms later
never synced  the microphone's stamps are off by seconds: its clock was never set
"""

from __future__ import annotations

import random
from bisect import bisect_right
from dataclasses import dataclass
from operator import attrgetter

MS = 1_000_000
S = 1_000_000_000
FRAME_NS, BLOCK_NS = S / 30, 20 * MS
HOST_PPM = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    stream: str
    seq: int
    true_ns: int
    stamp_ns: int
    arrival_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PairingScript:
    """sent in the order of arrival. heard[frame's seq]: the block of the frame's instant; right: the same, None if it was lost."""

    sent: tuple[Sent, ...]
    heard: dict[int, int]
    right: dict[int, int | None]
    arrived_ns: dict[tuple[str, int], int]


def pairing_script(seconds: int, ppm: float, seed: int, *, step_ns: int = 0, off_ns: int = 0) -> PairingScript:
    lot = random.Random(seed)
    phase_ns = lot.uniform(0, BLOCK_NS)
    bursts = _bursts(lot, seconds * S)
    rate = 1 + ppm * 1e-6
    video = [(k, round(2 * S + k * FRAME_NS)) for k in range(seconds * 30)]
    audio = [(k, round(S + phase_ns + k * BLOCK_NS / rate)) for k in range(round((seconds + 2) * 50 * rate))]
    sent = []
    for k, true_ns in video:
        stamp_ns = round(true_ns * (1 + HOST_PPM * 1e-6) + lot.gauss(0, 4 * MS))
        sent.append((Sent(stream="video", seq=k, true_ns=true_ns, stamp_ns=stamp_ns, arrival_ns=true_ns + _way(lot, 25)), lot.random()))
    for k, true_ns in audio:
        ticked_ns = true_ns * (1 + HOST_PPM * 1e-6) * rate + off_ns
        later_ns = step_ns if true_ns > seconds * S // 3 else 0
        arrival_ns = true_ns + BLOCK_NS + _way(lot, 8) + later_ns
        stamp_ns = round(ticked_ns + lot.gauss(0, 1.5 * MS))
        sent.append((Sent(stream="audio", seq=k, true_ns=true_ns, stamp_ns=stamp_ns, arrival_ns=arrival_ns), lot.random()))
    kept = [_held(packet, bursts) for packet, luck in sent if luck >= 0.01]
    kept.sort(key=attrgetter("arrival_ns"))
    there = {packet.seq for packet in kept if packet.stream == "audio"}
    starts = [true_ns for _, true_ns in audio]
    frames = [packet for packet in kept if packet.stream == "video"]
    blocks = {frame.seq: bisect_right(starts, frame.true_ns) - 1 for frame in frames}
    right = {seq: block if block in there else None for seq, block in blocks.items()}
    arrived_ns = {(packet.stream, packet.seq): packet.arrival_ns for packet in kept}
    return PairingScript(sent=tuple(kept), heard=blocks, right=right, arrived_ns=arrived_ns)


def _way(lot: random.Random, least_ms: int) -> int:
    overtaken_ms = lot.uniform(0, 200) if lot.random() < 0.05 else 0.0
    return round((least_ms + lot.gammavariate(2, 3) + overtaken_ms) * MS)


def _bursts(lot: random.Random, until_ns: int) -> list[tuple[int, int]]:
    out, at_ns = [], 0
    while at_ns < until_ns:
        at_ns += round(lot.uniform(5, 15) * S)
        out.append((at_ns, at_ns + round(lot.uniform(0.1, 0.3) * S)))
    return out


def _held(packet: Sent, bursts: list[tuple[int, int]]) -> Sent:
    at = bisect_right(bursts, (packet.arrival_ns, 1 << 62)) - 1
    if at < 0 or packet.arrival_ns >= bursts[at][1]:
        return packet
    return Sent(
        stream=packet.stream, seq=packet.seq, true_ns=packet.true_ns, stamp_ns=packet.stamp_ns, arrival_ns=bursts[at][1] + packet.seq % 7
    )
