"""A voice made of formants: source (pulses and hiss) and filter (resonances), after Fant's model of speech."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.scene.phones import PHONES, Sound

RATE_HZ = 16000
FRAME, HOP, FFT = 512, 128, 1024
BANDWIDTHS_HZ = np.array([80.0, 100.0, 140.0, 250.0])
FOURTH_FORMANT_HZ = 3500.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """Whose voice it is.

    pitch_hz: of the middle of a sentence. tract: length of the vocal tract relative to a man's (formants times 1 / tract).
    breath: hiss mixed into the voice, 0 to 0.2. room: level of the room's echo, 0 (close microphone) to 0.5.
    """

    pitch_hz: float
    tract: float
    breath: float = 0.03
    room: float = 0.0


def draw_voice(rng: np.random.Generator) -> Voice:
    """Anyone: low voices have long tracts, as people's have."""
    pitch_hz = float(np.exp(rng.uniform(np.log(85), np.log(260))))
    tract = float(np.clip(1.05 - 0.25 * np.log2(pitch_hz / 110) * 0.7 + rng.normal(0, 0.04), 0.75, 1.15))
    return Voice(pitch_hz=pitch_hz, tract=tract, breath=float(rng.uniform(0.01, 0.08)), room=float(rng.uniform(0.0, 0.12)))


def draw_other_voice(rng: np.random.Generator, than: Voice) -> Voice:
    """Somebody else's: at least four semitones away."""
    while True:
        voice = draw_voice(rng)
        if abs(np.log2(voice.pitch_hz / than.pitch_hz)) > 1 / 3:
            return voice


