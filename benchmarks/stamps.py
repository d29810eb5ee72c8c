"""Time stamps burned into picture and sound, which survive H.264, VP8, AAC and Opus, and how they are read back. NumPy only.

Picture: 32 cells across the top, units of 0.1 ms of a clock (black 0, white 1, lowest bit first), and below them the same inverted, so that
a cell that was misread shows. Sound: at every whole 100 ms of that clock a chirp of 20 ms, whose place is found by correlation, and 25 ms
after its beginning one of 16 tones, which says which of the last 1.6 s it was.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UNIT_NS = 100_000
BITS = 32
BAND = 2 * 24 / 360
"""The stamp's part of a picture's height."""
MARK_NS = 100_000_000
TONES = 16
CHIRP_S, CHIRP_HZ = 0.020, (600.0, 4400.0)
TONE_S, TONE_AT_S = 0.040, 0.025
LEAST = 0.35
"""Of the correlation with a perfect chirp, and of how clear a tone must be."""

Picture = NDArray[np.uint8]
Sound = NDArray[np.float32]


def burn(picture: Picture, time_ns: int) -> None:
    """Writes the stamp into a picture (h, w) or (h, w, 3), in place."""
    height, width = picture.shape[:2]
    row, units = round(height * BAND / 2), time_ns // UNIT_NS
    for bit in range(BITS):
        left, right = bit * width // BITS, (bit + 1) * width // BITS
        one = units >> bit & 1
        picture[:row, left:right] = 235 if one else 16
        picture[row : 2 * row, left:right] = 16 if one else 235


def burned_units(picture: Picture) -> int | None:
    """The stamp of a picture of that size or another, modulo 2 ** 32; None: it cannot be read."""
    grey = picture if picture.ndim == 2 else picture[..., 1]
    height, width = grey.shape
    across = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    rows = [int(height * BAND / 4 * part) for part in (1, 3)]
    above, below = (grey[row - 1 : row + 2][:, across].mean(axis=0) for row in rows)
    if np.abs(above - below).min() < 60:
        return None
    return sum(int(one) << bit for bit, one in enumerate(above > below))


def burned_ns(units: int, near_ns: int) -> int:
    """When it was burned: within 2.4 days of near_ns."""
    return _unwrapped(units, near_ns // UNIT_NS, 1 << BITS) * UNIT_NS


def marks(times_ns: NDArray[np.float64], origin_ns: int) -> Sound:
    """What is heard at times_ns + origin_ns: float32 in [-1, 1]. Apart, since a float64 does not hold a day in nanoseconds well."""
    since_ns = times_ns + origin_ns % (MARK_NS * TONES)
    index = np.floor(since_ns / MARK_NS)
    at_s = (since_ns - index * MARK_NS) / 1e9
    hz = tone_hz(index.astype(np.int64) % TONES)
    tone_s = at_s - TONE_AT_S
    tone = np.where((tone_s >= 0) & (tone_s < TONE_S), np.sin(np.pi * tone_s / TONE_S) ** 2 * np.sin(2 * np.pi * hz * tone_s), 0)
    return (0.6 * chirp(at_s) + 0.4 * tone).astype(np.float32)


def chirp(at_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of one that began at 0."""
    low, high = CHIRP_HZ
    phase = 2 * np.pi * (low * at_s + (high - low) / (2 * CHIRP_S) * at_s**2)
    return np.where((at_s >= 0) & (at_s < CHIRP_S), np.sin(np.pi * at_s / CHIRP_S) ** 2 * np.sin(phase), 0)


def tone_hz(index: NDArray[np.int64]) -> NDArray[np.float64]:
    return 700.0 + 250.0 * index


def find_marks(sound: Sound, rate_hz: int) -> list[tuple[float, int]]:
    """(sample at which it begins, with parts of a sample; which of the 16 it is) of every mark that is heard clearly."""
    template = chirp(np.arange(round(CHIRP_S * rate_hz)) / rate_hz)
    heard = _correlation(sound, template)
    found, apart = [], int(0.06 * rate_hz)
    peaks = np.flatnonzero((heard[1:-1] > heard[:-2]) & (heard[1:-1] >= heard[2:]) & (heard[1:-1] > LEAST * 0.3)) + 1
    for peak in peaks:
        if heard[peak] < heard[max(0, peak - apart) : peak + apart].max():
            continue
        before, here, after = heard[peak - 1 : peak + 2]
        at = peak + 0.5 * (before - after) / (before - 2 * here + after)
        index = _tone(sound, float(at), rate_hz)
        if index is not None:
            found.append((float(at), index))
    return found


def mark_ns(index: int, near_ns: int) -> int:
    """When the mark with that tone was made: within 0.8 s of near_ns."""
    return _unwrapped(index, round(near_ns / MARK_NS), TONES) * MARK_NS


def _unwrapped(value: int, near: int, period: int) -> int:
    return near + (value - near + period // 2) % period - period // 2


def _correlation(sound: Sound, template: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how much each stretch is the template: 1 for one of full loudness."""
    size = 1 << (len(sound) + len(template)).bit_length()
    spectrum = np.fft.rfft(sound, size) * np.conj(np.fft.rfft(template, size))
    return np.asarray(np.fft.irfft(spectrum, size)[: len(sound)] / (template @ template))


def _tone(sound: Sound, at: float, rate_hz: int) -> int | None:
    begin = round(at + TONE_AT_S * rate_hz)
    heard = sound[begin : begin + round(TONE_S * rate_hz)]
    if len(heard) < TONE_S * rate_hz - 1:
        return None
    at_s = np.arange(len(heard)) / rate_hz
    waves = np.exp(-2j * np.pi * tone_hz(np.arange(TONES))[:, None] * at_s) @ (heard * np.hanning(len(heard)))
    strength = np.abs(waves)
    second, first = np.sort(strength)[-2:]
    return int(strength.argmax()) if second < (1 - LEAST) * first and first > 1e-3 * len(heard) else None
