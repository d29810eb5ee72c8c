"""CenterFace (Xu et al. 2019), a face detector of 7 MB, through ONNX Runtime."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.errors import ContractError
from operators.face_detect import Box
from operators.video import Picture, resize, rgb

STRIDE = 4
_OVERLAP = 0.3
# Shapes (10, n, 32, 32) and (10, n, 8, 8) as protobuf writes them: dim { dim_value: n } four times.
_FIXED_SHAPE = re.compile(rb"\x0a\x02\x08\x0a\x0a\x02\x08[\x01-\x0a](?:\x0a\x02\x08\x20|\x0a\x02\x08\x08){2}")


def with_free_shapes(graph: bytes) -> bytes:
    """The published file says that its pictures are ten at a time and 32 x 32; the network itself takes any size.

    Each dimension of its input and its four outputs becomes a dimension without a name, which is as many bytes.
    """
    freed, count = _FIXED_SHAPE.subn(b"\x0a\x02\x12\x00" * 4, graph)
    if count != 5:
        raise ContractError(f"not the CenterFace graph that is known here: {count} fixed shapes found, 5 expected")
    return freed


class CenterFace:
    """Grey and RGB pictures. Heat says where the middle of a face is, in cells of STRIDE pixels; scale and offset give its box."""

    def __init__(self, path: Path, *, min_score: float = 0.6) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        graph = with_free_shapes(path.read_bytes())
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._min_score = min_score

    def detect(self, picture: Picture, near: Box | None = None) -> list[Box]:
        height, width = (-(-side // 32) * 32 for side in picture.shape[:2])
        planes = resize(rgb(picture), width, height).astype(np.float32).transpose(2, 0, 1)[None]
        heat, scale, offset, _ = self._session.run(None, {self._input: np.ascontiguousarray(planes)})
        boxes = self._decode(heat[0, 0], scale[0], offset[0])
        # Back from the size that is a multiple of 32 to the picture's own.
        boxes[:, :4] *= np.tile([picture.shape[1] / width, picture.shape[0] / height], 2)
        return [_face(row) for row in _best(boxes).tolist()]

    def _decode(self, heat: NDArray[Any], scale: NDArray[Any], offset: NDArray[Any]) -> NDArray[np.float64]:
        """(n, 5): x, y, w, h, score. scale and offset are (2, rows, columns), vertical first; sizes are exp(scale) cells."""
        row, column = np.nonzero(heat >= self._min_score)
        h, w = np.exp(scale[:, row, column].astype(np.float64)) * STRIDE
        down, right = offset[:, row, column].astype(np.float64)
        x, y = (column + right + 0.5) * STRIDE - w / 2, (row + down + 0.5) * STRIDE - h / 2
        return np.stack([x, y, w, h, heat[row, column]], axis=1)


def _best(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-maximum suppression: of boxes that overlap, the one with the highest score."""
    boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")]
    kept = []
    while len(boxes):
        best = boxes[0]
        kept.append(best)
        boxes = boxes[_intersection_over_union(best, boxes) < _OVERLAP]
    return np.array(kept).reshape(-1, 5)


def _intersection_over_union(one: NDArray[np.float64], many: NDArray[np.float64]) -> NDArray[np.float64]:
    sides = np.minimum(one[:2] + one[2:4], many[:, :2] + many[:, 2:4]) - np.maximum(one[:2], many[:, :2])
    common = np.maximum(sides, 0).prod(axis=1)
    ratio: NDArray[np.float64] = common / (one[2:4].prod() + many[:, 2:4].prod(axis=1) - common)
    return ratio


def _face(row: list[float]) -> Box:
    x, y, w, h, score = row
    return Box(x=x, y=y, w=w, h=h, score=score)
