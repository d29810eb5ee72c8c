"""How much each stream had to do with a decision: exact Shapley values over the streams that were there.

The game: a coalition is a set of streams that are present, the others are as if they had never existed; its worth is the logit gap between
the decided label and its closest rival. The network takes missing streams as normal input, so every coalition is a case it was made for.
Source: Shapley 1953; as explanation of a model: Lundberg and Lee 2017, "A unified approach to interpreting model predictions".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from math import factorial

import numpy as np
from numpy.typing import NDArray

from operators.errors import ContractError

MOST_STREAMS = 8
"""Of streams at once: 256 coalitions."""


def coalitions(presence: Mapping[str, NDArray[np.float32]]) -> tuple[list[str], dict[str, NDArray[np.float32]]]:
    """presence of one window, (1, steps) by stream -> the streams that are there, and presence (2 ** streams, steps) of all their subsets.

    Row r has the streams whose bit is set in r. Raises ContractError for more than MOST_STREAMS.
    """
    names = [name for name, there in presence.items() if there.any()]
    if len(names) > MOST_STREAMS:
        raise ContractError(f"attribution takes at most {MOST_STREAMS} streams at once, got {len(names)}")
    rows = np.arange(1 << len(names))
    made = {name: np.zeros((len(rows), there.shape[1]), np.float32) for name, there in presence.items()}
    for bit, name in enumerate(names):
        made[name][(rows >> bit & 1) == 1] = presence[name][0]
    return names, made


@cache
def rows_of(present: tuple[str, ...], streams: tuple[str, ...]) -> NDArray[np.intp]:
    """Where the rows of `coalitions` are among those of every set of `streams`, there or not; bit i of either is the i-th name."""
    bits = [streams.index(name) for name in present]
    return np.array([sum((row >> bit & 1) << place for bit, place in enumerate(bits)) for row in range(1 << len(bits))], np.intp)


def gaps(logits: NDArray[np.float32], label: int) -> NDArray[np.float64]:
    """logits: (coalitions, labels), the last row with every stream -> (coalitions,): logit of `label` less that of its closest rival.

    The rival is the one that comes closest when all streams are there, the same for every coalition.
    """
    whole = logits[-1].astype(np.float64)
    rival = int(np.argmax(np.where(np.arange(len(whole)) == label, -np.inf, whole)))
    return np.asarray(logits[:, label].astype(np.float64) - logits[:, rival].astype(np.float64))


def shapley(worth: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2 ** n,) worth of every coalition, bit i of its index for player i -> (n,) values; they sum to worth[-1] - worth[0]."""
    count = len(worth).bit_length() - 1
    if len(worth) != 1 << count:
        raise ContractError(f"shapley wants the worth of all 2 ** n coalitions, got {len(worth)}")
    return np.asarray(_shares(count) @ worth)


@cache
def _shares(count: int) -> NDArray[np.float64]:
    """(n, 2 ** n): of the worth of each coalition, what counts for a player that is in it, or against one that is not."""
    shares = np.zeros((count, 1 << count))
    for row in range(1 << count):
        size = row.bit_count()
        for player in range(count):
            there = row >> player & 1
            before = size - there  # how many of the others come before the player
            shares[player, row] = (2 * there - 1) * factorial(before) * factorial(count - before - 1) / factorial(count)
    return shares


def attribution(names: Sequence[str], logits: NDArray[np.float32], label: int, streams: Sequence[str]) -> dict[str, float]:
    """Stream -> its value for `label`; a stream that was not there has 0. names, logits: of `coalitions`, in its order of rows."""
    values = dict(zip(names, shapley(gaps(logits, label)).tolist(), strict=True))
    return {name: values.get(name, 0.0) for name in streams}
