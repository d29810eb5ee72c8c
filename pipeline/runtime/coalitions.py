"""What a model says of a window without some of its streams, for every set of those that are there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from operators.attribution import coalitions, rows_of
from pipeline.runtime.graphs import Graphs
from pipeline.runtime.samebits import Vector

Fusable = tuple[dict[str, Vector], dict[str, Vector]]
"""inputs[name]: (1, steps, dim), presence[name]: (1, steps) of one window."""
Answer = tuple[list[str], Vector]
"""The streams that are there, and (2 ** streams, outputs), bit i of a row for the i-th of them; the last row is of the window as it is."""


def ask(graphs: Graphs, windows: Sequence[Fusable]) -> list[Answer]:
    """Window by window by a graph of its own where the model has one, else all of them through `fuse`, a row for each set."""
    return [_shared(graphs, window) for window in windows] if graphs.shares else _in_a_batch(graphs, windows)


def _shared(graphs: Graphs, window: Fusable) -> Answer:
    inputs, presence = window
    present = [name for name in graphs.inputs if presence[name].any()]
    every = graphs.coalitions(inputs, presence)
    rows = every[rows_of(tuple(present), tuple(graphs.inputs))]
    rows[-1] = every[-1]  # the window with all inputs, those that are not there among them: to the bit what `fuse` gives, if `decides`
    return present, rows


def _in_a_batch(graphs: Graphs, windows: Sequence[Fusable]) -> list[Answer]:
    subsets = [coalitions(presence) for _, presence in windows]
    units = [1 << len(present) for present, _ in subsets]
    inputs = {
        name: np.concatenate([np.repeat(window[name], unit, axis=0) for (window, _), unit in zip(windows, units, strict=True)])
        for name in graphs.inputs
    }
    presence = {name: np.concatenate([rows[name] for _, rows in subsets]) for name in graphs.inputs}
    logits = graphs.fuse(inputs, presence, units)
    ends = np.cumsum(units)
    return [(present, logits[end - unit : end]) for (present, _), unit, end in zip(subsets, units, ends, strict=True)]
