"""Crops of a mouth as events, and the ways in which a camera and a face detector vary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from operators.packet import Closed, Frame, Packet, Watermark
from pipeline.training.session import Timed

Crops = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """One drawing of how the crops of a session differ from how they were cached. Crops are cut out of the wider cached ones.

    shift_px, scale, turn_deg   of the whole session; wobble_px: slow wandering of the crop
    """

    shift_px: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    turn_deg: float = 0.0
    wobble_px: float = 0.0
    flip: bool = False
    gain: float = 1.0
    offset: float = 0.0
    gamma: float = 1.0
    blur_px: float = 0.0
    grain: float = 0.0


def draw_camera(rng: np.random.Generator) -> Camera:
    return Camera(
        shift_px=(float(rng.normal(0, 2.5)), float(rng.normal(0, 2.5))),
        scale=float(np.exp(rng.normal(0, 0.12))),
        turn_deg=float(rng.normal(0, 5)),
        wobble_px=float(rng.uniform(0, 1.2)) if rng.random() < 0.6 else 0.0,
        flip=bool(rng.random() < 0.5),
        gain=float(np.exp(rng.normal(0, 0.3))),
        offset=float(rng.normal(0, 15)),
        gamma=float(np.exp(rng.normal(0, 0.25))),
        blur_px=float(rng.uniform(0.4, 1.2)) if rng.random() < 0.25 else 0.0,
        grain=float(rng.uniform(0, 8)) if rng.random() < 0.4 else 0.0,
    )


def shoot(crops: Crops, size: int, camera: Camera, rng: np.random.Generator) -> Crops:
    """(N, wide, wide) -> (N, size, size): the middle part as this camera would have given it."""
    wide, shift = crops.shape[1], _wobble(len(crops), camera, rng)
    lut = _levels(camera)
    out = np.empty((len(crops), size, size), np.uint8)
    turn = cv2.getRotationMatrix2D((wide / 2 - 0.5, wide / 2 - 0.5), camera.turn_deg, camera.scale)
    for index, crop in enumerate(crops):
        matrix = turn.copy()
        matrix[:, 2] += shift[index] - (wide - size) / 2
        shot = cv2.warpAffine(crop, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        shot = cv2.GaussianBlur(shot, (0, 0), camera.blur_px) if camera.blur_px else shot
        out[index] = cv2.LUT(shot, lut)
    out = out[:, :, ::-1] if camera.flip else out
    return _grainy(out, camera, rng) if camera.grain else out.astype(np.uint8, copy=False)


def _wobble(count: int, camera: Camera, rng: np.random.Generator) -> NDArray[np.float64]:
    """(N, 2) shifts in pixels: a constant, and a random walk that is pulled back to it."""
    shift = np.tile(np.array(camera.shift_px), (count, 1))
    walk, place = rng.normal(0, 0.3, (count, 2)) * camera.wobble_px, np.zeros(2)
    for index in range(count):
        place = 0.95 * place + walk[index]
        shift[index] += place
    return shift


def _levels(camera: Camera) -> Crops:
    grey = 255 * (np.arange(256) / 255) ** camera.gamma
    return np.clip((grey - 128) * camera.gain + 128 + camera.offset, 0, 255).astype(np.uint8)


def _grainy(crops: Crops, camera: Camera, rng: np.random.Generator) -> Crops:
    noise = rng.normal(0, camera.grain, crops.shape).astype(np.float32)
    grainy: Crops = np.clip(crops + noise, 0, 255).astype(np.uint8)
    return grainy


def frames(crops: Crops, starts_ns: Sequence[int], end_ns: int, present: Sequence[bool], *, stream: str = "video") -> list[Timed]:
    """The crops as a source and FaceCrop give them: due at their start, with a promise; nothing where no face was found."""
    timed: list[Timed] = []
    for seq, (start_ns, until_ns) in enumerate(zip(starts_ns, [*starts_ns[1:], end_ns], strict=True)):
        if present[seq]:
            payload = Frame(data=crops[seq])
            timed.append((start_ns, Packet(stream=stream, seq=seq, start_ns=start_ns, end_ns=until_ns, payload=payload)))
        timed.append((start_ns, Watermark(stream=stream, time_ns=until_ns)))
    timed.append((end_ns, Closed(stream=stream, time_ns=end_ns)))
    return timed
