"""What is descended: one loss or a weighted sum of several (multi-task), each by its name in a config.

losses: [{kind: focal, gamma: 2}, {kind: regression, weight: 0.3, values: {calm: 0, tense: 1, alarmed: 3}}]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F


class LossTerm(BaseModel):
    """cross_entropy, with the class weights of `balance` and `label_smoothing`.

    focal       cross-entropy that counts what is already right the less, by (1 - p) ** gamma. Source: Lin et al. 2017
    regression  squared error of the expected value, where each label stands for a number: for labels that have an order
    also        cross-entropy of what the model also says (`of`: which question), where that is known
    alone       cross-entropy of every input by itself, so that each learns although another one is easier. Source: the unimodal losses of
                Wang et al. 2020, "What makes training multi-modal classification networks hard?"
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["cross_entropy", "focal", "regression", "also", "alone"]
    of: str = Field("", description="also: the question")
    weight: float = Field(1.0, gt=0)
    gamma: float = Field(2.0, ge=0, description="focal: 0 is plain cross-entropy")
    values: dict[str, float] = Field(default_factory=dict, description="regression: the number that each label stands for")


class Loss:
    """logits (B, outputs), label (B,), also: question -> (B,) -> one number. weight: (labels,), of the classes. UNLABELLED is passed over.

    questions: what the model also says -> how many answers that has
    Raises ValueError where a regression has not a value for exactly each label, and for a question that the model does not answer.
    """

    def __init__(
        self, terms: Sequence[LossTerm], labels: Sequence[str], weight: Tensor, smoothing: float, questions: Mapping[str, int] | None = None
    ) -> None:
        for term in terms:
            if term.kind == "regression" and set(term.values) != set(labels):
                raise ValueError(f"a regression wants a value for each of {', '.join(labels)}, got {sorted(term.values)}")
            if term.kind == "also" and term.of not in (questions or {}):
                raise ValueError(f"a loss of also wants of: one of {sorted(questions or {})}, got {term.of!r}")
        self._terms, self._weight, self._smoothing = terms, weight, smoothing
        self._values = [torch.tensor([term.values.get(label, 0.0) for label in labels]) for term in terms]
        self._labels, self._places = len(labels), _places(len(labels), questions or {})
        self.alone = sum(term.weight for term in terms if term.kind == "alone")

    def __call__(self, outputs: Tensor, label: Tensor, also: Mapping[str, Tensor] | None = None) -> Tensor:
        outputs = outputs.float()
        known = label >= 0
        logits, label = outputs[known, : self._labels], label[known]
        total = outputs.new_zeros(())
        for term in self._terms:
            if term.kind == "also" and also is not None and (also[term.of] >= 0).any():
                answers = outputs[:, self._places[term.of]]
                total = total + term.weight * F.cross_entropy(answers, also[term.of], ignore_index=-1, label_smoothing=self._smoothing)
        if not len(label):
            return total
        for term, values in zip(self._terms, self._values, strict=True):
            if term.kind == "focal":
                total = total + term.weight * self._focal(logits, label, term.gamma)
            elif term.kind == "regression":
                total = total + term.weight * F.mse_loss(logits.softmax(1) @ values, values[label])
            elif term.kind == "cross_entropy":
                total = total + term.weight * self.plain(logits, label)
        return total

    def plain(self, outputs: Tensor, label: Tensor) -> Tensor:
        logits = outputs[:, : self._labels].float()
        return F.cross_entropy(logits, label, weight=self._weight, label_smoothing=self._smoothing)

    def _focal(self, logits: Tensor, label: Tensor, gamma: float) -> Tensor:
        log_p = logits.log_softmax(1).gather(1, label[:, None])[:, 0]  # (B,)
        weight = self._weight[label] * (1 - log_p.exp()) ** gamma
        return -(weight * log_p).sum() / self._weight[label].sum()


def _places(labels: int, questions: Mapping[str, int]) -> dict[str, slice]:
    """Where the answers of each question stand among the outputs."""
    places, first = {}, labels
    for name, answers in questions.items():
        places[name] = slice(first, first + answers)
        first += answers
    return places
