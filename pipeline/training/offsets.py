"""Where a model draws the line between labels: an offset for each logit, by which streams are there, fitted to the validation split.

A label that is rare, or hard to tell in training's noise, is given too seldom where it is plain; and a network that was trained on all its
streams may be wrong in a way of its own without one of them. What is to be added to the logits is another thing for each pattern of
presence, so each is fitted by itself, to the windows in which just these streams are there. One of several streams alone stays as it is:
it cannot tell all labels apart, and what would be fitted is how frequent they are in validation ("whoever is heard is in the picture").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate import Encoded, Engine, Scored, accuracy, average_precision, softmax
from pipeline.training.segment import Segment

TRIES = tuple(round(0.1 * step, 1) for step in range(-30, 31))
NEAR = (-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3)
GENTLE = 0.02
"""Of the figure that is made largest: what a whole logit of offset must be worth."""
STRICT = 10.0
"""What accuracy below its floor costs, in mean recall."""
NEVER = -6.0
"""Added to the logit of a label that has no meaning: what it speaks of is not there."""
FEWEST = 20
"""Decisions of a label in a kind of scene, to count."""

Mask = NDArray[np.bool_]
Row = NDArray[np.float64]
Offsets = dict[tuple[str, ...], list[float]]
"""Inputs that are there -> what is added to each label's logit; the first label's is 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Floor:
    """What must be kept in the windows of one level of noise: accuracy, and average precision by label (NaN: is not met)."""

    level: Mask
    accuracy: float
    precision: Row


@dataclass(frozen=True, slots=True, kw_only=True)
class _Windows:
    """All windows when certain streams are kept. logits: (windows, labels), with what was found for fewer streams.

    here: the windows in which just these streams are there; kinds: by kind of scene, those of them with each label that is met
    """

    logits: NDArray[np.float64]
    label: NDArray[np.int64]
    here: Mask
    kinds: Sequence[Sequence[Mask]]
    floors: Sequence[_Floor]

    def moved(self, offsets: Row) -> NDArray[np.float64]:
        return self.logits + self.here[:, None] * offsets

    def accuracy(self, offsets: Row) -> float:
        return float(np.mean(self.moved(offsets).argmax(1) == self.label))

    def even(self, offsets: Row, least: float) -> float:
        """Mean recall of the labels, all kinds of scene alike, less what lacks: of accuracy in all sessions, of a floor in each level."""
        logits = self.moved(offsets)
        right = logits.argmax(1) == self.label
        recall = np.mean([np.mean([right[label].mean() for label in labels]) for labels in self.kinds])
        lacks = max(0.0, least - right.mean(), *(_lacking(floor, logits, self.label) for floor in self.floors))
        return float(recall - STRICT * lacks)


def unsaid(needs: Mapping[str, str], labels: Sequence[str], inputs: Sequence[str]) -> Offsets:
    """Rows that put a label out of reach wherever the input is missing that it speaks of, also where nothing is there at all.

    needs: label -> input
    """
    made: Offsets = {}
    for size in range(len(inputs) if needs else 0):
        for keep in combinations(inputs, size):
            row = [NEVER if label in needs and needs[label] not in keep else 0.0 for label in labels]
            if any(row):
                made[keep] = row
    return made


def fit_offsets(
    engine: Engine, segments: Sequence[Segment], labels: int | None = None, *, cost: float, given: Offsets | None = None
) -> Offsets:
    """The offsets with which the mean recall of the labels is highest on these segments, by pattern of presence.

    It is the mean over the kinds of scene (`Segment.condition`) of sessions without added noise (`Segment.level`), so that a kind of which
    there is much does not draw the line for all. It may cost, of all sessions, `cost` of the accuracy without offsets; and in no level of
    noise may accuracy, or average precision of a label, be below that of the best single stream of those that are kept. A whole logit must
    be worth GENTLE. None where no kind of scene has two labels with FEWEST decisions.
    given: rows to begin with (`unsaid`): what is out of reach in them stays so, and all of them come back.
    """
    encoded = Encoded(engine, segments, labels=labels, every=2)
    there = encoded.present()
    found: Offsets = dict(given or {})
    alone = {name: _moved(encoded.score((name,)), there[name], found.get((name,)), found.get(())) for name in there}
    for size in range(min(2, len(there)), len(there) + 1):
        for keep in combinations(there, size):
            scored = encoded.score(keep)
            levels = np.array([segment.level for segment in segments])[scored.session]
            here = np.logical_and.reduce([there[name] for name in keep])
            kinds = _kinds(scored, here & (levels == ""))
            if max(map(len, kinds), default=0) < 2:
                continue
            floors = [_floor(levels == level, [alone[name] for name in keep]) for level in np.unique(levels)] if size > 1 else []
            logits = _logits(scored)
            for fewer, row in found.items():
                if set(fewer) < set(keep):
                    logits[np.logical_and.reduce([there[name] == (name in fewer) for name in keep])] += row
            windows = _Windows(logits=logits, label=scored.label, here=here, kinds=kinds, floors=floors)
            found[keep] = _fitted(windows, np.array(found.get(keep, [0.0] * logits.shape[1])), cost).tolist()
    return found


