"""What the labels weigh in the loss, and how an epoch is judged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from operators.network import FusionNetwork
from pipeline.evaluate import Encoded, accuracy, average_precision, presence_patterns, recall
from pipeline.training.network import InTraining
from pipeline.training.segment import UNLABELLED, Segment

VALIDATE_EVERY = 3
"""Of long sessions: neighbouring decisions are nearly alike, a third of them tells as much."""
MANY = 3000


def class_weights(segments: Sequence[Segment], labels: int, balance: float) -> Tensor:
    """(labels,) float32, mean 1 over the decisions: (1 / frequency) ** balance; a label that was not met counts as the rarest."""
    met = np.concatenate([segment.label[segment.label != UNLABELLED] for segment in segments])
    counts = np.bincount(met, minlength=labels).astype(float)
    counts = np.maximum(counts, counts[counts > 0].min(initial=np.inf) if counts.any() else 1.0)
    weight = (1 / counts) ** balance
    return torch.from_numpy(weight * counts.sum() / (weight * counts).sum()).float()


def validate(
    network: FusionNetwork, segments: Sequence[Segment], labels: Sequence[str], also: Mapping[str, int] | None = None
) -> dict[str, float]:
    """Figures with every stream there, the accuracy with each one missing, and their sum-up `score`."""
    many = sum(int((segment.label != UNLABELLED).sum()) for segment in segments) > MANY
    encoded = Encoded(InTraining(network), segments, labels=len(labels), also=also, every=VALIDATE_EVERY if many else 1)
    inputs = list(segments[0].packets)
    whole = encoded.score(inputs)
    made = {"accuracy": accuracy(whole)}
    for index, label in enumerate(labels):
        made[f"recall_{label}"] = recall(whole, index)
        made[f"ap_{label}"] = average_precision(whole.scores[:, index], whole.label == index)
    made |= {f"answered_{name}": right for name, right in encoded.answered(inputs).items()}
    lacking = {name: keep for name, keep in presence_patterns(inputs).items() if name.startswith("without")}
    made |= {f"accuracy_{name}": accuracy(encoded.score(keep)) for name, keep in lacking.items()}
    made["score"] = _sum_up(made)
    return made


def _sum_up(made: Mapping[str, float]) -> float:
    """Mean recall and mean AP of the labels that occur and further answers count most; a fifth is for missing streams."""
    whole = [value for name, value in made.items() if name.startswith(("recall_", "ap_", "answered_")) and not math.isnan(value)]
    lacking = [value for name, value in made.items() if name.startswith("accuracy_")]
    return float(0.8 * np.mean(whole) + 0.2 * np.mean(lacking)) if lacking else float(np.mean(whole))
