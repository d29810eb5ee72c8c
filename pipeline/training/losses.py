"""What is descended: one loss or a weighted sum of several (multi-task), each by its name in a config.

losses: [{kind: focal, gamma: 2}, {kind: regression, weight: 0.3, values: {calm: 0, tense: 1, alarmed: 3}}]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    share: counts (n,) of what the means here are over -> how much of each is here, where the batch is spread over several processes
    (`Spread.share`); a loss is that part of the whole batch's
    Raises ValueError where a regression has not a value for exactly each label, and for a question that the model does not answer.
    """

    def __init__(
        self,
        terms: Sequence[LossTerm],
        labels: Sequence[str],
        weight: Tensor,
        smoothing: float,
        questions: Mapping[str, int] | None = None,
        share: Callable[[Tensor], Tensor] = torch.ones_like,
    ) -> None:
        for term in terms:
            if term.kind == "regression" and set(term.values) != set(labels):
                raise ValueError(f"a regression wants a value for each of {', '.join(labels)}, got {sorted(term.values)}")
            if term.kind == "also" and term.of not in (questions or {}):
                raise ValueError(f"a loss of also wants of: one of {sorted(questions or {})}, got {term.of!r}")
        self._terms, self._weight, self._smoothing, self._share = terms, weight, smoothing, share
        self._values = [weight.new_tensor([term.values.get(label, 0.0) for label in labels]) for term in terms]
        self._labels, self._places = len(labels), _places(len(labels), questions or {})
        self.alone = sum(term.weight for term in terms if term.kind == "alone")

    def __call__(self, outputs: Tensor, label: Tensor, also: Mapping[str, Tensor] | None = None) -> Tensor:
        outputs = outputs.float()
        known = label >= 0
        logits, label = outputs[known, : self._labels], label[known]
        counts = torch.stack([self._count(term, label, also or {}) for term in self._terms])
        total = outputs.new_zeros(())
        for term, values, count, share in zip(self._terms, self._values, counts.tolist(), self._share(counts), strict=True):
            if not count:
                continue
            if term.kind == "also":
                answers, told = outputs[:, self._places[term.of]], (also or {})[term.of]
                made = F.cross_entropy(answers, told, ignore_index=-1, label_smoothing=self._smoothing)
            elif term.kind == "focal":
                made = self._focal(logits, label, term.gamma)
            elif term.kind == "regression":
                made = F.mse_loss(logits.softmax(1) @ values, values[label])
            else:
                made = self._cross_entropy(logits, label)
            total = total + term.weight * share * made
        return total

    def _count(self, term: LossTerm, label: Tensor, also: Mapping[str, Tensor]) -> Tensor:
        """() What the term is a mean over; 0: nothing of it is known here."""
        if term.kind == "also":
            return (also[term.of] >= 0).sum().to(self._weight) if also else self._weight.new_zeros(())
        if term.kind == "regression":
            return self._weight.new_tensor(float(len(label)))
        return self._weight.new_zeros(()) if term.kind == "alone" else self._weight[label].sum()

    def plain(self, outputs: Sequence[Tensor], label: Tensor) -> Tensor:
        """The mean of what each of these outputs costs: cross-entropy, 0 where there is no label."""
        share = self._share(self._weight[label].sum()[None])[0]
        if not len(label):
            return self._weight.new_zeros(())
        return share * torch.stack([self._cross_entropy(part[:, : self._labels].float(), label) for part in outputs]).mean()

    def _cross_entropy(self, logits: Tensor, label: Tensor) -> Tensor:
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
