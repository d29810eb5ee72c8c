"""The locator that needs no file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from operators.face_cascade import WINDOW, Canvas, all_windows
from operators.face_detect import Box
from operators.video import Picture, gray, resize

WIDTH = 160
SCALE = 1.2
FEWEST_HITS = 5


class BuiltIn:
    """A classical cascade for one person in front of a camera: upright faces seen from the front, from 15 % of the picture's width on.

    It misses faces that are small, turned by more than some 20 degrees or half covered, and sees a face where there is none
    more often than a network does: give the path of a YuNet or CenterFace file where you can.
    """

    def detect(self, picture: Picture) -> list[Box]:
        grey = gray(picture)
        shrink = max(1.0, grey.shape[1] / WIDTH)
        pictures = _pyramid(grey, shrink)
        if not pictures:
            return []
        canvas = Canvas(pictures)
        coarse = canvas.passing(all_windows(canvas.shapes, step=2))
        return _boxes(canvas.passing(_around(canvas.shapes, coarse)), shrink)


def _pyramid(grey: Picture, shrink: float) -> list[Picture]:
    """Picture i is smaller than `grey` by shrink * SCALE ** i."""
    pictures = []
    height, width = (side / shrink for side in grey.shape)
    while min(height, width) >= WINDOW:
        pictures.append(resize(grey, int(width), int(height)))
        height, width = height / SCALE, width / SCALE
    return pictures


def _around(shapes: Sequence[tuple[int, int]], windows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Every window within two pixels and one scale of one of `windows`, once each, in order."""
    number, x, y = windows[:, :, None, None, None].transpose(1, 0, 2, 3, 4)
    step, dx, dy = np.ogrid[-1:2, -2:3, -2:3]
    # Its middle stays where it is, on a picture that is smaller or larger.
    left, top = (np.rint((side + WINDOW / 2) * SCALE**-step - WINDOW / 2).astype(np.int64) for side in (x, y))
    found = np.stack(np.broadcast_arrays(number + step, left + dx, top + dy), axis=-1).reshape(-1, 3)
    found = found[(found[:, 0] >= 0) & (found[:, 0] < len(shapes))]
    most = np.array([[width - WINDOW, height - WINDOW] for height, width in shapes])[found[:, 0]]
    inside = found[((found[:, 1:] >= 0) & (found[:, 1:] <= most)).all(axis=1)]
    # As one number each: np.unique of rows takes ten times as long.
    number, rest = np.divmod(np.unique((inside[:, 0] << 40) + (inside[:, 1] << 20) + inside[:, 2]), 1 << 40)
    x, y = np.divmod(rest, 1 << 20)
    return np.stack([number, x, y], axis=1)


def _boxes(windows: NDArray[np.int64], shrink: float) -> list[Box]:
    """One box for each cluster of windows that overlap: a face passes in many places, a chance pattern in few."""
    factor = shrink * SCALE ** windows[:, 0].astype(np.float64)
    squares = np.stack([windows[:, 1] * factor, windows[:, 2] * factor, WINDOW * factor], axis=1)
    boxes = []
    while len(squares):
        middle = squares[:, :2] + squares[:, 2:] / 2
        apart = np.hypot(*(middle[:, None] - middle[None, :]).transpose(2, 0, 1))
        together = apart < 0.3 * np.minimum(squares[:, None, 2], squares[None, :, 2])
        cluster = together[together.sum(axis=1).argmax()]
        if cluster.sum() >= FEWEST_HITS:
            boxes.append(_face(squares[cluster].mean(axis=0).tolist(), int(cluster.sum())))
        squares = squares[~cluster]
    return boxes


def _face(square: list[float], hits: int) -> Box:
    """A cascade's window is a square with the eyes in its upper half."""
    x, y, side = square
    return Box(x=x + 0.126 * side, y=y + 0.031 * side, w=0.728 * side, h=1.016 * side, score=hits / (hits + FEWEST_HITS))
