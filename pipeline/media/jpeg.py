"""Pictures for people: small, as JPEG."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_WIDTH, MAX_HEIGHT = 320, 640
JPEG_QUALITY = 75


def small_jpeg(data: NDArray[np.uint8], max_width: int = MAX_WIDTH, max_height: int = MAX_HEIGHT) -> tuple[bytes, int, int] | None:
    """A picture (uint8, (h, w, 3) RGB or (h, w) grey) as (JPEG, width, height), scaled down to fit; None: it has no pixels."""
    height, width = data.shape[:2]
    if not height or not width:
        return None
    scale = min(1.0, max_width / width, max_height / height)
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    scaled = data if scale == 1 else _scaled(data, small)
    pixels = scaled if scaled.ndim == 2 else cv2.cvtColor(scaled, cv2.COLOR_RGB2BGR)
    done, body = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return (body.tobytes(), *small) if done else None


def _scaled(data: NDArray[np.uint8], small: tuple[int, int]) -> NDArray[np.uint8]:
    # Every nth pixel first: averaging all those of a large picture costs more than all the rest.
    step = max(1, min(data.shape[1] // (2 * small[0]), data.shape[0] // (2 * small[1])))
    thinned = np.ascontiguousarray(data[::step, ::step])
    return np.asarray(cv2.resize(thinned, small, interpolation=cv2.INTER_AREA), np.uint8)
