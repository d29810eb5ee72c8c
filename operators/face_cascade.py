"""A boosted cascade of local binary patterns (Liao et al. 2007; Viola and Jones 2001), all windows of all scales at once.

Written in numpy because OpenCV 5 no longer carries its own evaluator. The table is OpenCV's frontal face cascade.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

import cv2
import numpy as np
from numpy.typing import NDArray

WINDOW = 24
FEW = 16
"""Windows, from which on the stages left are tried all at once."""
# The eight cells around the middle one, clockwise from the upper left, as 3 * row + column; the first is the highest bit.
_RING = np.array([0, 1, 2, 5, 8, 7, 6, 3])


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """x, y: int64 (rules, 4), the corners of each rule's 3 x 3 cells within the window. votes: float32 (rules, 256), by the cells' code."""

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    votes: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Stage(Rules):
    """Some rules that are summed up: a window goes on if it reaches the threshold."""

    threshold: float


@dataclass(frozen=True, slots=True, eq=False)
class Stages(Rules):
    """The rules of several stages, one after the other; firsts: where each begins. thresholds: (stages, 1)."""

    firsts: NDArray[np.int64]
    thresholds: NDArray[np.float64]


@cache
def stages() -> tuple[Stage, ...]:
    """The table in face_cascade.txt."""
    lines = files("operators").joinpath("face_cascade.txt").read_text("ascii").splitlines()
    parts = "\n".join(line for line in lines if not line.startswith("#")).split("stage ")[1:]
    return tuple(_stage(part.splitlines()) for part in parts)


@cache
def _from(number: int) -> Stages:
    """All stages from this one on as one."""
    rest = stages()[number:]
    x, y, votes = (np.concatenate([getattr(stage, name) for stage in rest]) for name in ("x", "y", "votes"))
    firsts = np.cumsum([0, *(len(stage.votes) for stage in rest[:-1])])
    return Stages(x=x, y=y, votes=votes, firsts=firsts, thresholds=np.array([[stage.threshold] for stage in rest]))


def _stage(lines: list[str]) -> Stage:
    rules = [line.split() for line in lines[1:]]
    x, y, w, h = np.array([rule[:4] for rule in rules], np.int64).T[:, :, None]
    corners = np.arange(4)
    # The table is rounded to six digits: allow as much.
    votes = np.stack([_votes(*rule[4:]) for rule in rules])
    return Stage(x=x + w * corners, y=y + h * corners, votes=votes, threshold=float(lines[0]) - 1e-5)


def _votes(mask: str, inside: str, outside: str) -> NDArray[np.float32]:
    words = [int(mask[i : i + 8], 16) for i in range(0, 64, 8)]
    member = np.array([words[code >> 5] >> (code & 31) & 1 for code in range(256)], bool)
    return np.where(member, np.float32(inside), np.float32(outside))


class Canvas:
    """Pictures, one below the other: sums over cells are local, so one integral serves all.

    shapes  (height, width) of each
    """

    def __init__(self, pictures: Sequence[NDArray[np.uint8]]) -> None:
        self.shapes = tuple((picture.shape[0], picture.shape[1]) for picture in pictures)
        self._tops, self._width = _layout(self.shapes)
        canvas = np.zeros((self._tops[-1], self._width), np.uint8)
        for top, picture in zip(self._tops, pictures, strict=False):
            canvas[top : top + picture.shape[0], : picture.shape[1]] = picture
        self._sums = np.asarray(cv2.integral(canvas), np.int32).ravel()

    def passing(self, windows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of `windows` (n, 3), which must lie inside their pictures, that pass every stage."""
        base = (self._tops[windows[:, 0]] + windows[:, 2]) * (self._width + 1) + windows[:, 1]
        for number, stage in enumerate(stages()):
            if base.size <= FEW:
                together = _from(number)
                return windows[(np.add.reduceat(self._rated(base, together), together.firsts) >= together.thresholds).all(axis=0)]
            passed = self._rated(base, stage).sum(axis=0) >= stage.threshold
            windows, base = windows[passed], base[passed]
        return windows

    def _rated(self, base: NDArray[np.int64], rules: Rules) -> NDArray[np.float32]:
        """(rules, windows): what each rule says of each window."""
        # Windows are the last axis throughout: numpy's inner loops want to be long.
        corners = self._sums.take(_offsets(rules, self._width) + base)  # (rules, 4, 4, windows)
        rows = corners[:, 1:] - corners[:, :-1]
        cells = (rows[:, :, 1:] - rows[:, :, :-1]).reshape(len(rules.votes), 9, -1)
        codes = np.packbits(cells[:, _RING] >= cells[:, 4:5], axis=1)[:, 0]
        return rules.votes.take(codes + 256 * np.arange(len(rules.votes))[:, None])


@lru_cache(maxsize=256)
def _offsets(rules: Rules, width: int) -> NDArray[np.int64]:
    """(rules, 4, 4, 1): how far each corner of each cell lies behind the window's own, in the sums of a canvas of this width; read-only."""
    offsets = rules.y[:, :, None, None] * (width + 1) + rules.x[:, None, :, None]
    offsets.flags.writeable = False
    return offsets


def _layout(shapes: Sequence[tuple[int, int]]) -> tuple[NDArray[np.int64], int]:
    """(rows where each picture begins and where the last one ends, width)."""
    return np.cumsum([0, *(height for height, _ in shapes)]), max(width for _, width in shapes)


@lru_cache(maxsize=8)
def all_windows(shapes: tuple[tuple[int, int], ...], *, step: int) -> NDArray[np.int64]:
    """(n, 3) of (picture, x, y): the upper left corners of the windows on a grid of `step` pixels; read-only."""
    rows = [np.zeros((0, 3), np.int64)]
    for number, (height, width) in enumerate(shapes):
        y, x = np.mgrid[0 : height - WINDOW + 1 : step, 0 : width - WINDOW + 1 : step].reshape(2, -1)
        rows.append(np.stack([np.full(x.size, number), x, y], axis=1))
    windows = np.concatenate(rows)
    windows.flags.writeable = False
    return windows
