"""Fusion heads, one a file; all keep one contract, so a model.yaml picks one by name.

    Head(layout, **options)                     options: plain numbers from model.yaml
    head(features, presence) -> logits          features[input]: (B, T, D); presence[input]: (B, T) of 0 or 1; logits: (B, outputs)
    head.coalitions(features, presence)         only where it can share work: (B, 2 ** inputs, outputs), the logits of every set of inputs,
                                                bit i of a row for the i-th of the layout; one that is absent in a window is in no row of it

B windows, T steps of that input, D its embedding's length. A step with presence 0 holds no information: its features must not matter.
An input that is missing altogether (presence all 0) is normal input, as is everything missing at once.
Outputs are the labels and, behind them, the answers of every further question (`also`), in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class InputLayout:
    """steps: how many the window is cut into. dim: length of each step's embedding."""

    steps: int
    dim: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a head is built for. instant: where in the window the decision's span has its centre, 0 its start, 1 its end.

    also: what else it is asked -> how many answers that has
    """

    inputs: Mapping[str, InputLayout]
    labels: int
    instant: float
    also: Mapping[str, int] = field(default_factory=dict)

    @property
    def outputs(self) -> int:
        """Logits of a decision."""
        return self.labels + sum(self.also.values())

    def timed(self) -> dict[int, list[str]]:
        """Step count -> the inputs that have it, for inputs of more than one step: these share a time axis."""
        groups: dict[int, list[str]] = {}
        for name, shape in self.inputs.items():
            if shape.steps > 1:
                groups.setdefault(shape.steps, []).append(name)
        return groups

    def single(self) -> list[str]:
        """The inputs of one step: a state, not a sequence."""
        return [name for name, shape in self.inputs.items() if shape.steps == 1]

    def instant_step(self, steps: int) -> int:
        """The step in which the decision's centre lies."""
        return min(steps - 1, int(self.instant * steps))
