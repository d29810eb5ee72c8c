"""From logits to a label: calibrate with a temperature, then change the label only when the evidence stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.errors import ContractError


def softmax(logits: NDArray[Any], temperature: float = 1.0) -> NDArray[np.float64]:
    """(labels,) logits -> probabilities in float64. Source: temperature scaling, Guo et al. 2017, "On calibration"."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    powers = np.exp(scaled - scaled.max())
    return np.asarray(powers / powers.sum(), dtype=np.float64)


class Decider:
    """Logits of successive decisions in, (label, scores) out.

    also: further questions -> their answers, whose logits stand behind those of the labels, in order
    hold: the label changes once another one has led this many decisions in a row; 1: at once.
    The scores are never held back, so a reader sees what the label is waiting for.
    """

    def __init__(
        self, labels: Sequence[str], *, temperature: float = 1.0, hold: int = 1, also: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        if len(labels) < 2 or len(set(labels)) != len(labels):
            raise ContractError(f"a decision wants two different labels or more, got {list(labels)}")
        if hold < 1 or not temperature > 0:
            raise ContractError(f"hold >= 1 and temperature > 0 wanted, got {hold} and {temperature}")
        self._labels, self._temperature, self._hold = tuple(labels), temperature, hold
        self._also = {name: tuple(answers) for name, answers in (also or {}).items()}
        self._outputs = len(self._labels) + sum(map(len, self._also.values()))
        self._label: str | None = None
        self._leader: str | None = None
        self._led = 0

    def decide(self, logits: NDArray[Any], *, revision: int = 0) -> tuple[str, dict[str, float]]:
        """logits: (outputs,), finite. A revision looks back: it gives the leading label and moves nothing."""
        if logits.shape != (self._outputs,) or not np.isfinite(logits).all():
            raise ContractError(f"{self._outputs} finite logits wanted, got {logits.shape}: {logits}")
        probabilities = softmax(logits[: len(self._labels)], self._temperature)
        leader = self._labels[int(probabilities.argmax())]
        label = leader if revision else self._held(leader)
        return label, dict(zip(self._labels, probabilities.tolist(), strict=True))

    def answers(self, logits: NDArray[Any]) -> dict[str, str]:
        """Question -> the answer that leads, at once: only the label is held."""
        made, first = {}, len(self._labels)
        for name, answers in self._also.items():
            made[name] = answers[int(logits[first : first + len(answers)].argmax())]
            first += len(answers)
        return made

    def _held(self, leader: str) -> str:
        self._led = self._led + 1 if leader == self._leader else 1
        self._leader = leader
        if self._label is None or self._led >= self._hold:
            self._label = leader
        return self._label

    def snapshot(self) -> Mapping[str, Any]:
        return {"label": self._label, "leader": self._leader, "led": self._led}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._label, self._leader, self._led = state["label"], state["leader"], state["led"]
