"""Where are faces in a picture? One question, several answers: a network from a file, or the built-in locator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.errors import ContractError


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A face: left, top, width, height in pixels of the picture it was found in; from the middle of the forehead to the chin.

    score in [0, 1]. All detectors are brought to the same convention, that of YuNet (see docs of each for the figures).
    """

    x: float
    y: float
    w: float
    h: float
    score: float

    def scaled(self, factor: float) -> Box:
        return Box(x=self.x * factor, y=self.y * factor, w=self.w * factor, h=self.h * factor, score=self.score)


class Detector(Protocol):
    """Stateless: the same picture and the same `near` give the same boxes, whatever came before."""

    def detect(self, picture: NDArray[np.uint8], near: Box | None = None) -> list[Box]:
        """picture: uint8 (h, w) grey or (h, w, 3) RGB -> faces, any order; [] where there is none.

        near: a face is expected there. Whoever finds it where it is expected need not look for others.
        """
        ...


class YuNet:
    """YuNet (Wu et al. 2023) by OpenCV's FaceDetectorYN: 0.3 MB, 5 ms at 320 x 240 on one core. Grey pictures work as well as colour."""

    def __init__(self, path: Path, *, min_score: float = 0.6) -> None:
        with _quiet():
            self._net = cv2.FaceDetectorYN.create(str(path), "", (320, 240), min_score, 0.3, 50)

    def detect(self, picture: NDArray[np.uint8], near: Box | None = None) -> list[Box]:
        code = cv2.COLOR_GRAY2BGR if picture.ndim == 2 else cv2.COLOR_RGB2BGR
        self._net.setInputSize((picture.shape[1], picture.shape[0]))
        _, rows = self._net.detect(cv2.cvtColor(picture, code))
        return [] if rows is None else [Box(x=r[0], y=r[1], w=r[2], h=r[3], score=r[14]) for r in rows.astype(float).tolist()]


@contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV 5 prints a warning about an unsupported target whenever it reads a network."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def choose(model: str, *, min_score: float) -> tuple[str, Detector]:
    """(name for people, detector). model: "builtin", "auto", or the path of an ONNX file."""
    if model == "builtin":
        return "builtin", _builtin()
    if model != "auto":
        return _from_file(Path(model), min_score)
    return "builtin", _builtin()


def _builtin() -> Detector:
    from operators.face_builtin import BuiltIn

    return BuiltIn()


def _from_file(path: Path, min_score: float) -> tuple[str, Detector]:
    if not path.is_file():
        raise ContractError(f"no face detector at {path}: give the path of a YuNet or CenterFace .onnx file, or model: builtin")
    if "centerface" in path.name.lower():
        from operators.face_centerface import CenterFace

        return f"CenterFace {path.name}", CenterFace(path, min_score=min_score)
    try:
        return f"YuNet {path.name}", YuNet(path, min_score=min_score)
    except cv2.error as error:
        raise ContractError(f"{path} is not a YuNet face detector: {str(error).splitlines()[0]}") from error
