"""How good a model is: figures from scores and truth, and the scores of segments with some streams taken away.

Figures are over the decisions that have a label. Accuracy and recall are of the label with the highest score.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from operators.errors import ContractError
from pipeline.training.segment import UNLABELLED, Segment

Scores = NDArray[np.float64]
Labels = NDArray[np.int64]
CHUNK = 256


class Engine(Protocol):
    """What runs the graphs: any `pipeline.ports.Backend`, or a network in training (`pipeline.training.network.InTraining`)."""

    def encode(self, stream: str, batch: NDArray[Any], before: NDArray[np.float32] | None = None) -> NDArray[np.float32]: ...

    def fuse(self, inputs: Mapping[str, NDArray[np.float32]], presence: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """scores: (decisions, labels), rows sum to 1. label: (decisions,). condition, session (number of the segment): by decision."""

    scores: Scores
    label: Labels
    condition: NDArray[np.str_]
    session: NDArray[np.int64]

    def where(self, chosen: NDArray[np.bool_]) -> Scored:
        return Scored(scores=self.scores[chosen], label=self.label[chosen], condition=self.condition[chosen], session=self.session[chosen])

    def of_condition(self, condition: str) -> Scored:
        return self.where(self.condition == condition)


def average_precision(score: Scores, positive: NDArray[np.bool_]) -> float:
    """Area under the precision-recall curve as the mean precision at each positive; equal scores count together. NaN without a positive.

    Source: the uninterpolated AP of Salton and McGill 1983 (what scikit-learn's average_precision_score gives).
    """
    if score.shape != positive.shape or score.ndim != 1:
        raise ContractError(f"average_precision wants two (n,) arrays, got {score.shape} and {positive.shape}")
    total = int(positive.sum())
    if not total:
        return float("nan")
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(positive[order])
    last = np.append(np.flatnonzero(np.diff(score[order])), score.size - 1)  # where a run of equal scores ends
    found = hits[last]
    return float(np.sum(np.diff(found, prepend=0) / total * found / (last + 1)))


def roc_auc(score: Scores, positive: NDArray[np.bool_]) -> float:
    """How often a positive scores higher than a negative, a tie counting half; NaN where either is missing.

    Source: the Mann-Whitney statistic, Hanley and McNeil 1982.
    """
    if score.shape != positive.shape or score.ndim != 1:
        raise ContractError(f"roc_auc wants two (n,) arrays, got {score.shape} and {positive.shape}")
    count = int(positive.sum())
    if not 0 < count < score.size:
        return float("nan")
    values, place = np.unique(score, return_inverse=True)
    sizes = np.bincount(place, minlength=values.size)
    rank = np.cumsum(sizes) - (sizes - 1) / 2  # the mean rank of equal scores, from 1
    return float((rank[place][positive].sum() - count * (count + 1) / 2) / (count * (score.size - count)))


def accuracy(scored: Scored) -> float:
    return float(np.mean(scored.scores.argmax(1) == scored.label)) if scored.label.size else float("nan")


def recall(scored: Scored, label: int) -> float:
    """Of the decisions whose truth is `label`, the share that says so. NaN where there are none."""
    meant = scored.label == label
    return float(np.mean(scored.scores[meant].argmax(1) == label)) if meant.any() else float("nan")


def confusion(scored: Scored) -> NDArray[np.int64]:
    """(labels, labels) counts: row truth, column decision."""
    size = scored.scores.shape[1]
    return np.bincount(scored.label * size + scored.scores.argmax(1), minlength=size * size).reshape(size, size)


def figures(scored: Scored, labels: Sequence[str]) -> dict[str, float]:
    """accuracy, and ap_LABEL and recall_LABEL for every label."""
    made = {"accuracy": accuracy(scored)}
    for index, label in enumerate(labels):
        made[f"ap_{label}"] = average_precision(scored.scores[:, index], scored.label == index)
        made[f"recall_{label}"] = recall(scored, index)
    return made


def calibration_error(scored: Scored, bins: int = 15) -> float:
    """ECE: how far the score of the decided label is from how often it is right, over equal bins of the score, by their share.

    Source: Naeini et al. 2015; Guo et al. 2017, "On calibration of modern neural networks".
    """
    sure, right = scored.scores.max(1), scored.scores.argmax(1) == scored.label
    place = np.minimum((sure * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    gap = np.bincount(place, weights=sure, minlength=bins) - np.bincount(place, weights=right, minlength=bins)
    return float(np.abs(gap).sum() / max(1, count.sum()))


def tempered(scored: Scored, temperature: float) -> Scored:
    """The scores that logits divided by this much more would have given."""
    return replace(scored, scores=softmax(np.log(np.maximum(scored.scores, 1e-12)) / temperature))


def best_temperature(scored: Scored) -> float:
    """The temperature in 0.5 .. 3 with the least negative log-likelihood (Guo et al. 2017), of decisions that were not trained on."""
    rows = np.arange(len(scored.label))

    def loss(temperature: float) -> float:
        return float(-np.mean(np.log(np.maximum(tempered(scored, temperature).scores[rows, scored.label], 1e-12))))

    return min((round(0.5 + 0.05 * step, 2) for step in range(51)), key=loss)


def interval(scored: Scored, figure: Callable[[NDArray[np.float64]], float], *, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of a figure of the confusion matrix. Whole sessions are drawn: decisions of one session are much alike.

    figure: (labels, labels) counts, row truth -> a number. Source: Efron and Tibshirani 1993, the percentile interval, over clusters.
    """
    size = scored.scores.shape[1]
    sessions = np.unique(scored.session)
    by_session = np.stack([confusion(scored.where(scored.session == number)) for number in sessions]).reshape(len(sessions), -1)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(sessions), np.full(len(sessions), 1 / len(sessions)), draws)  # (draws, sessions): how often each
    made = [figure(counts.reshape(size, size)) for counts in (drawn @ by_session).astype(float)]
    low, high = np.nanpercentile(made, [2.5, 97.5])
    return float(low), float(high)


