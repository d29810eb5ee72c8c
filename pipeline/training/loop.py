"""The training loop: AdamW, a warm-up and a cosine, class weights, early stopping on validation, the best weights kept."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from operators.network import FusionNetwork
from pipeline.evaluate import Encoded, accuracy, average_precision, presence_patterns, recall
from pipeline.training.batch import Batch, Hops, forward, make_batch
from pipeline.training.network import InTraining
from pipeline.training.segment import UNLABELLED, Segment
from pipeline.training.sync import SyncLoss

VALIDATE_EVERY = 3
"""Neighbouring decisions are nearly alike: a third of them tells as much."""

Share = Annotated[float, Field(ge=0, le=1)]


class LoopConfig(BaseModel):
    """How to train. A step is `batch` sessions with `windows` decisions drawn from each; an epoch is `steps` of them, then validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    epochs: int = Field(12, ge=1)
    steps: int = Field(60, ge=1)
    batch: int = Field(4, ge=1)
    windows: int = Field(24, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.02, ge=0)
    warm_up: Share = Field(0.1, description="part of all steps")
    label_smoothing: Share = 0.02
    patience: int = Field(4, ge=1, description="epochs without a better validation before it ends")
    sync: float = Field(0.0, ge=0, description="weight of the loss that lips and voice agree at no delay")
    sync_label: str | None = Field(None, description="the label of the hops in which they do")
    sync_steps: int = Field(0, ge=0, description="steps before the first epoch that descend this loss alone")
    balance: Share = Field(0.5, description="0: classes as frequent as they are; 1: all as if equally frequent")
    bfloat16: bool = Field(False, description="compute in bfloat16 where it is safe: faster on a CPU that has it")
    threads: int = Field(2, ge=1)
    deadline_share: Share = Field(0.3, description="sessions that arrive with delays and are cut off at a deadline")
    without: dict[str, Share] = Field(default_factory=dict, description="input -> share of the sessions that lack it")
    drop: Share = 0.2
    outage: Share = 0.12


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What became of one epoch; `validation` by figure, `score` is what the best epoch is chosen by."""

    number: int
    loss: float
    sync_loss: float
    score: float
    validation: dict[str, float]


@dataclass(slots=True)
class History:
    epochs: list[Epoch] = field(default_factory=list)

    @property
    def best(self) -> Epoch:
        return max(self.epochs, key=lambda epoch: epoch.score)

    def stale(self) -> int:
        """Epochs since the best one."""
        return len(self.epochs) - 1 - self.epochs.index(self.best)


Report = Callable[[int, int, float], None]
"""Told after every step: (step, of so many, loss)."""


def fit(
    network: FusionNetwork,
    config: LoopConfig,
    feed: Iterator[Segment],
    validation: Sequence[Segment],
    *,
    labels: Sequence[str],
    hops: Hops,
    report: Report = lambda step, total, loss: None,
    tell: Callable[[Epoch], None] = lambda epoch: None,
) -> History:
    """Trains the network in place and leaves the best epoch's weights in it. Same seed, feed and machine: same weights."""
    first = list(itertools.islice(feed, 4 * config.batch))
    weight = class_weights(first, len(labels), config.balance)
    sync = SyncLoss(network, label=list(labels).index(config.sync_label) if config.sync_label else -1)
    descent = _Descent(network, sync, config, itertools.chain(first, feed), weight, hops, report)
    descent.run(config.sync_steps, sync_only=True)
    history, best = History(), copy.deepcopy(network.state_dict())
    for number in range(config.epochs):
        loss, sync_loss = descent.run(config.steps)
        made = validate(network, validation, labels)
        epoch = Epoch(number=number, loss=loss, sync_loss=sync_loss, score=made["score"], validation=made)
        history.epochs.append(epoch)
        tell(epoch)
        if history.best is epoch:
            best = copy.deepcopy(network.state_dict())
        if history.stale() >= config.patience:
            break
    sync.close()
    network.load_state_dict(best)
    network.eval()
    return history


