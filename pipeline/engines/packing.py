"""How a batch goes to a GPU: cut to what its engine takes, all of its arrays in one buffer, so in one copy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 256
"""Bytes; where in the one buffer of a batch each input may begin."""
BUCKETS = (1, 8, 32, 128, 256)
"""Rows of the batches that fixed-size engines are made for."""

Feed = Mapping[str, NDArray[Any]]
"""Name of an input -> its rows, (n, ...); n is the same for all."""


def row_count(feed: Feed) -> int:
    return len(next(iter(feed.values())))


def in_parts(feed: Feed, most: int) -> Iterator[dict[str, NDArray[Any]]]:
    """The rows in order, at most so many at once."""
    for first in range(0, row_count(feed), most):
        yield {name: rows[first : first + most] for name, rows in feed.items()}


def bucket_of(count: int) -> int:
    """The smallest of BUCKETS that holds 1 <= count <= BUCKETS[-1] rows."""
    return next(bucket for bucket in BUCKETS if bucket >= count)


class Packing:
    """Where each input of a batch lies in its one buffer. sizes: bytes of each.

    total: bytes of the buffer, in whole ALIGNMENTs.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.places: dict[str, slice] = {}
        self.total = 0
        for name, size in sizes.items():
            self.places[name] = slice(self.total, self.total + size)
            self.total += -(-size // ALIGNMENT) * ALIGNMENT

    def fill(self, buffer: NDArray[np.uint8], feed: Feed) -> None:
        """Every input's rows to its place; what is left of a place behind them becomes 0, which every input takes."""
        for name, place in self.places.items():
            rows = np.ascontiguousarray(feed[name]).reshape(-1).view(np.uint8)
            end = place.start + rows.size
            buffer[place.start : end] = rows
            buffer[end : place.stop] = 0