def accuracy_of(counts: NDArray[np.float64]) -> float:
    return float(np.trace(counts) / counts.sum()) if counts.sum() else float("nan")


def balanced_of(counts: NDArray[np.float64]) -> float:
    """Mean recall of the labels that occur."""
    met = counts.sum(1) > 0
    return float(np.mean(np.diag(counts)[met] / counts.sum(1)[met])) if met.any() else float("nan")


def presence_patterns(inputs: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Name -> the inputs that are kept: all, each alone, each removed (where that is not the same)."""
    patterns = {"all": tuple(inputs)}
    if len(inputs) > 1:
        patterns |= {f"{name} alone": (name,) for name in inputs}
    if len(inputs) > 2:
        patterns |= {f"without {name}": tuple(other for other in inputs if other != name) for name in inputs}
    return patterns


class Encoded:
    """Segments whose packets have been encoded once, to be scored under many patterns of presence."""

    def __init__(
        self,
        engine: Engine,
        segments: Sequence[Segment],
        *,
        labels: int | None = None,
        also: Mapping[str, int] | None = None,
        every: int = 1,
    ) -> None:
        """labels: how many of the outputs are the labels' (all, if left out). also: what else the model says -> how many answers.

        every: of each segment's decisions, only every so-manieth is scored.
        """
        self._engine, self._labels, self._also, self._every = engine, labels, dict(also or {}), every
        self._parts = [
            (segment, {name: _encode(engine, name, rows, segment.carried.get(name)) for name, rows in segment.packets.items()})
            for segment in segments
        ]

    def score(self, keep: Collection[str], temperature: float = 1.0) -> Scored:
        """keep: the inputs that are there; the others are as if they had never existed."""
        scores, labels, conditions, sessions = [], [], [], []
        for number, (segment, embeddings) in enumerate(self._parts):
            labelled = np.flatnonzero(segment.label != UNLABELLED)[:: self._every]
            for chosen in _chunks(labelled):
                logits = self._engine.fuse(*_gather(segment, embeddings, chosen, keep))
                scores.append(softmax(logits[:, : self._labels] / temperature))
            labels.append(segment.label[labelled])
            sessions.append(np.full(len(labelled), number, np.int64))
            conditions += [segment.condition[index] for index in labelled]
        if not scores:
            raise ContractError("nothing to evaluate: no segment has a labelled decision")
        return Scored(
            scores=np.concatenate(scores),
            label=np.concatenate(labels),
            condition=np.array(conditions, dtype=np.str_),
            session=np.concatenate(sessions),
        )

    def present(self) -> dict[str, NDArray[np.bool_]]:
        """Input -> of every decision that `score` scores, whether its window holds any step of that input."""
        chosen = [np.flatnonzero(segment.label != UNLABELLED)[:: self._every] for segment, _ in self._parts]
        return {
            name: np.concatenate([(segment.table[name][rows] >= 0).any(1) for (segment, _), rows in zip(self._parts, chosen, strict=True)])
            for name in self._parts[0][0].table
        }

    def outputs(
        self, keep: Collection[str], wanted: Callable[[Segment], NDArray[np.bool_]]
    ) -> Iterator[tuple[Segment, NDArray[np.float32]]]:
        """Each segment and the raw outputs of its windows that are wanted (a mask of the segment's windows): (wanted, outputs)."""
        for segment, embeddings in self._parts:
            chunks = _chunks(np.flatnonzero(wanted(segment)))
            made = [self._engine.fuse(*_gather(segment, embeddings, chosen, keep)) for chosen in chunks]
            if made:
                yield segment, np.concatenate(made)

    def answered(self, keep: Collection[str]) -> dict[str, float]:
        """Of what the model also says: question -> of the decisions whose answer is known, the share that is answered rightly."""
        right: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in self._also}
        for segment, outputs in self.outputs(keep, lambda segment: np.arange(len(segment.label)) % self._every == 0) if right else ():
            answers = outputs[:, self._labels :]
            for name, count in self._also.items():
                known, said, answers = segment.also[name][:: self._every], answers[:, :count].argmax(1), answers[:, count:]
                right[name].append((said == known)[known != UNLABELLED])
        return {name: float(np.mean(np.concatenate(parts))) for name, parts in right.items()}


def softmax(logits: NDArray[Any]) -> Scores:
    """Over the last axis, in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    out: Scores = shifted / shifted.sum(-1, keepdims=True)
    return out


def _encode(engine: Engine, name: str, rows: NDArray[Any], carried: int | None) -> NDArray[np.float32]:
    """carried: length of an embedding that depends on the one before."""
    if not len(rows):  # one blank row that no table points at gives the embedding's length
        rows = np.zeros((1, *rows.shape[1:]), rows.dtype)
    if carried is not None:
        made = [np.zeros((1, carried), np.float32)]
        for row in rows:
            made.append(engine.encode(name, row[None], made[-1]))
        return np.concatenate(made[1:])
    return np.concatenate([engine.encode(name, rows[first : first + CHUNK]) for first in range(0, len(rows), CHUNK)])


def _chunks(indices: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for first in range(0, len(indices), CHUNK):
        yield indices[first : first + CHUNK]


def _gather(
    segment: Segment, embeddings: Mapping[str, NDArray[np.float32]], chosen: NDArray[np.int64], keep: Collection[str]
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
    """Zeros where nothing is present, as `pipeline.runtime.inference` gives."""
    inputs, presence = {}, {}
    for name, table in segment.table.items():
        rows = table[chosen] if name in keep else np.full_like(table[chosen], -1)
        there = rows >= 0
        inputs[name] = embeddings[name][np.maximum(rows, 0)] * there[..., None].astype(np.float32)
        presence[name] = there.astype(np.float32)
    return inputs, presence
