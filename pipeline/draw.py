"""Small pictures for reports: text, lines, heat maps and bars. OpenCV is here already; a plotting library would be its size again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
WHITE, INK, GREY, BLUE, RED = (255, 255, 255), (40, 40, 40), (190, 190, 190), (178, 107, 31), (60, 60, 200)
"""Blue, green, red, as OpenCV has them."""
LINES: tuple[Colour, ...] = (BLUE, RED, (60, 150, 60), (160, 60, 160), (20, 140, 220), (120, 120, 20), (90, 90, 90))
_FONT = cv2.FONT_HERSHEY_SIMPLEX

Picture = NDArray[np.uint8]


def blank(width: int, height: int) -> Picture:
    """(height, width, 3), white."""
    return np.full((height, width, 3), 255, np.uint8)


def write(picture: Picture, text: str, x: int, y: int, *, size: float = 0.4, colour: Colour = INK) -> None:
    """Baseline at y. What the font has not (it knows ASCII) becomes '?'."""
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(picture, plain, (x, y), _FONT, size, colour, 1, cv2.LINE_AA)


def width_of(text: str, *, size: float = 0.4) -> int:
    return int(cv2.getTextSize(text, _FONT, size, 1)[0][0])


def png(picture: Picture) -> bytes:
    """The same bytes for the same picture."""
    _, made = cv2.imencode(".png", picture)
    return bytes(made)


def heat(values: NDArray[np.floating], width: int, height: int) -> Picture:
    """(rows, columns) of any numbers -> from white (least) to blue (most), row 0 on top, without smoothing."""
    low, high = float(values.min()), float(values.max())
    share = (values - low) / (high - low) if high > low else np.zeros_like(values)
    colour = 255 - share[..., None] * (255 - np.array(BLUE))
    return np.asarray(cv2.resize(colour.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def matrix(counts: NDArray[np.integer], labels: Sequence[str], *, title: str) -> Picture:
    """A confusion matrix: row truth, column decision, coloured by share of the row, each cell with its count."""
    cell = max(64, 12 + max(width_of(label) for label in labels))
    left, top, size = 24 + max(width_of(label) for label in labels), 64, len(labels)
    picture = blank(left + cell * size + 16, top + cell * size + 16)
    write(picture, title, 8, 20, size=0.5)
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    for row, true in enumerate(labels):
        write(picture, true, 8, top + cell * row + cell // 2 + 4)
        write(picture, labels[row], left + cell * row + (cell - width_of(labels[row])) // 2, top - 8)
        for column in range(size):
            share, x, y = float(shares[row, column]), left + cell * column, top + cell * row
            colour = tuple(round(255 - share * (255 - part)) for part in BLUE)
            cv2.rectangle(picture, (x, y), (x + cell - 2, y + cell - 2), colour, -1)
            text = str(int(counts[row, column]))
            write(picture, text, x + (cell - width_of(text)) // 2, y + cell // 2 + 4, colour=WHITE if share > 0.5 else INK)
    return picture


def curves(lines: Mapping[str, Sequence[float]], *, title: str, width: int = 560, height: int = 320) -> Picture:
    """Numbers by epoch, one line a name, NaN left out; the legend on the right."""
    picture = blank(width + 170, height)
    write(picture, title, 8, 20, size=0.5)
    known = [value for values in lines.values() for value in values if np.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    high = high if high > low else low + 1.0
    left, top, right, bottom = 56, 36, width - 8, height - 28
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = round(bottom - share * (bottom - top))
        cv2.line(picture, (left, y), (right, y), GREY, 1)
        write(picture, f"{low + share * (high - low):.3f}", 6, y + 4)
    count = max(2, *(len(values) for values in lines.values()))
    write(picture, "1", left, height - 8)
    write(picture, f"epoch {count}", right - width_of(f"epoch {count}"), height - 8)
    for number, (name, values) in enumerate(lines.items()):
        colour = LINES[number % len(LINES)]
        points = [
            (round(left + at / (count - 1) * (right - left)), round(bottom - (value - low) / (high - low) * (bottom - top)))
            for at, value in enumerate(values)
            if np.isfinite(value)
        ]
        for a, b in pairwise(points):
            cv2.line(picture, a, b, colour, 2, cv2.LINE_AA)
        for point in points:
            cv2.circle(picture, point, 2, colour, -1, cv2.LINE_AA)
        write(picture, name, width + 4, top + 16 * number, colour=colour)
    return picture


def bars(values: Mapping[str, float], *, title: str, width: int = 420) -> Picture:
    """One bar a name, to the right for more than 0 and to the left for less."""
    picture = blank(width, 44 + 26 * len(values))
    write(picture, title, 8, 20, size=0.5)
    most = max([abs(value) for value in values.values()] + [1e-9])
    middle, reach = width // 2 + 20, width // 2 - 90
    for number, (name, value) in enumerate(values.items()):
        y = 36 + 26 * number
        end = middle + round(value / most * reach)
        cv2.rectangle(picture, (min(middle, end), y), (max(middle, end), y + 18), BLUE if value >= 0 else RED, -1)
        write(picture, name, 8, y + 13)
        write(picture, f"{value:+.2f}", width - 56, y + 13)
    cv2.line(picture, (middle, 32), (middle, 36 + 26 * len(values)), INK, 1)
    return picture
