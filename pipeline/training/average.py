"""The running average of a network's weights: what is validated and kept, where the steps themselves still wander."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """After every step each weight of the average moves 1 - decay of the way to the network's; sooner while the steps are few.

    decay 0: the average is the network. Statistics of the data (buffers) are always the network's own.
    Source: Polyak and Juditsky 1992; as an exponential average beside Adam: Kingma and Ba 2015, section 7.2.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._network, self._decay, self._steps = network, decay, 0
        self._weights = {name: weight.detach().clone() for name, weight in network.named_parameters()} if decay else {}

    def update(self) -> None:
        self._steps += 1
        decay = min(self._decay, self._steps / (self._steps + 20))
        with torch.no_grad():
            for name, weight in self._network.named_parameters() if self._weights else ():
                self._weights[name].lerp_(weight.detach(), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the network has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        with torch.no_grad():
            for name, weight in self._network.named_parameters() if self._weights else ():
                kept = weight.detach().clone()
                weight.copy_(self._weights[name])
                self._weights[name] = kept

    def snapshot(self) -> tuple[dict[str, Tensor], int]:
        return dict(self._weights), self._steps

    def restore(self, weights: Mapping[str, Tensor], steps: int) -> None:
        for name, weight in weights.items():
            self._weights[name].copy_(weight)  # where its network is, and laid out as that is
        self._steps = steps