def _floor(level: Mask, singles: Sequence[Scored]) -> _Floor:
    parts = [single.where(level) for single in singles]
    precision = [[average_precision(part.scores[:, label], part.label == label) for label in range(part.scores.shape[1])] for part in parts]
    return _Floor(level=level, accuracy=max(map(accuracy, parts)), precision=np.max(precision, axis=0))


def _lacking(floor: _Floor, logits: NDArray[np.float64], label: NDArray[np.int64]) -> float:
    """By how much accuracy or a label's average precision is below the floor; below 0: it is not."""
    scores, label = softmax(logits[floor.level]), label[floor.level]
    lacks = [floor.accuracy - float(np.mean(scores.argmax(1) == label))]
    lacks += [
        wanted - average_precision(scores[:, index], label == index) for index, wanted in enumerate(floor.precision) if not np.isnan(wanted)
    ]
    return max(lacks)


def _kinds(scored: Scored, among: Mask) -> list[list[Mask]]:
    """By kind of scene, the windows among these of each label that has FEWEST; kinds without one are left out."""
    made = [
        [
            mask
            for label in np.unique(scored.label)
            if (mask := among & (scored.condition == kind) & (scored.label == label)).sum() >= FEWEST
        ]
        for kind in np.unique(scored.condition)
    ]
    return [masks for masks in made if masks]


def _logits(scored: Scored) -> NDArray[np.float64]:
    return np.asarray(np.log(np.maximum(scored.scores, 1e-12)))


def _moved(scored: Scored, there: Mask, row: Sequence[float] | None, nowhere: Sequence[float] | None) -> Scored:
    """The scores with these offsets: where the stream is there, and where nothing is."""
    offsets = np.where(there[:, None], 0.0 if row is None else row, 0.0 if nowhere is None else nowhere)
    return replace(scored, scores=softmax(_logits(scored) + offsets))


def _fitted(windows: _Windows, given: Row, cost: float) -> Row:
    """given: where it begins. A label out of reach there stays so and moves with the others, so that windows keep their order by it."""
    least = windows.accuracy(given) - cost
    met = np.unique(windows.label[windows.here])
    free, never = met[(met > 0) & (given[met] != NEVER)], given == NEVER

    def whole(offsets: Row) -> Row:
        return np.where(never, NEVER + (offsets[free].mean() if free.size else 0.0), offsets)

    return whole(_climb(lambda offsets: windows.even(whole(offsets), least), np.where(never, 0.0, given), free))


def _climb(quality: Callable[[Row], float], offsets: Row, free: NDArray[np.int64]) -> Row:
    """Ascent until no move makes it better; labels that are not free stay as they are.

    A move is one label's offset to any of TRIES, or two labels' by a little: along the edge of what accuracy allows, one alone is stuck.
    """
    unit = np.eye(len(offsets))[free]
    pairs = [x * one + y * other for one, other in combinations(unit, 2) for x in NEAR for y in NEAR]

    def worth(tried: Row) -> float:
        return quality(tried) - GENTLE * float(np.abs(tried).sum())

    reached = -np.inf
    while (now := worth(offsets)) > reached:
        reached = now
        for one in unit:
            offsets = max((offsets * (1 - one) + offset * one for offset in TRIES), key=worth)
        offsets = max([offsets, *(np.round(offsets + moved, 1) for moved in pairs)], key=worth)
    return offsets


def told(offsets: Mapping[tuple[str, ...], Sequence[float]], labels: Sequence[str]) -> str:
    """A line for each pattern, of what is not 0."""
    lines = []
    for keep, row in offsets.items():
        moved = ", ".join(f"{label} {offset:+.1f}" for label, offset in zip(labels, row, strict=True) if offset)
        lines.append(f"logits with {' and '.join(keep)}: {moved or 'as they are'}")
    return "\n".join(lines)
