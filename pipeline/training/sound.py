"""Sound for composed sessions: reading it, levels, rooms, and where someone speaks in it. Mono float32 at RATE_HZ throughout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from operators.packet import AudioBlock, Closed, Packet, Watermark
from pipeline.ports import Wanted
from pipeline.sources.file import MediaFile
from pipeline.training.session import Timed

RATE_HZ = 16_000
BLOCK_NS = 20_000_000
FRAME = 320

Sound = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """Something said during [start_s, end_s) of a recording; text may be empty where only the speech is known."""

    start_s: float
    end_s: float
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """A recording of one person, and where in it they speak."""

    name: str
    sound: Sound
    words: tuple[Word, ...]


def read_sound(path: Path) -> Sound:
    """The whole sound of a file, (samples,), silence where its track has holes. Raises SourceError."""
    source = MediaFile(path=path, threads="none")
    source.open({"audio": Wanted(rate_hz=RATE_HZ, channels=1)})
    try:
        packets = [event for _, event in source.events() if isinstance(event, Packet)]
    finally:
        source.close()
    return assemble(packets)


def assemble(packets: list[Packet]) -> Sound:
    """AudioBlocks of one rate, put where their stamps say."""
    length = max((_at(packet) + packet.payload.data.shape[1] for packet in packets if isinstance(packet.payload, AudioBlock)), default=0)
    sound = np.zeros(length, np.float32)
    for packet in packets:
        if isinstance(packet.payload, AudioBlock):
            data = packet.payload.data.mean(0)
            sound[_at(packet) : _at(packet) + data.size] = data
    return sound


def _at(packet: Packet) -> int:
    return round(packet.start_ns * RATE_HZ / 1e9)


def level(sound: Sound) -> float:
    """Root mean square; 0 for no samples."""
    return float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))) if sound.size else 0.0


def speech_in(sound: Sound, *, below_peak_db: float = 32.0, pause_s: float = 0.25, shortest_s: float = 0.1) -> tuple[Word, ...]:
    """Where a clean recording is loud: frames of 20 ms within below_peak_db of its loudest, pauses closed, blips left out."""
    frames = sound[: sound.size // FRAME * FRAME].reshape(-1, FRAME)
    power = np.sqrt(np.mean(np.square(frames, dtype=np.float64), axis=1))
    loud = np.flatnonzero(power > power.max(initial=0.0) * 10 ** (-below_peak_db / 20))
    if not loud.size:
        return ()
    runs = np.split(loud, np.flatnonzero(np.diff(loud) * FRAME / RATE_HZ > pause_s) + 1)
    words = (Word(start_s=run[0] * FRAME / RATE_HZ, end_s=(run[-1] + 1) * FRAME / RATE_HZ) for run in runs)
    return tuple(word for word in words if word.end_s - word.start_s >= shortest_s)


def room(sound: Sound, rng: np.random.Generator) -> Sound:
    """The same in a small room: an exponentially decaying noise tail, 0.15 to 0.4 s to -60 dB, 10 to 20 dB under the direct sound."""
    decay_s = rng.uniform(0.15, 0.4)
    samples = int(decay_s * RATE_HZ)
    tail = rng.standard_normal(samples) * np.exp(-6.9 * np.arange(samples) / samples)
    tail *= 10 ** (-rng.uniform(10, 20) / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    size = 1 << (sound.size + samples - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(tail, size), size)[: sound.size]
    return wet.astype(np.float32)


def noise_like(noise: Sound, samples: int, rng: np.random.Generator) -> Sound:
    """`samples` of a noise recording from a random place on, repeated end to end as often as needed."""
    start = int(rng.integers(noise.size))
    return np.resize(np.roll(noise, -start), samples)


def with_noise(sound: Sound, noise: Sound, *, speech_level: float, snr_db: float) -> Sound:
    """noise added so that speech_level is snr_db above it. Root mean squares of both; the sum may exceed 1."""
    gain = speech_level / max(level(noise), 1e-9) * 10 ** (-snr_db / 20)
    return (sound + np.float32(gain) * noise[: sound.size]).astype(np.float32)


def blocks(sound: Sound, *, stream: str = "audio") -> list[Timed]:
    """The sound as a source gives it: blocks of 20 ms, each with its promise, and the end."""
    timed: list[Timed] = []
    loud = np.abs(sound).max(initial=0.0)
    sound = sound if loud <= 1 else np.clip(sound, -1, 1)
    end_ns = 0
    for seq, first in enumerate(range(0, sound.size, FRAME)):
        data = sound[None, first : first + FRAME]
        start_ns, end_ns = seq * BLOCK_NS, seq * BLOCK_NS + data.shape[1] * 1_000_000_000 // RATE_HZ
        payload = AudioBlock(data=data, rate_hz=RATE_HZ)
        timed.append((end_ns, Packet(stream=stream, seq=seq, start_ns=start_ns, end_ns=end_ns, payload=payload)))
        timed.append((end_ns, Watermark(stream=stream, time_ns=end_ns)))
    timed.append((end_ns, Closed(stream=stream, time_ns=end_ns)))
    return timed
