"""How good a model is: figures from scores and truth, and the scores of segments with some streams taken away.

Figures are over the decisions that have a label. Accuracy and recall are of the label with the highest score.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
    """scores: (decisions, labels), rows sum to 1. label: (decisions,). condition: by decision."""

    scores: Scores
    label: Labels
    condition: NDArray[np.str_]

    def where(self, chosen: NDArray[np.bool_]) -> Scored:
        return Scored(scores=self.scores[chosen], label=self.label[chosen], condition=self.condition[chosen])

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

    def __init__(self, engine: Engine, segments: Sequence[Segment], *, every: int = 1) -> None:
        """every: of each segment's decisions, only every so-manieth is scored."""
        self._engine, self._every = engine, every
        self._parts = [
            (segment, {name: _encode(engine, name, rows, segment.carried.get(name)) for name, rows in segment.packets.items()})
            for segment in segments
        ]

    def score(self, keep: Collection[str], temperature: float = 1.0) -> Scored:
        """keep: the inputs that are there; the others are as if they had never existed."""
        scores, labels, conditions = [], [], []
        for segment, embeddings in self._parts:
            labelled = np.flatnonzero(segment.label != UNLABELLED)[:: self._every]
            for chosen in _chunks(labelled):
                logits = self._engine.fuse(*_gather(segment, embeddings, chosen, keep))
                scores.append(softmax(logits / temperature))
            labels.append(segment.label[labelled])
            conditions += [segment.condition[index] for index in labelled]
        if not scores:
            raise ContractError("nothing to evaluate: no segment has a labelled decision")
        return Scored(scores=np.concatenate(scores), label=np.concatenate(labels), condition=np.array(conditions, dtype=np.str_))


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
