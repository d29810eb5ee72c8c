"""The still parts of a drawn face and its surroundings, painted once: a texture of the head, and the picture behind it.

The head is painted on a canvas of its own, WIDTH x HEIGHT, from which every frame is cut, turned and moved as the head moves.
All coordinates are pixels of that canvas.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.scene.look import Colour, Look

Image = NDArray[np.uint8]
Canvas = NDArray[np.float32]

WIDTH, HEIGHT = 340, 380
MIDDLE = 170
TOP, CHIN = 62, 318
EYES_Y, EYE_X, BROWS_Y = 182, 41, 158
NOSE_Y, MOUTH_Y = 226, 264
HEAD = CHIN - TOP


def paint_head(look: Look) -> tuple[Image, NDArray[np.float32]]:
    """The head without eyes, brows and mouth: uint8 (HEIGHT, WIDTH, 3) RGB, and its opacity, float32 (HEIGHT, WIDTH) of 0 to 1."""
    outline = _head_outline(look)
    canvas = _shaded(look)
    _features(canvas, look)
    if look.beard:
        _beard(canvas, look, outline)
    opacity = np.maximum(_filled(outline), _ears(canvas, look))
    opacity = np.maximum(opacity, _hair(canvas, look, outline))
    if look.glasses:
        _glasses(canvas, look)
    return canvas.clip(0, 255).astype(np.uint8), cv2.GaussianBlur(opacity, (0, 0), 0.8).astype(np.float32)


def paint_surroundings(look: Look, width: int, height: int, rng: np.random.Generator) -> Image:
    """Wall, things on it, neck and shoulders: uint8 (height, width, 3) RGB."""
    above, below = (np.array(colour, np.float32) for colour in look.wall)
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    wall = np.ascontiguousarray(np.broadcast_to(above * (1 - down) + below * down, (height, width, 3)))
    for _ in range(int(rng.integers(1, 6))):
        _thing(wall, rng)
    sigma = float(rng.uniform(1.5, 6)) * height / 480
    wall = cv2.GaussianBlur(wall, (0, 0), sigma).astype(np.float32)
    _body(wall, look)
    return wall.clip(0, 255).astype(np.uint8)


def at(*points: tuple[float, float]) -> NDArray[np.int32]:
    """Points for OpenCV, in sixteenths of a pixel (shift=4)."""
    return np.round(np.array(points) * 16).astype(np.int32)


def eye_centres(look: Look) -> tuple[tuple[float, float], tuple[float, float]]:
    reach = EYE_X * look.eye_gap
    return (MIDDLE - reach, EYES_Y), (MIDDLE + reach, EYES_Y)


def darker(colour: Colour, factor: float) -> tuple[float, float, float]:
    red, green, blue = colour
    return red * factor, green * factor, blue * factor


def _head_outline(look: Look) -> NDArray[np.float64]:
    """A skull above, a jaw below, (72, 2)."""
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    middle_y = (TOP + CHIN) / 2 - 6
    x, y = np.sin(angle), -np.cos(angle)
    narrow = 1 - (0.30 - 0.25 * (look.jaw - 1)) * np.clip(y, 0, 1) ** 1.6 * (1 - 0.25 * np.abs(x))
    reach_y = np.where(y > 0, CHIN - middle_y, middle_y - TOP)
    return np.stack([MIDDLE + 92 * x * narrow, middle_y + reach_y * y], axis=1)


def _filled(outline: NDArray[np.float64]) -> Canvas:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(mask, [at(*outline.tolist())], 255, cv2.LINE_AA, 4)
    return np.asarray(mask / 255, np.float32)


def _shaded(look: Look) -> Canvas:
    """Skin all over the canvas, lit from one side, falling off to the edges."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    across, along = (x - MIDDLE) / 92, (y - 190) / 130
    light = 1.04 - 0.26 * np.abs(across) ** 2.6 - 0.10 * along**2 + 0.10 * look.light * across
    return np.asarray(light[:, :, None] * np.array(look.skin, np.float32), np.float32)


