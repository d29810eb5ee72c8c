"""The cameras of a Linux machine, as the kernel names them, with the formats that they offer (Video4Linux2, `linux/videodev2.h`).

Only questions are asked: nothing is set, and a camera that somebody else uses may be asked too.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

MOST_DEVICES = 64
CAPTURE, STREAMING = 0x00000001, 0x04000000
DISCRETE = 1

QUERYCAP, ENUM_FMT, ENUM_SIZES, ENUM_INTERVALS = 0x80685600, 0xC0405602, 0xC02C564A, 0xC034564B
"""_IOR('V', 0, 104 bytes), _IOWR('V', 2, 64 bytes), _IOWR('V', 74, 44 bytes), _IOWR('V', 75, 52 bytes)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraFormat:
    """fourcc: how pixels are packed ("YUYV", "MJPG"). rates_hz: the frame rates it names, highest first; empty: it names none."""

    fourcc: str
    width: int
    height: int
    rates_hz: tuple[float, ...]

    def __str__(self) -> str:
        rates = "/".join(f"{rate:g}" for rate in self.rates_hz)
        return f"{self.width}x{self.height} {self.fourcc}{f' {rates} fps' if rates else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraDevice:
    """index: of /dev/videoN. name: what its driver calls it."""

    index: int
    name: str
    formats: tuple[CameraFormat, ...]

    @property
    def path(self) -> str:
        return f"/dev/video{self.index}"


def cameras() -> list[CameraDevice]:
    """In order of index; without devices that give no pictures (metadata, encoders) or may not be opened."""
    return [camera for index in range(MOST_DEVICES) if os.path.exists(f"/dev/video{index}") and (camera := _asked(index)) is not None]


def _asked(index: int) -> CameraDevice | None:
    try:
        handle = os.open(f"/dev/video{index}", os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        about = _ask(handle, QUERYCAP, bytes(104))
        capabilities, own = struct.unpack_from("<II", about, 84)
        if not (own or capabilities) & CAPTURE:
            return None
        name = about[16:48].split(b"\0")[0].decode("utf-8", "replace")
        return CameraDevice(index=index, name=name, formats=tuple(_formats(handle)))
    except OSError:
        return None
    finally:
        with contextlib.suppress(OSError):
            os.close(handle)


def _formats(handle: int) -> Iterator[CameraFormat]:
    for number in range(32):
        found = _enumerated(handle, ENUM_FMT, struct.pack("<II56x", number, 1))
        if found is None:
            return
        code = found[44:48]
        yield from _sizes(handle, code)


def _sizes(handle: int, code: bytes) -> Iterator[CameraFormat]:
    for number in range(64):
        found = _enumerated(handle, ENUM_SIZES, struct.pack("<I4s36x", number, code))
        if found is None:
            return
        kind, width, height = struct.unpack_from("<III", found, 8)
        if kind != DISCRETE:
            (width,), (height,) = struct.unpack_from("<I", found, 16), struct.unpack_from("<I", found, 28)  # the greatest
        rates = tuple(_rates(handle, code, width, height))
        yield CameraFormat(fourcc=code.decode("ascii", "replace").strip(), width=width, height=height, rates_hz=rates)
        if kind != DISCRETE:
            return


def _rates(handle: int, code: bytes, width: int, height: int) -> Iterator[float]:
    for number in range(64):
        found = _enumerated(handle, ENUM_INTERVALS, struct.pack("<I4sII36x", number, code, width, height))
        if found is None:
            return
        kind, numerator, denominator = struct.unpack_from("<III", found, 16)
        if numerator:
            yield round(denominator / numerator, 3)
        if kind != DISCRETE:
            return


def _enumerated(handle: int, request: int, asked: bytes) -> bytes | None:
    """None: there is no such number (or the driver does not answer such questions)."""
    try:
        return _ask(handle, request, asked)
    except OSError:
        return None


def _ask(handle: int, request: int, asked: bytes) -> bytes:
    import fcntl  # not on every system

    buffer = bytearray(asked)
    fcntl.ioctl(handle, request, buffer)
    return bytes(buffer)
