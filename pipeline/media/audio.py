"""An audio track as events: float32 blocks of a fixed length, their stamps counted in samples from an anchor."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import av
import numpy as np
from av import AudioFrame, AudioResampler
from numpy.typing import NDArray

from operators.packet import AudioBlock, Closed, Dropped, Packet, Watermark
from pipeline.media.container import Timed
from pipeline.ports import Wanted

GAP_NS = 20_000_000
LAYOUTS = {1: "mono", 2: "stereo"}


class Resampling:
    """One unbroken run of sound: frames in, float32 (channels, samples) at the wanted rate out; owns FFmpeg's resampler.

    The resampler aligns its first output sample with its first input sample, so output counted from the anchor is exact.
    """

    def __init__(self, frame: AudioFrame, wanted: Wanted) -> None:
        layout = LAYOUTS.get(wanted.channels or 0, frame.layout.name)
        self.rate_hz = wanted.rate_hz or frame.sample_rate
        self._input = (frame.sample_rate, frame.format.name, frame.layout.name)
        as_it_is = self._input == (self.rate_hz, "fltp", layout)
        self._resampler = None if as_it_is else AudioResampler(format="fltp", layout=layout, rate=self.rate_hz)
        self.taken = 0
        self.given = 0

    def fits(self, frame: AudioFrame) -> bool:
        """False where the track changes its rate, format or layout."""
        return self._input == (frame.sample_rate, frame.format.name, frame.layout.name)

    def taken_ns(self) -> int:
        """Length of what went in."""
        return self.taken * 1_000_000_000 // self._input[0]

    def push(self, frame: AudioFrame) -> list[NDArray[np.float32]]:
        self.taken += frame.samples
        return self._arrays([frame] if self._resampler is None else self._resampler.resample(frame))

    def drain(self) -> list[NDArray[np.float32]]:
        """What the filter still holds, cut to the length of what went in."""
        if self._resampler is None:
            return []
        left = round(self.taken * self.rate_hz / self._input[0]) - self.given
        rest = self._arrays(self._resampler.resample(None))
        return [np.concatenate(rest, axis=1)[:, : max(0, left)]] if rest else []

    def _arrays(self, frames: list[AudioFrame]) -> list[NDArray[np.float32]]:
        made = [in_range(frame.to_ndarray().astype(np.float32, copy=False)) for frame in frames]
        self.given += sum(array.shape[1] for array in made)
        return made


def in_range(data: NDArray[np.float32]) -> NDArray[np.float32]:
    """Clipped to [-1, 1]; lossy codecs overshoot, and a float file may hold anything, NaN included (it becomes 0)."""
    if data.size and not np.abs(data).max() <= 1.0:
        data = np.clip(np.nan_to_num(data, nan=0.0), -1.0, 1.0)
    return data


@dataclass(slots=True)
class AudioTrack:
    """Turns decoded audio frames into events: blocks of block_ns, a shorter one where a run ends.

    good, bad: see `pipeline.media.video.VideoTrack`.
    """

    name: str
    wanted: Wanted
    block_ns: int
    seq: int
    from_ns: int
    good: int = 0
    bad: int = 0
    end_ns: int = 0
    _run: Resampling | None = None
    _rate_hz: int = 0
    _anchor_ns: int = 0
    _sent: int = 0
    _skip: int = 0
    _waiting: list[NDArray[np.float32]] = field(default_factory=list)

    def events(self, frames: Iterator[tuple[int | None, AudioFrame | None]]) -> Generator[Timed, None, None]:
        for start_ns, frame in frames:
            if frame is None or frame.is_corrupt:
                yield from self._finish_run()  # its length is unknown: the next stamp is a new anchor
                yield self._drop("decode_error" if frame is None else "corrupt", start_ns)
                continue
            if self._breaks(start_ns, frame):
                yield from self._finish_run()
            run = self._run or (yield from self._start_run(start_ns, frame))
            try:
                self._take(run.push(frame))
            except (av.error.FFmpegError, ValueError):
                yield self._drop("unsupported_samples", start_ns)
                continue
            self.good += 1
            yield from self._blocks(whole=False)
        yield from self._finish_run()
        yield self._due_ns(), Closed(stream=self.name, time_ns=self.end_ns)

    def _breaks(self, start_ns: int | None, frame: AudioFrame) -> bool:
        """Whether the frame does not go on where the run stands: another format, or a stamp further off than GAP_NS."""
        if self._run is None or not self._run.fits(frame):
            return True
        return start_ns is not None and abs(start_ns - self._anchor_ns - self._run.taken_ns()) > GAP_NS

    def _start_run(self, start_ns: int | None, frame: AudioFrame) -> Generator[Timed, None, Resampling]:
        """Anchors a run. What it holds of before from_ns, before 0 or before the end of what was sent will be skipped."""
        self._run = run = Resampling(frame, self.wanted)
        self._rate_hz = run.rate_hz
        self._anchor_ns = max(self.end_ns, self.from_ns) if start_ns is None else start_ns
        behind = max(self.end_ns, self.from_ns) - self._anchor_ns
        self._sent, self._skip = 0, max(0, -(-behind * run.rate_hz // 1_000_000_000))
        if self.good and self._skip:  # stamps that jump back, not the start of a track
            yield self._drop("out_of_order", start_ns)
        return run

    def _finish_run(self) -> Iterator[Timed]:
        if self._run is not None:
            self._take(self._run.drain())
            yield from self._blocks(whole=True)
            self._run = None

    def _take(self, arrays: list[NDArray[np.float32]]) -> None:
        for array in arrays:
            cut = min(array.shape[1], self._skip)
            self._skip -= cut
            self._sent += cut
            if cut < array.shape[1]:
                self._waiting.append(array[:, cut:])

    def _blocks(self, *, whole: bool) -> Iterator[Timed]:
        size = max(1, self.block_ns * self._rate_hz // 1_000_000_000)
        have = sum(array.shape[1] for array in self._waiting)
        if have < size and not (whole and have):
            return
        data = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting, axis=1)
        stop = have if whole else have - have % size
        for first in range(0, stop, size):
            yield from self._packet(data[:, first : min(first + size, stop)].copy())
        self._waiting = [data[:, stop:]] if stop < have else []

    def _packet(self, data: NDArray[np.float32]) -> Iterator[Timed]:
        start_ns = max(self._time(self._sent), self.end_ns)
        self._sent += data.shape[1]
        self.end_ns = self._time(self._sent)
        payload = AudioBlock(data=data, rate_hz=self._rate_hz)
        yield self.end_ns, Packet(stream=self.name, seq=self.seq, start_ns=start_ns, end_ns=self.end_ns, payload=payload)
        yield self.end_ns, Watermark(stream=self.name, time_ns=self.end_ns)
        self.seq += 1

    def _drop(self, reason: str, start_ns: int | None) -> Timed:
        self.bad += 1
        return self._due_ns(), Dropped(stream=self.name, reason=reason, start_ns=start_ns)

    def _due_ns(self) -> int:
        return max(self.end_ns, self.from_ns)

    def _time(self, samples: int) -> int:
        return self._anchor_ns + samples * 1_000_000_000 // self._rate_hz
