"""How far a face moved from one frame to the next, by phase correlation of its upper part (Kuglin and Hines 1975)."""

from __future__ import annotations

from math import hypot

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.face_detect import Box
from operators.video import Picture, crop_square, gray

SIDE = 32
# Smaller shifts are noise, or a jaw that moves the cheeks: following them would make a still face shiver.
DEAD_ZONE = 0.2


def patch(picture: Picture, box: Box) -> NDArray[np.float32]:
    """Eyes and nose of the face in `box`, without the mouth, whose movements are not the head's: float32 (SIDE, SIDE)."""
    return gray(crop_square(picture, box.x + 0.5 * box.w, box.y + 0.3 * box.h, _side(box), SIDE)).astype(np.float32)


def shift(before: NDArray[np.float32], picture: Picture, box: Box) -> tuple[float, float]:
    """(right, down) in pixels of the picture: how far what was in `box`, as `before` shows it, moved until this picture."""
    taper = cv2.createHanningWindow((SIDE, SIDE), cv2.CV_32F)
    (right, down), response = cv2.phaseCorrelate(before, patch(picture, box), taper)
    length = hypot(right, down)
    # Weak or far peaks mean another picture (a cut), not a movement.
    if response < 0.1 or length > SIDE / 4 or length <= DEAD_ZONE:
        return 0.0, 0.0
    scale = _side(box) / SIDE * (1 - DEAD_ZONE / length)
    return right * scale, down * scale


def _side(box: Box) -> float:
    return 0.9 * box.w
