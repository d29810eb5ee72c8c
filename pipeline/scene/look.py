"""Who is in the picture and where: everything about a drawn face that does not move, drawn by lot from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

SKINS: tuple[Colour, ...] = (
    (246, 214, 190), (236, 196, 165), (222, 178, 142), (198, 148, 110), (165, 116, 82), (130, 88, 62), (105, 70, 50)
)  # fmt: skip
HAIRS: tuple[Colour, ...] = ((30, 24, 22), (62, 40, 28), (105, 70, 42), (160, 118, 70), (196, 160, 105), (128, 56, 32), (150, 148, 145))
IRISES: tuple[Colour, ...] = ((70, 45, 28), (95, 70, 40), (60, 100, 130), (80, 115, 80), (50, 80, 110))


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A face. Ratios are relative to an average face; height is the head's, in parts of the picture's height."""

    skin: Colour
    hair: Colour
    iris: Colour
    lips: Colour
    shirt: Colour
    wall: tuple[Colour, Colour]
    hair_style: Literal["short", "parted", "long", "bald"]
    beard: bool
    glasses: bool
    jaw: float
    eye_gap: float
    eye_size: float
    nose: float
    mouth_width: float
    lip_height: float
    brow: float
    height: float
    centre: tuple[float, float]
    light: float
    grain: float


def draw_look(rng: np.random.Generator) -> Look:
    """Anyone, somewhere near the middle of the picture."""
    skin = _varied(SKINS[int(rng.integers(len(SKINS)))], rng, 8)
    hairs = [hair for hair in HAIRS if sum(hair) < 0.75 * sum(skin)]
    red, green, blue = (channel * rng.uniform(0.72, 0.9) for channel in skin)
    return Look(
        skin=skin,
        hair=_varied(hairs[int(rng.integers(len(hairs)))], rng, 8),
        iris=IRISES[int(rng.integers(len(IRISES)))],
        lips=(_byte(red + 18), _byte(green * 0.68), _byte(blue * 0.72)),
        shirt=_any_colour(rng),
        wall=(_pale(rng), _pale(rng)),
        hair_style=("short", "parted", "long", "bald")[int(rng.choice(4, p=[0.35, 0.25, 0.3, 0.1]))],
        beard=bool(rng.random() < 0.15),
        glasses=bool(rng.random() < 0.2),
        jaw=float(rng.uniform(0.86, 1.08)),
        eye_gap=float(rng.uniform(0.92, 1.08)),
        eye_size=float(rng.uniform(0.88, 1.15)),
        nose=float(rng.uniform(0.85, 1.2)),
        mouth_width=float(rng.uniform(0.85, 1.15)),
        lip_height=float(rng.uniform(0.75, 1.3)),
        brow=float(rng.uniform(0.7, 1.3)),
        height=float(rng.uniform(0.42, 0.68)),
        centre=(float(rng.uniform(0.38, 0.62)), float(rng.uniform(0.42, 0.5))),
        light=float(rng.uniform(-1, 1)),
        grain=float(rng.uniform(0.5, 4.0)),
    )


def _varied(colour: Colour, rng: np.random.Generator, spread: float) -> Colour:
    lighter = rng.normal(0, spread)
    red, green, blue = (_byte(channel + lighter + rng.normal(0, 3)) for channel in colour)
    return red, green, blue


def _any_colour(rng: np.random.Generator) -> Colour:
    red, green, blue = (_byte(channel) for channel in rng.uniform(40, 215, 3))
    return red, green, blue


def _pale(rng: np.random.Generator) -> Colour:
    red, green, blue = (_byte(channel) for channel in rng.uniform(60, 210) + rng.normal(0, 14, 3))
    return red, green, blue


def _byte(value: float) -> int:
    return int(np.clip(value, 0, 255))
