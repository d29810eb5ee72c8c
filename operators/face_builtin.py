"""The locator that needs no file."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot, log

import numpy as np
from numpy.typing import NDArray

from operators.face_cascade import WINDOW, Canvas, all_windows
from operators.face_detect import Box
from operators.video import Picture, gray, resize

WIDTH = 160
SCALE = 1.2
FEWEST_HITS = 5
REACH = 0.35
"""A face that is expected somewhere is looked for with its middle at most so much of its size away, and in two scales to either side."""


class BuiltIn:
    """A classical cascade for one person in front of a camera: upright faces seen from the front, from 15 % of the picture's width on.

    It misses faces that are small, turned by more than some 20 degrees or half covered, and sees a face where there is none
    more often than a network does: give the path of a YuNet or CenterFace file where you can.
    """

    def detect(self, picture: Picture, near: Box | None = None) -> list[Box]:
        grey = gray(picture)
        shrink = max(1.0, grey.shape[1] / WIDTH)
        # A face well inside of what was searched has all its windows there: the box is the one that a look at everything gives.
        there = [] if near is None else [box for box in _found(grey, shrink, near) if _same(box, near)]
        return there or _found(grey, shrink)


def _found(grey: Picture, shrink: float, near: Box | None = None) -> list[Box]:
    """Faces in the whole picture, or around one that is expected."""
    sizes = _sizes(grey, shrink)
    first, last = (0, len(sizes)) if near is None else _scales(near, shrink)
    pictures = [resize(grey, width, height) for width, height in sizes[first:last]]
    if not pictures:
        return []
    canvas = Canvas(pictures)
    windows = all_windows(canvas.shapes, step=2)
    factors = shrink * SCALE ** np.arange(first, first + len(pictures), dtype=np.float64)
    coarse = canvas.passing(windows if near is None else _close(windows, factors, near))
    return _boxes(canvas.passing(_around(canvas.shapes, coarse)), factors)


def _sizes(grey: Picture, shrink: float) -> list[tuple[int, int]]:
    """(width, height) of the pictures that are searched: number i is smaller than `grey` by shrink * SCALE ** i."""
    sizes = []
    height, width = (side / shrink for side in grey.shape)
    while min(height, width) >= WINDOW:
        sizes.append((int(width), int(height)))
        height, width = height / SCALE, width / SCALE
    return sizes


def _scales(near: Box, shrink: float) -> tuple[int, int]:
    """The numbers of the pictures in which a window may hold this face: from the first to before the last."""
    fits = round(log(_square(near)[2] / (WINDOW * shrink), SCALE))
    return max(0, fits - 3), max(0, fits + 3)


def _close(windows: NDArray[np.int64], factors: NDArray[np.float64], near: Box) -> NDArray[np.int64]:
    x, y, side = _square(near)
    factor = factors[windows[:, 0]]
    right, down = (np.abs((windows[:, axis] + WINDOW / 2) * factor - middle) for axis, middle in ((1, x), (2, y)))
    return windows[np.maximum(right, down) <= REACH * side]


def _same(box: Box, near: Box) -> bool:
    (x, y, side), (near_x, near_y, near_side) = _square(box), _square(near)
    return hypot(x - near_x, y - near_y) < 0.2 * near_side and 1 / SCALE < side / near_side < SCALE


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


def _boxes(windows: NDArray[np.int64], factors: NDArray[np.float64]) -> list[Box]:
    """One box for each cluster of windows that overlap: a face passes in many places, a chance pattern in few.

    factors: by how much each of the pictures is smaller than the one that the boxes are for.
    """
    factor = factors[windows[:, 0]]
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


def _square(box: Box) -> tuple[float, float, float]:
    """(middle x, middle y, side) of the window that the box was made from."""
    side = box.w / 0.728
    return box.x + 0.374 * side, box.y + 0.469 * side, side
