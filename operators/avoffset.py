r"""How far sound and picture of a speaking face are apart, from what they show: the mouth opens when the voice rises.

 mouth   __/\____/\_/\____     how fast the inside of the mouth becomes dark (it opens) or bright (it closes)
 voice   ____/\____/\_/\__     how fast the voice becomes loud or quiet
         -->|  |<--            the shift at which the two agree best: picture and sound of one moment

Stamps cannot tell it: a microphone that is 84 ms late by its driver has stamps as good as any. It is what SyncNet (Chung and
Zisserman 2016) learns, by hand: two slopes and a normalised cross-correlation over the last seconds. Where nobody speaks, no mouth is
seen or the two do not belong together (a dubbed film, a voice off screen) there is no clear best shift, and then nothing is said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from operators.errors import ContractError
from operators.operator import Operator, run_chain
from operators.packet import AudioBlock, Dropped, Frame, Packet
from operators.resample import Resample
from operators.segment import Segment

STEP_NS = 10_000_000
SMOOTH_STEPS = 13
RANGE_DB = 35.0
LEAST_CORRELATION = 0.25
MOST_SPREAD_MS = 40.0
"""Together they tell a voice of this face from any other: see docs/clocks.md for how often they err."""

Series = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class AvOffset:
    """audio_ms: sound of a moment is stamped so much later than its picture (< 0: the microphone leads).

    correlation: of the slopes at that shift, up to 1. voiced_s: how long somebody was heard.
    spread_ms: typical error, by how far the halves of the window differ.
    """

    audio_ms: float
    spread_ms: float
    correlation: float
    voiced_s: float

    def __str__(self) -> str:
        who = "leads" if self.audio_ms < 0 else "lags"
        return f"the microphone {who} by {abs(self.audio_ms):.0f} ms (give or take {self.spread_ms:.0f} ms)"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoOffset:
    """Why nothing can be said: no_sound, no_face, no_voice, unclear."""

    why: str


class AvOffsetMeter:
    """Give it mouths (grey Frames, as of `operators.face:FaceCrop`) and AudioBlocks in any order across the streams; then ask.

    window_s: what is looked at, the last seconds that both streams have. most_ms: the largest offset that is looked for.
    """

    def __init__(self, *, video: str, audio: str, window_s: float = 30.0, most_ms: int = 500) -> None:
        if not 3 <= window_s <= 600 or not 40 <= most_ms <= 2000:
            raise ContractError(f"window_s of 3 to 600 and most_ms of 40 to 2000 wanted, got {window_s} and {most_ms}")
        self._video, self._audio = video, audio
        self._window_ns, self._most = round(window_s * 1e9), most_ms * 1_000_000 // STEP_NS
        self._chain: list[Operator] = [Resample(rate_hz=16_000), Segment(block_ms=STEP_NS // 1_000_000)]
        self._dark: deque[tuple[int, float]] = deque()
        self._loud: deque[tuple[int, float]] = deque()
        self.no_face = 0

    def process(self, event: Packet | Dropped) -> None:
        """A Dropped of the video stream is a picture without a face."""
        if event.stream == self._video:
            if isinstance(event, Dropped):
                self.no_face += event.count
            else:
                self._add(self._dark, event.start_ns, darkness(event))
        elif event.stream == self._audio and isinstance(event, Packet):
            for at_ns, level in self._levels(event):
                self._add(self._loud, at_ns, level)

    def _levels(self, packet: Packet) -> Iterator[tuple[int, float]]:
        for block in run_chain(self._chain, [packet]):
            if isinstance(block, Packet) and isinstance(block.payload, AudioBlock):
                power = float(np.mean(np.square(block.payload.data, dtype=np.float64)))
                yield block.start_ns + STEP_NS // 2, 10 * float(np.log10(power + 1e-10))

    def _add(self, series: deque[tuple[int, float]], at_ns: int, value: float) -> None:
        if series and at_ns <= series[-1][0]:
            return  # time went back, or the same again: a slope wants it to rise
        series.append((at_ns, value))
        while series[-1][0] - series[0][0] > self._window_ns + 2_000_000_000:
            series.popleft()

    def measure(self) -> AvOffset | NoOffset:
        """Over the last window."""
        if len(self._loud) < 200:
            return NoOffset(why="no_sound")
        if len(self._dark) < 40 or self.no_face > len(self._dark):
            return NoOffset(why="no_face")
        end_ns = min(self._dark[-1][0], self._loud[-1][0])
        start_ns = max(self._dark[0][0], self._loud[0][0], end_ns - self._window_ns)
        at = np.arange(start_ns, end_ns, STEP_NS, dtype=np.float64)
        if at.size < 400 + 4 * self._most:
            return NoOffset(why="no_sound" if self._loud[0][0] > self._dark[0][0] else "no_face")
        mouth, voice, voiced = self._slopes(at)
        voiced_s = float(voiced.sum()) * STEP_NS / 1e9
        if voiced_s < 2.0 or voiced.all():
            return NoOffset(why="no_voice")
        return self._best(mouth, voice, voiced_s)

    def _slopes(self, at: Series) -> tuple[Series, Series, NDArray[np.bool_]]:
        """(steps,) each: opening, loudening, and whether somebody is heard."""
        dark, loud = (np.interp(at, *np.array(series, np.float64).T) for series in (self._dark, self._loud))
        peak = float(np.quantile(loud, 0.98))
        loud = np.maximum(loud, peak - RANGE_DB)
        # A gap of pictures is a straight line that says nothing.
        stamps = np.array([at_ns for at_ns, _ in self._dark], np.float64)
        near = stamps[np.clip(np.searchsorted(stamps, at), 1, stamps.size - 1)] - stamps[np.clip(np.searchsorted(stamps, at) - 1, 0, None)]
        mouth = np.where(near < 150e6, np.gradient(_smooth(dark)), 0.0)
        voiced = loud > max(peak - 20.0, float(np.quantile(loud, 0.1)) + 8.0)
        return mouth, np.gradient(_smooth(loud)), voiced

    def _best(self, mouth: Series, voice: Series, voiced_s: float) -> AvOffset | NoOffset:
        curve = _correlations(mouth, voice, self._most)
        best, half, step_ms = int(np.argmax(curve)), mouth.size // 2, STEP_NS / 1e6
        halves = [_peak(_correlations(mouth[part], voice[part], self._most)) for part in (np.s_[:half], np.s_[half:])]
        spread_ms = abs(halves[0] - halves[1]) / 2 * step_ms
        if curve[best] < LEAST_CORRELATION or spread_ms > MOST_SPREAD_MS or not 0 < best < curve.size - 1:
            return NoOffset(why="unclear")
        return AvOffset(
            audio_ms=float((_peak(curve) - self._most) * step_ms),
            spread_ms=max(step_ms / 2, spread_ms),
            correlation=float(curve[best]),
            voiced_s=voiced_s,
        )


def darkness(packet: Packet) -> float:
    """How dark the middle of a mouth's picture is, against its rim: lamps and exposure change both."""
    if not isinstance(packet.payload, Frame) or packet.payload.data.ndim != 2:
        raise ContractError(f"grey pictures of a mouth wanted, got {packet.payload!r} on {packet.stream}")
    data = packet.payload.data
    height, width = data.shape
    middle = data[round(height * 0.3) : round(height * 0.7), round(width * 0.17) : round(width * 0.83)]
    return float(data.mean()) - float(middle.mean())


def _smooth(values: Series) -> Series:
    """Over SMOOTH_STEPS, without delay: a Hann window."""
    window = np.hanning(SMOOTH_STEPS + 2)[1:-1]
    padded = np.pad(values, SMOOTH_STEPS // 2, mode="edge")
    return np.convolve(padded, window / window.sum(), "valid")


def _correlations(mouth: Series, voice: Series, most: int) -> Series:
    """(2 most + 1,): normalised, of the mouth with the voice `most` steps earlier to `most` later."""
    still = mouth[most : mouth.size - most]
    a = (still - still.mean()) / (still.std() + 1e-12)
    out = np.empty(2 * most + 1)
    for shift in range(2 * most + 1):
        moved = voice[shift : shift + still.size]
        out[shift] = float(np.mean(a * (moved - moved.mean()))) / (float(moved.std()) + 1e-12)
    return out


def _peak(curve: Series) -> float:
    """The place of the maximum, between steps by a parabola through its neighbours."""
    best = int(np.argmax(curve))
    if not 0 < best < curve.size - 1:
        return float(best)
    left, middle, right = curve[best - 1 : best + 2]
    bend = left - 2 * middle + right
    return best + (0.5 * (left - right) / bend if bend < 0 else 0.0)
