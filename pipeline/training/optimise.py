"""How weights move: optimisers and learning-rate schedules, by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import nn

Optimiser = Literal["adamw", "adam", "sgd", "rmsprop"]
Schedule = Literal["cosine", "linear", "constant", "steps"]


def make_optimiser(name: Optimiser, parameters: Sequence[nn.Parameter], rate: float, decay: float) -> torch.optim.Optimizer:
    """sgd has Nesterov momentum 0.9. Decay is decoupled in adamw (Loshchilov and Hutter 2019), an L2 penalty in the others."""
    match name:
        case "adamw":
            return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
        case "adam":
            return torch.optim.Adam(parameters, lr=rate, weight_decay=decay)
        case "sgd":
            return torch.optim.SGD(parameters, lr=rate, weight_decay=decay, momentum=0.9, nesterov=True)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, lr=rate, weight_decay=decay)


def share_of_rate(schedule: Schedule, progress: float, warm_up: float) -> float:
    """How much of the learning rate holds when `progress` (0 to 1) of all steps are done: linear up, then as the schedule says."""
    if progress < warm_up:
        return (progress + 1e-3) / (warm_up + 1e-3)
    left = 1 - (progress - warm_up) / max(1e-9, 1 - warm_up)
    after: dict[Schedule, Callable[[], float]] = {
        "cosine": lambda: 0.5 * (1 - math.cos(math.pi * left)),
        "linear": lambda: left,
        "constant": lambda: 1.0,
        "steps": lambda: 0.1 ** int(3 * (1 - left)),  # a tenth after each third
    }
    return after[schedule]()