def _glow(canvas: Canvas, centre: tuple[float, float], size: tuple[float, float], gain: float) -> None:
    """Brightens (gain > 0) or darkens a soft spot, in place."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    spot = np.exp(-0.5 * (((x - centre[0]) / size[0]) ** 2 + ((y - centre[1]) / size[1]) ** 2))
    canvas *= (1 + gain * spot)[:, :, None]


def _features(canvas: Canvas, look: Look) -> None:
    for x, y in eye_centres(look):
        _glow(canvas, (x, y - 6), (24, 13), -0.24)
        _glow(canvas, (x, y + 17), (16, 5), -0.08)
        _glow(canvas, (x + np.sign(x - MIDDLE) * 6, y + 42), (20, 15), 0.07)
    for side in (-1, 1):
        _glow(canvas, (MIDDLE + side * 13 * look.nose, EYES_Y + 16), (5, 22), -0.12)
        _glow(canvas, (MIDDLE + side * 15 * look.nose, NOSE_Y + 2), (6, 6), -0.20)
        _glow(canvas, (MIDDLE + side * 7 * look.nose, NOSE_Y + 8), (4.5, 2.6), -0.55)
        _glow(canvas, (MIDDLE + side * 46, MOUTH_Y - 12), (6, 16), -0.08)
    _glow(canvas, (MIDDLE, EYES_Y + 22), (5, 26), 0.12)
    _glow(canvas, (MIDDLE, NOSE_Y - 2), (8, 7), 0.10)
    _glow(canvas, (MIDDLE, NOSE_Y + 15), (12, 4), -0.14)
    _glow(canvas, (MIDDLE, MOUTH_Y + 24), (20, 5), -0.16)
    _glow(canvas, (MIDDLE, CHIN - 20), (20, 10), 0.07)
    _glow(canvas, (MIDDLE, TOP + 55), (50, 25), 0.06)


def _beard(canvas: Canvas, look: Look, outline: NDArray[np.float64]) -> None:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    low = np.clip((y - NOSE_Y - 12 - 20 * np.cos((x - MIDDLE) / 60)) / 14, 0, 1) * _filled(outline)
    hair = np.array(darker(look.hair, 0.9), np.float32)
    canvas[:] = canvas * (1 - 0.75 * low[:, :, None]) + hair * (0.75 * low[:, :, None])


def _ears(canvas: Canvas, look: Look) -> Canvas:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for side in (-1, 1):
        cv2.ellipse(mask, at((MIDDLE + side * 91, EYES_Y + 20))[0].tolist(), at((12, 25))[0].tolist(), 0, 0, 360, 255, -1, cv2.LINE_AA, 4)
        _glow(canvas, (MIDDLE + side * 95, EYES_Y + 22), (6, 14), -0.15)
    return np.asarray(mask / 255 * (look.hair_style != "long"), np.float32)


def _hair(canvas: Canvas, look: Look, outline: NDArray[np.float64]) -> Canvas:
    """Paints the hair and returns where it is."""
    if look.hair_style == "bald":
        _glow(canvas, (MIDDLE + 25 * look.light, TOP + 25), (30, 14), 0.12)
        return np.zeros((HEIGHT, WIDTH), np.float32)
    grown = (outline - (MIDDLE, 175)) * (1.13, 1.12) + (MIDDLE, 172)
    around = _filled(grown)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    parting = 18.0 * look.light if look.hair_style == "parted" else 0.0
    hairline = TOP + 34 + 26 * np.abs((x - MIDDLE - parting) / 80) ** 2.2 * (1.6 if look.hair_style == "parted" else 1.0)
    above = np.clip((hairline - y) / 4, 0, 1)
    sides = np.clip((np.abs(x - MIDDLE) - 84 + 0.08 * np.clip(y - 150, 0, 200)) / 4, 0, 1)
    depth = {"short": 175, "parted": 190, "long": 330}[look.hair_style]
    mask = around * np.clip(np.maximum(above, sides) * np.clip((depth - y) / 10, 0, 1), 0, 1)
    strands = 1 + 0.10 * np.sin(x / 2.7 + 6 * np.sin(y / 31)) + 0.12 * np.exp(-(((y - TOP - 8) / 16) ** 2))
    colour = np.array(look.hair, np.float32) * strands[:, :, None]
    canvas[:] = canvas * (1 - mask[:, :, None]) + colour * mask[:, :, None]
    return np.asarray(mask, np.float32)


def _glasses(canvas: Canvas, look: Look) -> None:
    frame = (40.0, 38.0, 42.0)
    for x, y in eye_centres(look):
        cv2.ellipse(canvas, at((x, y + 2))[0].tolist(), at((31, 23))[0].tolist(), 0, 0, 360, frame, 3, cv2.LINE_AA, 4)
        side = np.sign(x - MIDDLE)
        cv2.line(canvas, at((x + side * 31, y - 2))[0].tolist(), at((MIDDLE + side * 92, y - 6))[0].tolist(), frame, 3, cv2.LINE_AA, 4)
    cv2.line(canvas, at((MIDDLE - 12, EYES_Y - 1))[0].tolist(), at((MIDDLE + 12, EYES_Y - 1))[0].tolist(), frame, 3, cv2.LINE_AA, 4)


def _thing(wall: Canvas, rng: np.random.Generator) -> None:
    """A picture, a shelf, a window: some rectangle on the wall."""
    height, width = wall.shape[:2]
    left, top = rng.uniform(-0.1, 0.9) * width, rng.uniform(-0.1, 0.8) * height
    right, bottom = left + rng.uniform(0.08, 0.35) * width, top + rng.uniform(0.08, 0.5) * height
    colour = tuple(float(channel) for channel in rng.uniform(40, 200) + rng.normal(0, 18, 3))
    cv2.rectangle(wall, (int(left), int(top)), (int(right), int(bottom)), colour, -1)


def _body(wall: Canvas, look: Look) -> None:
    """Neck and shoulders under the head's place, in the picture's own pixels."""
    height, width = wall.shape[:2]
    unit = look.height * height / HEAD
    x, y = look.centre[0] * width, look.centre[1] * height

    def place(across: float, down: float) -> tuple[float, float]:
        return x + across * unit, y + (down - (TOP + CHIN) / 2) * unit

    shoulders = [(-190, HEIGHT + 260), (-170, 420), (-120, 375), (-50, 350), (50, 350), (120, 375), (170, 420), (190, HEIGHT + 260)]
    cv2.fillPoly(wall, [at(*(place(*point) for point in shoulders))], look.shirt, cv2.LINE_AA, 4)
    neck = [(-52, 250), (-50, 330), (-66, 356), (0, 392), (66, 356), (50, 330), (52, 250)]
    cv2.fillPoly(wall, [at(*(place(*point) for point in neck))], darker(look.skin, 0.74), cv2.LINE_AA, 4)
    cv2.polylines(
        wall, [at(*(place(*point) for point in neck[2:5]))], False, darker(look.shirt, 0.7), max(1, round(4 * unit)), cv2.LINE_AA, 4
    )
