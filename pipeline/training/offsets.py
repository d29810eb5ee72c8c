"""Where a model draws the line between labels: an offset for each logit, by which streams are there, fitted to the validation split.

A label that is rare, or hard to tell in training's noise, is given too seldom where it is plain; and a network that was trained on all its
streams guesses without one of them as if that one had said "no". What is to be added to the logits is another thing for each pattern of
presence, so each is fitted by itself, to the windows in which just these streams are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate import Encoded, Engine, Scored
from pipeline.training.segment import Segment

TRIES = tuple(round(0.1 * step, 1) for step in range(-30, 31))
GENTLE = 0.002
"""Of the figure that is made largest: what a whole logit of offset must be worth."""
STRICT = 10.0
"""What accuracy below its floor costs, in mean recall."""
FEWEST = 20
"""Decisions of a label: with fewer nothing is fitted."""

Mask = NDArray[np.bool_]
Row = NDArray[np.float64]
Offsets = dict[tuple[str, ...], list[float]]
"""Inputs that are there -> what is added to each label's logit; the first label's is 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Windows:
    """The windows of one pattern. logits: (windows, labels); floors: windows of a level of noise, and the accuracy they must keep."""

    logits: NDArray[np.float64]
    label: NDArray[np.int64]
    plain: Mask
    floors: Sequence[tuple[Mask, float]]

    def right(self, offsets: Row) -> Mask:
        return np.asarray((self.logits + offsets).argmax(1) == self.label)

    def accuracy(self, offsets: Row) -> float:
        return float(self.right(offsets).mean())

    def even(self, offsets: Row, least: float) -> float:
        """Mean recall of the labels in sessions without added noise, less what accuracy (of all sessions, of each level) lacks."""
        right, label = self.right(offsets), self.label
        recall = np.mean([right[self.plain & (label == true)].mean() for true in np.unique(label[self.plain])])
        lacks = max(0.0, least - right.mean(), *(floor - right[level].mean() for level, floor in self.floors))
        return float(recall - STRICT * lacks)


def fit_offsets(engine: Engine, segments: Sequence[Segment], labels: int | None = None, *, cost: float) -> Offsets:
    """The offsets with which the mean recall of the labels is highest on these segments, by pattern of presence.

    Mean recall counts in sessions without added noise (`Segment.level`). It may cost, of all sessions, `cost` of the highest accuracy that
    offsets can reach, and may in no level of noise bring the accuracy below that of the best single stream of the pattern, with its own
    offsets, in the same windows. Searched label by label, in tenths from -3 to 3. Where a label is met less than FEWEST times: none.
    """
    encoded = Encoded(engine, segments, labels=labels, every=2)
    there, found, alone = encoded.present(), Offsets(), {}
    for size in range(1, len(there) + 1):
        for keep in combinations(there, size):
            chosen = np.logical_and.reduce([there[name] for name in keep])
            scored = encoded.score(keep)
            levels = np.array([segment.level for segment in segments])[scored.session[chosen]]
            if size == 1:
                alone[keep[0]] = scored
            met = np.bincount(scored.label[chosen & (np.isin(scored.session, _plain(segments)))], minlength=1)
            if np.count_nonzero(met) < 2 or met[met > 0].min() < FEWEST:
                continue
            singles = [_right(alone[name], found.get((name,)))[chosen] for name in keep if size > 1]
            floors = [(levels == level, max((right[levels == level].mean() for right in singles), default=0.0)) for level in set(levels)]
            windows = _Windows(logits=_logits(scored)[chosen], label=scored.label[chosen], plain=levels == "", floors=floors)
            found[keep] = _fitted(windows, cost).tolist()
    return found


def _plain(segments: Sequence[Segment]) -> list[int]:
    return [number for number, segment in enumerate(segments) if not segment.level]


def _logits(scored: Scored) -> NDArray[np.float64]:
    return np.asarray(np.log(np.maximum(scored.scores, 1e-12)))


def _right(scored: Scored, offsets: Sequence[float] | None) -> Mask:
    return np.asarray((_logits(scored) + (0.0 if offsets is None else np.array(offsets))).argmax(1) == scored.label)


def _fitted(windows: _Windows, cost: float) -> Row:
    best = _climb(windows.accuracy, np.zeros(windows.logits.shape[1]), windows.label)
    least = windows.accuracy(best) - cost
    return _climb(lambda offsets: windows.even(offsets, least), best, windows.label)


def _climb(quality: Callable[[Row], float], offsets: Row, label: NDArray[np.int64]) -> Row:
    """Coordinate ascent, until no single label's offset makes it better; labels that are not met stay at 0, as the first does."""
    reached = -np.inf
    while True:
        for index in np.unique(label[label > 0]):
            tries = [np.where(np.arange(len(offsets)) == index, offset, offsets) for offset in TRIES]
            made = [quality(moved) - GENTLE * np.abs(moved).sum() for moved in tries]
            offsets = tries[int(np.argmax(made))]
        if max(made) <= reached:
            return offsets
        reached = max(made)


def told(offsets: Mapping[tuple[str, ...], Sequence[float]], labels: Sequence[str]) -> str:
    """A line for each pattern, of what is not 0."""
    lines = []
    for keep, row in offsets.items():
        moved = ", ".join(f"{label} {offset:+.1f}" for label, offset in zip(labels, row, strict=True) if offset)
        lines.append(f"logits with {' and '.join(keep)}: {moved or 'as they are'}")
    return "\n".join(lines)