def synthesize(sounds: Sequence[Sound], voice: Voice, rng: np.random.Generator) -> NDArray[np.float32]:
    """The sentence as float32 (samples,) at RATE_HZ, from the first sound's start to the last one's end, RMS of about 0.1."""
    length = round(max(sound.end_s for sound in sounds) * RATE_HZ)
    times_s = np.arange(-(-(length + FRAME) // HOP)) * HOP / RATE_HZ
    loud, hiss, formants, bands = _tracks(sounds, times_s)
    pulses = _pulses(voice, length + FRAME, rng)
    noise = rng.standard_normal(length + FRAME)
    voiced = _filtered(pulses + voice.breath * noise, _resonances(formants / voice.tract) * loud[:, None])
    hissing = _filtered(noise, _hiss(bands) * hiss[:, None])
    mixed = _echo((voiced + hissing)[:length], voice.room, rng)
    return np.asarray(0.1 * mixed / (np.sqrt(np.mean(mixed**2)) + 1e-9), np.float32)


def _tracks(sounds: Sequence[Sound], times_s: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Loudness of voice and hiss, formants and hiss bands at each time: (t,), (t,), (t, 3), (t, 2); smooth as a tongue is."""
    starts = np.array([sound.start_s for sound in sounds])
    index = np.clip(np.searchsorted(starts, times_s, side="right") - 1, 0, len(sounds) - 1)
    table = np.array([[PHONES[s.phone].voiced * s.loudness, PHONES[s.phone].noise * s.loudness] for s in sounds])
    formants = np.array([PHONES[s.phone].formants_hz for s in sounds])
    bands = np.array([PHONES[s.phone].noise_hz for s in sounds])
    after_end = times_s >= sounds[-1].end_s
    levels = np.where(after_end[:, None], 0.0, table[index])
    return smooth(levels[:, 0], 1.0), smooth(levels[:, 1], 0.6), smooth(formants[index], 2.5), bands[index]


def smooth(track: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Gaussian smoothing along the first axis, sigma in steps; the ends are held."""
    reach = max(1, round(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.concatenate([np.repeat(track[:1], reach, 0), track, np.repeat(track[-1:], reach, 0)])
    columns = padded.reshape(len(padded), -1).T
    made = np.stack([np.convolve(column, kernel / kernel.sum(), mode="valid") for column in columns], axis=1)
    return np.asarray(made.reshape(track.shape), np.float64)


def _pulses(voice: Voice, samples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Band-limited pulses at a pitch that falls over the sentence, wanders and trembles a little (Dirichlet kernel of its phase)."""
    position = np.linspace(0, 1, samples)
    wander = np.interp(position, np.linspace(0, 1, 8), rng.normal(0, 1.2, 8))
    semitones = 2.0 - 5.0 * position + wander + 0.3 * np.sin(2 * np.pi * 5.5 * np.arange(samples) / RATE_HZ)
    pitch_hz = voice.pitch_hz * 2 ** (semitones / 12)
    half = np.pi * np.cumsum(pitch_hz) / RATE_HZ
    harmonics = np.floor(7000 / pitch_hz.max())  # one number for all: each change of it would click
    below = np.sin(half)
    small = np.abs(below) < 1e-6
    kernel = np.sin((2 * harmonics + 1) * half) / np.where(small, 1.0, below)
    return np.asarray(np.where(small, 2 * harmonics + 1, kernel) / np.sqrt(2 * harmonics), np.float64)


def _resonances(formants_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Magnitude (t, bins) of four resonators in a row and the fall of the voice's own spectrum, all of equal power."""
    hz = np.fft.rfftfreq(FFT, 1 / RATE_HZ)
    poles = np.concatenate([formants_hz, np.full((len(formants_hz), 1), FOURTH_FORMANT_HZ)], axis=1)[:, :, None]
    gain = poles**2 / np.sqrt((poles**2 - hz**2) ** 2 + (BANDWIDTHS_HZ[:, None] * hz) ** 2)
    shape = gain.prod(axis=1) / (1 + hz / 400)
    return np.asarray(shape / np.sqrt(np.mean(shape**2, axis=1, keepdims=True)), np.float64)


def _hiss(bands_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    hz = np.fft.rfftfreq(FFT, 1 / RATE_HZ)
    return np.asarray(np.exp(-0.5 * ((hz - bands_hz[:, :1]) / (bands_hz[:, 1:] / 2)) ** 2), np.float64)


def _filtered(signal: NDArray[np.float64], gain: NDArray[np.float64]) -> NDArray[np.float64]:
    """Short-time filtering: gain (t, bins) for the frame around t * HOP; Hann windows at a quarter hop add up to 2.

    A frame lies in the middle of its transform, because a filter without phase rings to both sides.
    """
    count = min(len(gain), 1 + (len(signal) - FRAME) // HOP)
    frames = np.lib.stride_tricks.sliding_window_view(signal, FRAME)[::HOP][:count] * np.hanning(FRAME + 1)[:-1]
    side = (FFT - FRAME) // 2
    made = np.fft.irfft(np.fft.rfft(np.pad(frames, ((0, 0), (side, side)))) * gain[:count], FFT)
    out = np.zeros(count * HOP + FFT)
    for index, frame in enumerate(made):
        out[index * HOP : index * HOP + FFT] += frame
    out = out[side + FRAME // 2 :] / 2
    return np.asarray(np.pad(out, (0, max(0, len(signal) - len(out))))[: len(signal)], np.float64)


def _echo(signal: NDArray[np.float64], room: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A few early reflections; a microphone across the room hears them."""
    made = signal.copy()
    for delay_s in rng.uniform(0.008, 0.06, 6):
        delay = round(delay_s * RATE_HZ)
        made[delay:] += room * rng.choice([-1.0, 1.0]) * np.exp(-delay_s / 0.03) * signal[: len(signal) - delay]
    return made


def background(samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A room: noise that falls with frequency, and mains hum. float32 (samples,), RMS 1."""
    if samples == 0:
        return np.zeros(0, np.float32)
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    hz = np.fft.rfftfreq(samples, 1 / RATE_HZ)
    noise = np.fft.irfft(spectrum / np.sqrt(1 + hz / rng.uniform(80, 800)), samples)
    hum = np.sin(2 * np.pi * 50 * np.arange(samples) / RATE_HZ + rng.uniform(0, 6.28)) * rng.uniform(0, 0.5)
    mixed = noise / (noise.std() + 1e-9) + hum
    return np.asarray(mixed / (np.sqrt(np.mean(mixed**2)) + 1e-9), np.float32)