class _Descent:
    """The steps of a training run, counted through."""

    def __init__(
        self,
        network: FusionNetwork,
        sync: SyncLoss,
        config: LoopConfig,
        feed: Iterator[Segment],
        weight: Tensor,
        hops: Hops,
        report: Report,
    ) -> None:
        self._network, self._sync, self._config, self._feed = network, sync, config, feed
        self._weight, self._hops, self._report = weight, hops, report
        self._rng = np.random.default_rng((config.seed, 1))
        self._parameters = [*network.parameters(), *sync.parameters()]
        self._optimiser = torch.optim.AdamW(self._parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
        self._done, self._total = 0, config.sync_steps + config.epochs * config.steps
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimiser, lambda step: _rate(step / self._total, config.warm_up))

    def run(self, steps: int, *, sync_only: bool = False) -> tuple[float, float]:
        """So many steps; gives the means of the loss and of the sync loss.

        sync_only takes a quarter of the windows: that loss looks at all their steps.
        """
        self._network.train()
        sums = np.zeros(2)
        windows = max(1, self._config.windows // 4) if sync_only else self._config.windows
        for _ in range(steps):
            batch = make_batch(list(itertools.islice(self._feed, self._config.batch)), windows, self._hops, self._rng)
            losses = self._step(batch, sync_only=sync_only)
            sums += losses
            self._done += 1
            self._report(self._done, self._total, losses[0])
        loss, sync_loss = (sums / max(1, steps)).tolist()
        return loss, sync_loss

    def _step(self, batch: Batch, *, sync_only: bool) -> tuple[float, float]:
        """(the loss that was descended, the sync loss within it)."""
        config = self._config
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.bfloat16):
            logits = forward(self._network, batch)
            agreement = self._sync(batch)
        known = F.cross_entropy(logits.float(), batch.label, weight=self._weight, label_smoothing=config.label_smoothing)
        loss = agreement + 0 * known if sync_only else known + config.sync * agreement
        self._optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimiser.step()
        self._schedule.step()
        return float(loss.detach()), float(agreement.detach())


def _rate(progress: float, warm_up: float) -> float:
    """Linear up, then half a cosine down to 0."""
    if progress < warm_up:
        return (progress + 1e-3) / (warm_up + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / max(1e-9, 1 - warm_up)))


def class_weights(segments: Sequence[Segment], labels: int, balance: float) -> Tensor:
    """(labels,) float32, mean 1 over the decisions: (1 / frequency) ** balance; a label that was not met counts as the rarest."""
    met = np.concatenate([segment.label[segment.label != UNLABELLED] for segment in segments])
    counts = np.bincount(met, minlength=labels).astype(float)
    counts = np.maximum(counts, counts[counts > 0].min(initial=np.inf) if counts.any() else 1.0)
    weight = (1 / counts) ** balance
    return torch.from_numpy(weight * counts.sum() / (weight * counts).sum()).float()


def validate(network: FusionNetwork, segments: Sequence[Segment], labels: Sequence[str]) -> dict[str, float]:
    """Figures with every stream there, the accuracy with each one missing, and their sum-up `score`."""
    encoded = Encoded(InTraining(network), segments, every=VALIDATE_EVERY)
    inputs = list(segments[0].packets)
    whole = encoded.score(inputs)
    made = {"accuracy": accuracy(whole)}
    for index, label in enumerate(labels):
        made[f"recall_{label}"] = recall(whole, index)
        made[f"ap_{label}"] = average_precision(whole.scores[:, index], whole.label == index)
    lacking = {name: keep for name, keep in presence_patterns(inputs).items() if name.startswith("without")}
    made |= {f"accuracy_{name}": accuracy(encoded.score(keep)) for name, keep in lacking.items()}
    made["score"] = _sum_up(made)
    return made


def _sum_up(made: Mapping[str, float]) -> float:
    """Mean recall and mean AP of the labels that occur count most; a fifth is for missing streams."""
    whole = [value for name, value in made.items() if name.startswith(("recall_", "ap_")) and not math.isnan(value)]
    lacking = [value for name, value in made.items() if name.startswith("accuracy_")]
    return float(0.8 * np.mean(whole) + 0.2 * np.mean(lacking)) if lacking else float(np.mean(whole))
