"""How far a face moved from one frame to the next, by phase correlation of its upper part (Kuglin and Hines 1975)."""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.face_detect import Box
from operators.video import Picture, crop_square, gray

SIDE = 32
# Smaller shifts are noise, or a jaw that moves the cheeks: following them would make a still face shiver.
DEAD_ZONE = 0.2


@dataclass(frozen=True, slots=True)
class Place:
    """A square of SIDE x SIDE cells of `cell` x `cell` pixels. On a grid of such cells: averaging whole pixels is fast,
    and a face that hardly moves stays in the same place, so that what was cut out there serves twice.
    """

    left: int
    top: int
    cell: int


def place(box: Box) -> Place:
    """Eyes and nose of the face in `box`, without the mouth, whose movements are not the head's; 0.9 of its width."""
    cell = max(1, round(0.9 * box.w / SIDE))
    left, top = (round(middle / cell) - SIDE // 2 for middle in (box.x + 0.5 * box.w, box.y + 0.3 * box.h))
    return Place(left=left * cell, top=top * cell, cell=cell)


def patch(picture: Picture, place: Place) -> NDArray[np.float32]:
    """float32 (SIDE, SIDE): what is there, grey."""
    side = SIDE * place.cell
    return gray(crop_square(picture, place.left + side / 2, place.top + side / 2, side, SIDE)).astype(np.float32)


def shift(before: NDArray[np.float32], after: NDArray[np.float32], cell: int) -> tuple[float, float]:
    """(right, down) in pixels of the picture: how far what was in one place moved between two pictures of it."""
    taper = cv2.createHanningWindow((SIDE, SIDE), cv2.CV_32F)
    # Copies, because OpenCV tapers pictures of such a size in place.
    (right, down), response = cv2.phaseCorrelate(before.copy(), after.copy(), taper)
    length = hypot(right, down)
    # Weak or far peaks mean another picture (a cut), not a movement.
    if response < 0.1 or length > SIDE / 4 or length <= DEAD_ZONE:
        return 0.0, 0.0
    scale = cell * (1 - DEAD_ZONE / length)
    return right * scale, down * scale
