"""Two ways to read a local camera, each as a `Connection`: OpenCV's VideoCapture, and FFmpeg's v4l2 through PyAV.

Both give the kernel's own stamp of each picture, which is CLOCK_MONOTONIC: session time up to a constant.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from operators.errors import DeviceLost, DeviceNotFound
from operators.packet import Frame
from pipeline.clock import SystemClock
from pipeline.live.captured import Captured, Lost, Now
from pipeline.media.video import Pictures
from pipeline.ports import Wanted

SELECT_S = 2
"""OpenCV waits 10 s for a picture if it is not told otherwise; longer than our watchdog waits for its thread to let go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is wanted of a camera; None: as it likes. device: an index, a path, or what the platform's reader takes."""

    device: int | str
    width: int | None
    height: int | None
    fps: float | None

    def __str__(self) -> str:
        size = f"{self.width or '?'}x{self.height or '?'}" if self.width or self.height else ""
        return " ".join(part for part in (size, f"{self.fps:g} fps" if self.fps else "") if part)


def _detail(width: int, height: int, pixels: str, fps: float, asked: Asked) -> str:
    """What was granted, and what was asked where that is something else."""
    granted = f"{width}x{height} {pixels} {fps:g} fps"
    same = (asked.width or width, asked.height or height) == (width, height) and abs((asked.fps or fps) - fps) < 0.5
    return granted if same else f"{granted}, asked {asked}"


class OpenCvCamera:
    """Raises DeviceNotFound where it cannot be opened."""

    def __init__(self, asked: Asked, label: str, wanted: Wanted, now_ns: Now) -> None:
        os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(SELECT_S))
        backend = cv2.CAP_V4L2 if os.name == "posix" and os.path.exists("/proc") else cv2.CAP_ANY
        self._label, self._wanted, self._now_ns = label, wanted, now_ns
        self._epoch_ns = SystemClock().now_ns() - now_ns()
        self._capture = cv2.VideoCapture(asked.device, backend)
        if not self._capture.isOpened():
            raise DeviceNotFound(label, f"cannot be opened{_why_not(asked.device)}")
        for name, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, asked.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, asked.height),
            (cv2.CAP_PROP_FPS, asked.fps),
        ):
            if value is not None:
                self._capture.set(name, value)
        self.details: Mapping[str, str] = {"video": self._granted(asked)}

    def _granted(self, asked: Asked) -> str:
        get = self._capture.get
        code = int(get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
        pixels = code.to_bytes(4, "little").decode("ascii", "replace").strip("\0 ")
        return _detail(int(get(cv2.CAP_PROP_FRAME_WIDTH)), int(get(cv2.CAP_PROP_FRAME_HEIGHT)), pixels, get(cv2.CAP_PROP_FPS), asked)

    def read(self, stop: threading.Event) -> Iterator[Captured | Lost]:
        while not stop.is_set():
            good, picture = self._capture.read()
            arrival_ns = self._now_ns()
            if not good:
                raise DeviceLost(self._label, "gives no picture any more (unplugged, or it hangs)")
            stamp_ns = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
            data = self._as_wanted(np.asarray(picture, np.uint8))
            at_ns = stamp_ns - self._epoch_ns if stamp_ns > 0 else None
            yield Captured(stream="video", payload=Frame(data=data), arrival_ns=arrival_ns, at_ns=at_ns)

    def close(self) -> None:
        self._capture.release()

    def _as_wanted(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        gray = self._wanted.pixels == "gray"
        if picture.ndim == 3:
            picture = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY if gray else cv2.COLOR_BGR2RGB), np.uint8)
        height, width = picture.shape[:2]
        limit = self._wanted.max_width
        if limit is None or width <= limit:
            return np.ascontiguousarray(picture)
        size = limit, max(1, round(height * limit / width))
        return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


class V4l2Camera:
    """FFmpeg's own reader: takes what the camera compresses (MJPEG, H.264) as it is. A read that hangs cannot be interrupted."""

    def __init__(self, asked: Asked, label: str, wanted: Wanted, now_ns: Now) -> None:
        options = {"framerate": f"{asked.fps:g}"} if asked.fps else {}
        if asked.width and asked.height:
            options["video_size"] = f"{asked.width}x{asked.height}"
        path = f"/dev/video{asked.device}" if isinstance(asked.device, int) else asked.device
        self._label, self._now_ns = label, now_ns
        self._epoch_ns = SystemClock().now_ns() - now_ns()
        try:
            self._container = av.open(path, format="v4l2", options=options)
        except (av.error.FFmpegError, ValueError) as error:
            raise DeviceNotFound(label, f"cannot be opened ({getattr(error, 'strerror', None) or error}){_why_not(path)}") from error
        self._stream = self._container.streams.video[0]
        self._pictures = Pictures(wanted)
        codec, rate = self._stream.codec_context, self._stream.average_rate
        pixels = codec.pix_fmt if codec.name == "rawvideo" else codec.name
        self.details: Mapping[str, str] = {"video": _detail(codec.width, codec.height, str(pixels), float(rate or 0), asked)}

    def read(self, stop: threading.Event) -> Iterator[Captured | Lost]:
        try:
            for packet in self._container.demux(self._stream):
                arrival_ns = self._now_ns()
                if stop.is_set():
                    return
                yield from self._frames(packet, arrival_ns)
        except OSError as error:
            raise DeviceLost(self._label, f"reading failed ({error.strerror})") from error

    def close(self) -> None:
        self._container.close()

    def _frames(self, packet: av.Packet[av.VideoStream], arrival_ns: int) -> Iterator[Captured | Lost]:
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            yield Lost(stream="video", reason="decode_error")
            return
        for frame in frames:
            stamp_ns = None if frame.pts is None or frame.time_base is None else round(frame.pts * 1_000_000_000 * frame.time_base)
            at_ns = None if stamp_ns is None else stamp_ns - self._epoch_ns
            yield Captured(stream="video", payload=Frame(data=self._pictures.array(frame)), arrival_ns=arrival_ns, at_ns=at_ns)


def _why_not(device: int | str) -> str:
    """What the system says when the device is opened; the libraries do not pass it on."""
    path = f"/dev/video{device}" if isinstance(device, int) else device
    if not path.startswith("/dev/"):
        return ""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
    except PermissionError:
        return f": {path} may not be used by this user (the group `video` may)"
    except OSError as error:
        return f": {path}: {error.strerror}"
    return f": {path} is there but gives no pictures (does another program use it?)"
