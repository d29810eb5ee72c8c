"""Time stamps that are burned into picture and sound, and the transforms that read them where a source hands its packets on.

Picture: 32 cells in the top row, black or white: milliseconds (mod 2^32), highest bit last. Sound: a beep that begins with a flash.
Put before the model's own:    transforms: {video: [{use: "benchmarks.burned:Pictures", out: FILE}]}
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.packet import AudioBlock, Frame, Packet, StreamEvent

CELLS = 32
ROW = 24 / 360
"""Of a picture's height the cells have."""
FLASH, BEEP, SILENCE_S = 160, 0.1, 0.3


def burn(picture: NDArray[np.uint8], ms: int) -> None:
    """picture: (h, w) or (h, w, 3), of a width that 32 divides."""
    height, width = max(1, round(picture.shape[0] * ROW)), picture.shape[1] // CELLS
    for bit in range(CELLS):
        picture[:height, bit * width : (bit + 1) * width] = 235 if (ms >> bit) & 1 else 16


def read(picture: NDArray[np.uint8]) -> int:
    """What was burned, from the middle of every cell."""
    grey = picture if picture.ndim == 2 else picture[..., 1]
    height, width = picture.shape[0] * ROW, picture.shape[1] / CELLS
    rows = slice(max(0, round(0.25 * height)), max(1, round(0.75 * height)))
    begins = [round((bit + 0.3) * width) for bit in range(CELLS)]
    middles = [grey[rows, begin : begin + max(1, round(0.4 * width))] for begin in begins]
    return sum(int(middle.mean() > 126) << bit for bit, middle in enumerate(middles))


class _Noted:
    def __init__(self, out: Path) -> None:
        self._file = out.open("a", buffering=1)

    def note(self, **values: Any) -> None:  # noqa: ANN401 - plain values
        self._file.write(json.dumps({"wall_ns": time.time_ns(), **values}) + "\n")

    def snapshot(self) -> Mapping[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """It has no state."""


class Pictures(_Noted):
    """Writes a line a picture: when it was made, what its packet says, when it was here, whether it flashes. out: a file."""

    def __init__(self, *, out: Path) -> None:
        super().__init__(out)

    def process(self, event: StreamEvent) -> Iterator[StreamEvent]:
        if isinstance(event, Packet) and isinstance(event.payload, Frame):
            data = event.payload.data
            flash = bool(data[round(0.7 * data.shape[0]) :].mean() > FLASH)
            self.note(ms=read(data), start_ns=event.start_ns, flash=flash)
        yield event


class Beeps(_Noted):
    """Writes a line a beep: where it begins by its packets' stamps, and when that block was here. out: a file."""

    def __init__(self, *, out: Path) -> None:
        super().__init__(out)
        self._loud_ns = -(10**18)

    def process(self, event: StreamEvent) -> Iterator[StreamEvent]:
        if isinstance(event, Packet) and isinstance(event.payload, AudioBlock):
            loud = np.flatnonzero(np.abs(event.payload.data).max(axis=0) > BEEP)
            if len(loud):
                first_ns = event.start_ns + round(int(loud[0]) * 1e9 / event.payload.rate_hz)
                if first_ns - self._loud_ns > SILENCE_S * 1e9:
                    self.note(start_ns=first_ns)
                self._loud_ns = event.start_ns + round(int(loud[-1]) * 1e9 / event.payload.rate_hz)
        yield event
