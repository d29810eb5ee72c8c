"""Transforms of pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.errors import ContractError
from operators.packet import Embedding, Frame, Packet, Payload, StreamEvent

Picture = NDArray[np.uint8]
"""uint8, (h, w) grey or (h, w, 3) RGB."""


def gray(picture: Picture) -> Picture:
    """(h, w), ITU-R BT.601 luma; a grey picture is given back as it is."""
    return picture if picture.ndim == 2 else np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)


def rgb(picture: Picture) -> Picture:
    """(h, w, 3); an RGB picture is given back as it is."""
    return picture if picture.ndim == 3 else np.asarray(cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB), np.uint8)


def resize(picture: Picture, width: int, height: int) -> Picture:
    """Averages over areas when shrinking (no aliasing), bilinear when enlarging."""
    if picture.shape[:2] == (height, width):
        return picture
    shrinks = width <= picture.shape[1] and height <= picture.shape[0]
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), np.uint8)


def crop_square(picture: Picture, x: float, y: float, side: float, size: int) -> Picture:
    """The square of `side` pixels around (x, y), resampled to (size, size); beyond the picture its border is repeated.

    Sub-pixel exact. A square that shrinks is sampled at whole multiples of `size` and averaged, so that fine
    texture does not flicker as the square moves.
    """
    fine = max(1, int(np.ceil(side / size)))
    count = size * fine
    scale = side / count
    left, top = x - side / 2, y - side / 2
    if scale == 1 and float(left).is_integer() and float(top).is_integer():
        whole = picture[int(top) : int(top) + count, int(left) : int(left) + count] if min(left, top) >= 0 else picture[:0]
        if whole.shape[:2] == (count, count):  # nothing to interpolate, nothing beyond the border
            return resize(whole, size, size)
    # Pixel centres: output i is the picture's x - side / 2 + (i + 0.5) * scale - 0.5.
    matrix = np.array([[scale, 0, left + 0.5 * scale - 0.5], [0, scale, top + 0.5 * scale - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cut = cv2.warpAffine(picture, matrix, (count, count), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return resize(np.asarray(cut, np.uint8), size, size)


class _EachPicture:
    """A function of pictures as an operator: stamps and seq stay."""

    def _made(self, picture: Picture) -> Payload:
        raise NotImplementedError

    def process(self, event: StreamEvent) -> Iterator[StreamEvent]:
        if not isinstance(event, Packet):
            yield event
            return
        if not isinstance(event.payload, Frame):
            raise ContractError(f"{type(self).__name__} wants Frame, got {event.payload!r} on {event.stream}")
        payload = self._made(event.payload.data)
        yield Packet(stream=event.stream, seq=event.seq, start_ns=event.start_ns, end_ns=event.end_ns, payload=payload)

    def snapshot(self) -> Mapping[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        pass


class Gray(_EachPicture):
    """Frame -> Frame grey (h, w), ITU-R BT.601 luma."""

    def _made(self, picture: Picture) -> Frame:
        return Frame(data=gray(picture))


class ToRgb(_EachPicture):
    """Frame -> Frame RGB (h, w, 3); a grey picture three times."""

    def _made(self, picture: Picture) -> Frame:
        return Frame(data=rgb(picture))


class Resize(_EachPicture):
    """Frame -> Frame of width x height pixels; with one of them given the shape is kept. Averages areas when shrinking."""

    def __init__(self, *, width: int | None = None, height: int | None = None) -> None:
        if (width is None and height is None) or (width or 1) < 1 or (height or 1) < 1:
            raise ContractError(f"Resize wants width or height (or both) >= 1, got width={width} height={height}")
        self._width, self._height = width, height

    def _made(self, picture: Picture) -> Frame:
        height, width = picture.shape[:2]
        new_width = self._width or max(1, round(width * (self._height or height) / height))
        new_height = self._height or max(1, round(height * new_width / width))
        return Frame(data=resize(picture, new_width, new_height))


class Crop(_EachPicture):
    """Frame -> the part of it from (left, top) to (right, bottom), in shares of its width and height, at least one pixel."""

    def __init__(self, *, left: float = 0.0, top: float = 0.0, right: float = 1.0, bottom: float = 1.0) -> None:
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise ContractError(f"Crop wants 0 <= left < right <= 1 and 0 <= top < bottom <= 1, got {left=} {top=} {right=} {bottom=}")
        self._left, self._top, self._right, self._bottom = left, top, right, bottom

    def _made(self, picture: Picture) -> Frame:
        rows = _span(self._top, self._bottom, picture.shape[0])
        columns = _span(self._left, self._right, picture.shape[1])
        return Frame(data=np.ascontiguousarray(picture[rows, columns]))


def _span(start: float, end: float, size: int) -> slice:
    first = min(round(start * size), size - 1)
    return slice(first, max(first + 1, round(end * size)))


class Normalise(_EachPicture):
    """Frame -> Embedding float32 of the same shape: (value / 255 - mean) / sd. Models of this house do this in their own graph."""

    def __init__(self, *, mean: float = 0.5, sd: float = 0.5) -> None:
        if sd <= 0:
            raise ContractError(f"Normalise wants sd > 0, got {sd}")
        self._mean, self._sd = mean, sd

    def _made(self, picture: Picture) -> Embedding:
        return Embedding(data=((picture.astype(np.float32) / 255 - self._mean) / self._sd).astype(np.float32))
