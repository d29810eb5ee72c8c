"""A video track as events: frames with their true length, converted once, at the size and in the pixels that are wanted."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from operators.packet import Closed, Dropped, Frame, Packet, Watermark
from pipeline.media.container import Timed
from pipeline.ports import Wanted

LIMITED_LUMA = frozenset({"yuv420p", "yuv422p", "yuv444p", "nv12", "nv21"})
BLACK = np.full(4, 16.0)
FULL_LUMA = frozenset({"yuvj420p", "yuvj422p", "yuvj444p", "gray"})


class Pictures:
    """Decoded frames to arrays, through one shared reformatter (setting one up for every frame costs 20 % of a decode)."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._reformatter = VideoReformatter()

    def array(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """uint8 (height, width) or (height, width, 3), upright, 0 black and 255 white, at most max_width wide."""
        turns = round(frame.rotation / 90) % 4
        width, height = self._size(frame, sideways=turns % 2 == 1)
        luma = self._luma(frame) if self._wanted.pixels == "gray" and width == frame.width else None
        data = self._reformat(frame, width, height) if luma is None else luma
        return np.ascontiguousarray(np.rot90(data, turns)) if turns else data

    def _reformat(self, frame: VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
        pixels = "gray" if self._wanted.pixels == "gray" else "rgb24"
        # threads=1: swscale's own pool costs more CPU than it saves time at these sizes.
        made = self._reformatter.reformat(frame, width=width, height=height, format=pixels, threads=1)
        return np.asarray(made.to_ndarray(), np.uint8)

    def _size(self, frame: VideoFrame, *, sideways: bool) -> tuple[int, int]:
        shown = frame.height if sideways else frame.width
        limit = self._wanted.max_width
        if limit is None or shown <= limit:
            return frame.width, frame.height
        return max(1, round(frame.width * limit / shown)), max(1, round(frame.height * limit / shown))

    def _luma(self, frame: VideoFrame) -> NDArray[np.uint8] | None:
        """The luma plane, stretched from [16, 235] where the range is limited: as swscale does it, at a third of its cost."""
        name, plane = frame.format.name, frame.planes[0]
        if name not in LIMITED_LUMA | FULL_LUMA or plane.line_size < plane.width:
            return None
        view: NDArray[np.uint8] = np.ndarray((plane.height, plane.width), np.uint8, memoryview(plane), 0, (plane.line_size, 1))
        if name in FULL_LUMA or frame.color_range == ColorRange.JPEG:
            return view.copy()
        # Two steps, because convertScaleAbs takes the absolute value: below 16 it would rise again.
        return np.asarray(cv2.convertScaleAbs(cv2.subtract(view, BLACK), alpha=255 / 219), np.uint8)


@dataclass(slots=True)
class VideoTrack:
    """Turns decoded frames into events. A frame lasts until the next one starts, so one is always held back.

    frames: (start_ns, frame) in order of decoding, None where something could not be decoded.
    good, bad: packets made, and what was dropped, for the judgement whether the track was media at all.
    """

    name: str
    pictures: Pictures
    usual_ns: int
    seq: int
    from_ns: int
    good: int = 0
    bad: int = 0
    due_ns: int = 0
    end_ns: int = 0

    def events(self, frames: Iterator[tuple[int | None, VideoFrame | None]]) -> Generator[Timed, None, None]:
        held: tuple[int, VideoFrame] | None = None
        for start_ns, frame in frames:
            if frame is None or start_ns is None:
                yield self._drop("decode_error" if frame is None else "no_stamp", start_ns)
                continue
            reason = _fault(start_ns, frame, -1 if held is None else held[0])
            if reason is not None:
                yield self._drop(reason, start_ns)
                continue
            if held is not None:
                yield from self._packet(held, start_ns)
            held = (start_ns, frame)
        if held is not None:
            yield from self._packet(held, held[0] + self._own_length(held[1]))
        yield max(self.due_ns, self.end_ns), Closed(stream=self.name, time_ns=self.end_ns)

    def _drop(self, reason: str, start_ns: int | None) -> Timed:
        self.bad += 1
        return self.due_ns, Dropped(stream=self.name, reason=reason, start_ns=start_ns)

    def _packet(self, held: tuple[int, VideoFrame], end_ns: int) -> Iterator[Timed]:
        start_ns, frame = held
        self.usual_ns, self.end_ns = end_ns - start_ns, end_ns
        if start_ns < self.from_ns:
            self.good += 1
            return
        self.due_ns = start_ns
        try:
            payload = Frame(data=self.pictures.array(frame))
        except (av.error.FFmpegError, ValueError):
            yield self._drop("unsupported_pixels", start_ns)
            return
        self.good += 1
        yield start_ns, Packet(stream=self.name, seq=self.seq, start_ns=start_ns, end_ns=end_ns, payload=payload)
        yield start_ns, Watermark(stream=self.name, time_ns=end_ns)
        self.seq += 1

    def _own_length(self, frame: VideoFrame) -> int:
        if frame.duration and frame.time_base is not None:
            return round(frame.duration * 1_000_000_000 * frame.time_base)
        return self.usual_ns


def _fault(start_ns: int, frame: VideoFrame, last_ns: int) -> str | None:
    if start_ns < 0:
        return "before_start"
    if start_ns <= last_ns:
        return "out_of_order"
    return "corrupt" if frame.is_corrupt else None


def usual_frame_ns(stream: VideoStream) -> int:
    """Length of a frame by the track's rate; 40 ms where it names none."""
    rate = stream.average_rate or stream.guessed_rate
    return round(1_000_000_000 / rate) if rate else 40_000_000
