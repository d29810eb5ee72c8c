"""A camera of this machine: USB, built in, or whatever the system calls a video device."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from operators.errors import ContractError, DeviceNotFound
from pipeline.live.captured import Connection, Now
from pipeline.live.source import Live
from pipeline.live.stream import StreamRules
from pipeline.media.v4l2 import CameraDevice, cameras
from pipeline.ports import Wanted


class Camera(Live):
    """Stream "video".

    device         an index (0), a path (/dev/video2), or (part of) the name that `sensorium devices` shows, in any case
    width, height, fps   asked of the camera, which grants what it can; what was granted is shown in the status
    reader         opencv: VideoCapture, everywhere; v4l2: FFmpeg's, Linux only, for cameras that compress
    """

    def __init__(
        self,
        *,
        device: int | str = 0,
        width: int | None = None,
        height: int | None = None,
        fps: float | None = None,
        reader: Literal["opencv", "v4l2"] = "opencv",
    ) -> None:
        sizes = (width, height)
        if any(side is not None and not 1 <= side <= 16384 for side in sizes) or (width is None) != (height is None):
            raise ContractError(f"width and height go together, 1 to 16384 pixels each, got {width} and {height}")
        if fps is not None and not 0 < fps <= 1000:
            raise ContractError(f"0 < fps <= 1000 wanted, got {fps}")
        if isinstance(device, int) and device < 0:
            raise ContractError(f"device: an index from 0 on, a path or a name wanted, got {device}")
        super().__init__(f"camera {device}", {"video": StreamRules(kind="video", rate_hz=fps)})
        self._device, self._size, self._fps, self._reader = device, (width, height), fps, reader

    def look(self) -> None:
        if self._reader == "v4l2" and sys.platform != "linux":
            raise ContractError("reader: v4l2 is Linux's; use opencv")
        if sys.platform == "linux":
            self._resolved()

    def connect(self, wanted: Mapping[str, Wanted], now_ns: Now) -> Connection:
        from pipeline.media.grab import Asked, OpenCvCamera, V4l2Camera

        asked = Asked(device=self._resolved(), width=self._size[0], height=self._size[1], fps=self._fps)
        if self._reader == "v4l2":
            return V4l2Camera(asked, self.label, wanted["video"], now_ns)
        return OpenCvCamera(asked, self.label, wanted["video"], now_ns)

    def _resolved(self) -> int | str:
        """The index or path of what the option names, found anew each time: plugged in again, a camera may have another one."""
        if sys.platform != "linux":
            return self._device
        if str(self._device).startswith("/"):
            if not Path(str(self._device)).exists():
                raise DeviceNotFound(self.label, f"no such device; {_there(cameras())}")
            return self._device
        found = cameras()
        if isinstance(self._device, int):
            if any(camera.index == self._device for camera in found):
                return self._device
        elif (index := _named(self._device, found)) is not None:
            return index
        raise DeviceNotFound(self.label, f"no such camera; {_there(found)}")


def _named(name: str, found: list[CameraDevice]) -> int | None:
    """The whole name before a part of one; the lowest index of several."""
    lower = name.lower()
    exact = [camera.index for camera in found if camera.name.lower() == lower]
    partly = [camera.index for camera in found if lower in camera.name.lower()]
    return next(iter([*exact, *partly]), None)


def _there(found: list[CameraDevice]) -> str:
    if not found:
        return "this machine has none that may be used"
    return "there are " + ", ".join(f"{camera.index} ({camera.name})" for camera in found)
