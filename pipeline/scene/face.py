"""A face that moves: eyes that blink, brows, a mouth that opens, a head that sways."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.scene.look import Look
from pipeline.scene.portrait import (
    BROWS_Y,
    CHIN,
    HEAD,
    HEIGHT,
    MIDDLE,
    MOUTH_Y,
    TOP,
    WIDTH,
    Image,
    at,
    darker,
    eye_centres,
    paint_head,
    paint_surroundings,
)

STEPS = np.linspace(-1, 1, 25)
ARCH = np.sqrt(1 - STEPS**2)
JAW_DROP = 15
GRAINS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """The face at one moment.

    opening, spread   of the mouth, see `pipeline.scene.phones.Phone`
    lids              1 open, 0 shut
    gaze              of the eyes, -1 left to 1 right
    brows             0 at rest, 1 raised
    turn_deg          roll of the head; shift: of the head, in parts of its height (across, down); size: 1 as it was planned
    """

    opening: float = 0.02
    spread: float = 0.0
    lids: float = 1.0
    gaze: float = 0.0
    brows: float = 0.0
    turn_deg: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    size: float = 1.0


class Face:
    """Draws one person at one place. rng: for what stands behind them and the camera's grain."""

    def __init__(self, look: Look, width: int, height: int, rng: np.random.Generator) -> None:
        self._look = look
        self._surroundings = paint_surroundings(look, width, height, rng)
        self._head, self._opacity = paint_head(look)
        self._grain = [_grain(look.grain, width, height, rng) for _ in range(GRAINS)]

    def draw(self, pose: Pose, index: int) -> Image:
        """uint8 (height, width, 3) RGB; `index` chooses the camera's grain."""
        head = self._head.copy()
        self._brows(head, pose)
        for centre in eye_centres(self._look):
            self._eye(head, centre, pose)
        self._drop_jaw(head, pose.opening)
        self._mouth(head, pose)
        frame = self._place(head, pose)
        more, less = self._grain[index % GRAINS]
        return np.asarray(cv2.subtract(cv2.add(frame, more), less), np.uint8)

    def _brows(self, head: Image, pose: Pose) -> None:
        colour = _darkest(darker(self._look.hair, 0.8), darker(self._look.skin, 0.5))
        for x, _ in eye_centres(self._look):
            side = float(np.sign(x - MIDDLE))
            y = BROWS_Y - 7 * pose.brows
            arc = [(x - side * 24, y + 2), (x - side * 8, y - 2), (x + side * 10, y - 3), (x + side * 26, y + 5)]
            cv2.polylines(head, [at(*arc)], False, colour, max(2, round(6 * self._look.brow)), cv2.LINE_AA, 4)

    def _eye(self, head: Image, centre: tuple[float, float], pose: Pose) -> None:
        x, y = centre
        half, rise = 21 * self._look.eye_size, 10.5 * self._look.eye_size * pose.lids
        upper = np.stack([x + STEPS * half, y - ARCH * rise], axis=1)
        lower = np.stack([x + STEPS * half, y + ARCH * rise * 0.75], axis=1)
        box = slice(int(y) - 18, int(y) + 18), slice(int(x) - 32, int(x) + 32)
        if pose.lids > 0.15:
            opened = np.zeros((36, 64), np.uint8)
            around = np.concatenate([upper, lower[::-1]]) - (box[1].start, box[0].start)
            cv2.fillPoly(opened, [at(*around.tolist())], 255, cv2.LINE_AA, 4)
            _blend(head[box], self._eyeball((36, 64, 3), x - box[1].start + 4 * pose.gaze, y - box[0].start), opened)
        cv2.polylines(head, [at(*upper.tolist())], False, darker(self._look.hair, 0.5), 3, cv2.LINE_AA, 4)
        cv2.polylines(head, [at(*lower.tolist())], False, darker(self._look.skin, 0.6), 1, cv2.LINE_AA, 4)

    def _eyeball(self, shape: tuple[int, ...], x: float, y: float) -> Image:
        white = min(232.0, 1.15 * max(self._look.skin) + 15)  # an eye lies in the same light as the skin around it
        ball = np.full(shape, (white, white * 0.99, white * 0.97), np.uint8)
        middle, radius = at((x, y - 1))[0].tolist(), 9.2 * self._look.eye_size
        cv2.circle(ball, middle, round(radius * 16), self._look.iris, -1, cv2.LINE_AA, 4)
        cv2.circle(ball, middle, round(radius * 0.5 * 16), (12, 10, 12), -1, cv2.LINE_AA, 4)
        cv2.circle(ball, at((x - 3, y - 4))[0].tolist(), 30, (white + 18,) * 3, -1, cv2.LINE_AA, 4)
        return ball

    def _drop_jaw(self, head: Image, opening: float) -> None:
        """Stretches what lies below the mouth, as a jaw that opens does; the cheeks beside it stay."""
        drop = round(JAW_DROP * opening)
        if drop == 0:
            return
        top = MOUTH_Y + 12
        part = head[top : CHIN + 20, MIDDLE - 60 : MIDDLE + 60]
        longer = cv2.resize(part, (part.shape[1], part.shape[0] + drop), interpolation=cv2.INTER_LINEAR)
        _blend(part, np.ascontiguousarray(longer[drop:]), JAW_MASK)

    def _mouth(self, head: Image, pose: Pose) -> None:
        look = self._look
        rounded, spread = max(0.0, -pose.spread), max(0.0, pose.spread)
        half = 35 * look.mouth_width * (1 - 0.38 * rounded + 0.14 * spread) * (1 - 0.08 * pose.opening)
        gap = 40 * pose.opening * (1 - 0.25 * spread)
        y = MOUTH_Y + 3 * pose.opening - 2.5 * spread * np.abs(STEPS) ** 2
        inner_top, inner_bottom = y - 0.28 * gap * ARCH, y + 0.72 * gap * ARCH
        bow = 1 - 0.22 * np.exp(-((STEPS / 0.16) ** 2))
        thick = look.lip_height * (1 + 0.35 * rounded)
        outer_top = inner_top - 7.5 * thick * ARCH**0.8 * bow
        outer_bottom = inner_bottom + 9.5 * thick * ARCH**0.9
        x = MIDDLE + STEPS * half
        _fill(head, x, outer_top, inner_top + 1, darker(look.lips, 0.88))
        _fill(head, x, inner_bottom - 1, outer_bottom, look.lips)
        if gap > 2:
            self._inside(head, x, inner_top, inner_bottom)
        else:
            cv2.polylines(
                head, [at(*np.stack([x, (inner_top + inner_bottom) / 2], 1).tolist())], False, darker(look.lips, 0.45), 2, cv2.LINE_AA, 4
            )

    def _inside(self, head: Image, x: NDArray[np.float64], top: NDArray[np.float64], bottom: NDArray[np.float64]) -> None:
        """Dark, with the upper teeth and, wide open, the tongue."""
        middle = MIDDLE + (x - MIDDLE) * 0.94
        _fill(head, middle, top, bottom, (58, 20, 22))
        gap = bottom - top
        inner = slice(3, -3)
        _fill(head, middle[inner], top[inner], top[inner] + np.minimum(9.0, 0.4 * gap[inner]), (222, 214, 202))
        if gap.max() > 14:
            low = slice(6, -6)
            _fill(head, middle[low], bottom[low] - 0.28 * gap[low], bottom[low], (150, 66, 70))

    def _place(self, head: Image, pose: Pose) -> Image:
        """The head in the picture, turned and moved."""
        frame = self._surroundings.copy()
        height, width = frame.shape[:2]
        unit = self._look.height * height / HEAD * pose.size
        x = (self._look.centre[0] + pose.shift[0] * self._look.height * height / width) * width
        y = (self._look.centre[1] + pose.shift[1] * self._look.height) * height
        # Turned about the chin, which the neck holds.
        turn = cv2.getRotationMatrix2D((MIDDLE, CHIN), pose.turn_deg, unit)
        across, along = round(0.54 * WIDTH * unit), round(0.54 * HEIGHT * unit)
        left, top = max(0, round(x) - across), max(0, round(y) - along)
        right, bottom = min(width, round(x) + across), min(height, round(y) + along)
        turn[:, 2] += (x - MIDDLE - left, y + (CHIN - TOP) / 2 * unit - CHIN - top)
        size = (right - left, bottom - top)
        moved = cv2.warpAffine(head, turn, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        opacity = cv2.warpAffine(self._opacity, turn, size, flags=cv2.INTER_LINEAR)
        part = frame[top:bottom, left:right]
        part[:] = cv2.blendLinear(moved, np.ascontiguousarray(part), opacity, 1 - opacity)
        return frame


def _fill(head: Image, x: NDArray[np.float64], top: NDArray[np.float64], bottom: NDArray[np.float64], colour: tuple[float, ...]) -> None:
    around = np.concatenate([np.stack([x, top], 1), np.stack([x, bottom], 1)[::-1]])
    cv2.fillPoly(head, [at(*around.tolist())], colour, cv2.LINE_AA, 4)


def _darkest(one: tuple[float, float, float], other: tuple[float, float, float]) -> tuple[float, float, float]:
    return one if sum(one) < sum(other) else other


def _blend(below: Image, above: Image, mask: Image) -> None:
    """`above` over `below`, in place, as far as mask (0 to 255) says."""
    weight = mask.astype(np.float32) / 255
    below[:] = cv2.blendLinear(above, np.ascontiguousarray(below), weight, 1 - weight)


def _grain(sigma: float, width: int, height: int, rng: np.random.Generator) -> tuple[Image, Image]:
    """What a camera's noise adds and what it takes away, soft as after a camera's own smoothing."""
    coarse = rng.normal(0, sigma, (height // 2 + 1, width // 2 + 1, 3)).astype(np.float32)
    noise = cv2.resize(coarse, (width, height))
    return np.maximum(noise, 0).round().astype(np.uint8), np.maximum(-noise, 0).round().astype(np.uint8)


def _jaw_mask() -> Image:
    mask = np.zeros((CHIN + 20 - (MOUTH_Y + 12), 120), np.uint8)
    cv2.ellipse(mask, (60, 0), (46, 62), 0, 0, 360, 255, -1)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 5), np.uint8)


JAW_MASK = _jaw_mask()
