"""A boosted cascade of local binary patterns (Liao et al. 2007; Viola and Jones 2001), all windows of all scales at once.

Written in numpy because OpenCV 5 no longer carries its own evaluator. The table is OpenCV's frontal face cascade.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import cv2
import numpy as np
from numpy.typing import NDArray

WINDOW = 24
# The eight cells around the middle one, clockwise from the upper left, as 3 * row + column; the first is the highest bit.
_RING = np.array([0, 1, 2, 5, 8, 7, 6, 3])
_BITS = np.array([128, 64, 32, 16, 8, 4, 2, 1], np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """Some rules that are summed up: a window goes on if it reaches the threshold.

    x, y   int64 (rules, 4): the corners of each rule's 3 x 3 cells within the window
    votes  float32 (rules, 256): what each code of the cells counts
    """

    threshold: float
    x: NDArray[np.int64]
    y: NDArray[np.int64]
    votes: NDArray[np.float32]


@cache
def stages() -> tuple[Stage, ...]:
    """The table in face_cascade.txt."""
    lines = files("operators").joinpath("face_cascade.txt").read_text("ascii").splitlines()
    parts = "\n".join(line for line in lines if not line.startswith("#")).split("stage ")[1:]
    return tuple(_stage(part.splitlines()) for part in parts)


def _stage(lines: list[str]) -> Stage:
    rules = [line.split() for line in lines[1:]]
    x, y, w, h = np.array([rule[:4] for rule in rules], np.int64).T[:, :, None]
    corners = np.arange(4)
    # The table is rounded to six digits: allow as much.
    return Stage(float(lines[0]) - 1e-5, x + w * corners, y + h * corners, np.stack([_votes(*rule[4:]) for rule in rules]))


def _votes(mask: str, inside: str, outside: str) -> NDArray[np.float32]:
    words = [int(mask[i : i + 8], 16) for i in range(0, 64, 8)]
    member = np.array([words[code >> 5] >> (code & 31) & 1 for code in range(256)], bool)
    return np.where(member, np.float32(inside), np.float32(outside))


def all_windows(pictures: list[NDArray[np.uint8]], *, step: int) -> NDArray[np.int64]:
    """(n, 3) of (picture, x, y): the upper left corners of the windows on a grid of `step` pixels. pictures: uint8 (h, w)."""
    rows = [np.zeros((0, 3), np.int64)]
    for number, picture in enumerate(pictures):
        y, x = np.mgrid[0 : picture.shape[0] - WINDOW + 1 : step, 0 : picture.shape[1] - WINDOW + 1 : step].reshape(2, -1)
        rows.append(np.stack([np.full(x.size, number), x, y], axis=1))
    return np.concatenate(rows)


def passing(pictures: list[NDArray[np.uint8]], windows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of `windows` (n, 3), which must lie inside their pictures, that pass every stage."""
    # One canvas with the pictures one below the other: sums over cells are local, so one integral serves all.
    width = max(picture.shape[1] for picture in pictures)
    tops = np.cumsum([0, *(picture.shape[0] for picture in pictures)])
    canvas = np.concatenate([np.pad(picture, ((0, 0), (0, width - picture.shape[1]))) for picture in pictures])
    sums = np.asarray(cv2.integral(canvas), np.int32).ravel()
    base = (tops[windows[:, 0]] + windows[:, 2]) * (width + 1) + windows[:, 1]
    for stage in stages():
        offsets = stage.y[:, :, None] * (width + 1) + stage.x[:, None, :]
        passed = _votes_of(sums, base, offsets, stage.votes) >= stage.threshold
        windows, base = windows[passed], base[passed]
    return windows


def _votes_of(
    sums: NDArray[np.int32], base: NDArray[np.int64], offsets: NDArray[np.int64], votes: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(windows,): the sum over the rules (axis 0 of offsets and votes)."""
    # Windows are the last axis throughout: numpy's inner loops want to be long.
    corners = sums[offsets[..., None] + base]  # (rules, 4, 4, windows)
    rows = corners[:, 1:] - corners[:, :-1]
    cells = (rows[:, :, 1:] - rows[:, :, :-1]).reshape(len(offsets), 9, -1)
    codes = np.zeros((len(offsets), base.size), np.uint8)
    for cell, bit in zip(_RING, _BITS, strict=True):
        codes |= (cells[:, cell] >= cells[:, 4]) * bit
    total: NDArray[np.float32] = votes[np.arange(len(offsets))[:, None], codes].sum(axis=0)
    return total
