"""What an engine is seen to do when it is loaded: in which batches rows keep the bits that they have alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from operators.errors import BackendError

Vector = NDArray[np.float32]
Rule = Literal["any", "padded", "one"]
"""See `pipeline.runtime.graphs`."""
Call = Callable[[Sequence[NDArray[Any]]], Vector]
"""Arrays (n, ...) -> (n, ...)."""
BUCKETS = (1, 2, 4, 8, 16, 32)
"""Sizes of batches."""


def rule_of(call: Call, rows: Sequence[NDArray[Any]], bucket: int) -> Rule:
    """rows: BUCKETS[-1] random ones. bucket: a fixed size that the engine likes; 1: none."""
    try:
        alone = [call([array[row : row + 1] for array in rows]) for row in range(2)]
        if _exact(call, rows, alone, 2):  # most that fail do so here, and the rest need not be run
            alone += [call([array[row : row + 1] for array in rows]) for row in range(2, BUCKETS[-1])]
            return "any" if all(_exact(call, rows, alone, size) for size in BUCKETS[2:]) else "one"
        return "padded" if _exact_padded(call, rows, bucket) else "one"
    except (BackendError, RuntimeError):  # an engine for single rows, or one that random numbers do not suit
        return "one"


def padded(call: Call, arrays: Sequence[NDArray[Any]], bucket: int) -> Vector:
    """In a batch of `bucket`, zeros behind the rows."""
    count = len(arrays[0])
    full = [np.concatenate([array, np.zeros((bucket - count, *array.shape[1:]), array.dtype)]) for array in arrays]
    return call(full)[:count]


def decides(coalitions: Call, fuse: Call, windows: Sequence[NDArray[Any]]) -> bool:
    """The row of all inputs that `coalitions` gives of a window has the bits that `fuse` gives of it, whatever is missing.

    windows: BUCKETS[-1] random ones, first the features of every input, then the presence of every input.
    """
    inputs = len(windows) // 2
    try:
        for row in range(BUCKETS[-1]):
            kept = [np.float32(1 - (row >> bit & 1)) for bit in range(inputs)]
            features, presence = ([array[row : row + 1] for array in part] for part in (windows[:inputs], windows[inputs:]))
            arrays = [*features, *(there * share for there, share in zip(presence, kept, strict=True))]
            if coalitions(arrays)[:, -1].tobytes() != fuse(arrays).tobytes():
                return False
    except (BackendError, RuntimeError):  # as above
        return False
    return True


def _exact(call: Call, rows: Sequence[NDArray[Any]], alone: Sequence[Vector], size: int) -> bool:
    for first in range(0, len(alone), size):
        made = call([array[first : first + size] for array in rows])
        if made.tobytes() != np.concatenate(alone[first : first + size]).tobytes():
            return False
    return True


def _exact_padded(call: Call, rows: Sequence[NDArray[Any]], bucket: int) -> bool:
    """Rows in a full bucket, in any place of it, have the bits that each has with zeros for company."""
    if bucket == 1:
        return False
    full = [np.resize(array, (bucket, *array.shape[1:])) for array in rows]
    together = call(full)
    alone = (padded(call, [array[row : row + 1] for array in full], bucket) for row in range(bucket))
    return all(one.tobytes() == row.tobytes() for one, row in zip(alone, together, strict=True))
