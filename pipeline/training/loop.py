"""The training loop: steps, validation, early stopping, the best weights kept, and going on where a killed run stopped."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from operators.network import FusionNetwork
from pipeline.training.augment import Augment, augmented
from pipeline.training.average import Average
from pipeline.training.batch import Batch, Hops, forward, make_batch
from pipeline.training.checkpoint import Checkpoints, Saved
from pipeline.training.losses import Loss, LossTerm
from pipeline.training.optimise import Optimiser, Schedule, make_optimiser, share_of_rate
from pipeline.training.segment import Segment
from pipeline.training.sync import SyncLoss
from pipeline.training.validation import class_weights, validate

Share = Annotated[float, Field(ge=0, le=1)]
PLAIN = LossTerm.model_validate({"kind": "cross_entropy"})


class LoopConfig(BaseModel):
    """How to train. A step is `batch` sessions with `windows` decisions drawn from each; an epoch is `steps` of them, then validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    epochs: int = Field(12, ge=0, description="0: nothing is trained; offsets and temperature are fitted to the weights of `start`")
    steps: int = Field(60, ge=1)
    batch: int = Field(4, ge=1)
    windows: int = Field(24, ge=1)
    optimiser: Optimiser = "adamw"
    schedule: Schedule = "cosine"
    losses: tuple[LossTerm, ...] = Field(
        (LossTerm.model_validate({"kind": "cross_entropy"}),), min_length=1, description="their weighted sum is descended"
    )
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.02, ge=0)
    average: float = Field(0.0, ge=0, lt=1, description="keep a running average of the weights, over about 1 / (1 - average) steps")
    warm_up: Share = Field(0.1, description="part of all steps")
    label_smoothing: Share = 0.02
    patience: int = Field(4, ge=1, description="epochs without a better validation before it ends")
    keep: Literal["best", "last"] = Field("best", description="last: where validation cannot tell, as of features that have seen its labels")
    sync: float = Field(0.0, ge=0, description="weight of the loss that lips and voice agree at no delay")
    sync_label: str | None = Field(None, description="the label of the hops in which they do")
    sync_steps: int = Field(0, ge=0, description="steps before the first epoch that descend this loss alone")
    every_hop: bool = Field(
        False, description="descend the loss at the decided hop and all before it in the window; wants a hop a step and a head with steps()"
    )
    balance: Share = Field(0.5, description="0: classes as frequent as they are; 1: all as if equally frequent")
    even_recall: Annotated[float, Field(ge=0, le=1, strict=True)] | None = Field(
        None,
        description="move the labels' logits, by which streams are there, so that their mean recall on validation is highest; "
        "the number is the share of accuracy that it may cost",
    )
    bfloat16: bool = Field(False, description="compute in bfloat16 where it is safe: faster on a CPU that has it")
    threads: int = Field(2, ge=1)
    deadline_share: Share = Field(0.3, description="sessions that arrive with delays and are cut off at a deadline")
    without: dict[str, Share] = Field(default_factory=dict, description="input -> share of the sessions that lack it")
    augment: dict[str, Augment] = Field(default_factory=dict, description="input -> what is done to its packets")
    drop: Share = 0.2
    outage: Share = 0.12
    tensorboard: bool = Field(False, description="also write an event file for TensorBoard into the model directory")


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

Feed = Callable[[int, int], AbstractContextManager[Iterator[Segment]]]
"""(epoch, how many segments) -> the segments of an epoch, the same at every call; epoch -1 is what comes before the first."""


def fit(
    network: FusionNetwork,
    config: LoopConfig,
    feed: Feed,
    validation: Sequence[Segment],
    *,
    sample: Sequence[Segment],
    labels: Sequence[str],
    hops: Hops,
    also: Mapping[str, int] | None = None,
    report: Report = lambda step, total, loss: None,
    tell: Callable[[Epoch], None] = lambda epoch: None,
    checkpoints: Checkpoints | None = None,
) -> History:
    """Trains the network in place and leaves the best epoch's weights in it. Same seed, feed and machine: same weights.

    sample: some training segments, for the weights of the classes. also: what else the model says -> how many answers.
    checkpoints: where to go on from and what to keep after each epoch.
    """
    weight = class_weights(sample, len(labels), config.balance)
    loss = Loss(config.losses, labels, weight, config.label_smoothing, also)
    sync = SyncLoss(network, label=list(labels).index(config.sync_label) if config.sync_label else -1)
    descent = _Descent(network, sync, config, loss, hops, report)
    history, best = History(), copy.deepcopy(network.state_dict())
    saved = None if checkpoints is None else checkpoints.load()
    if saved is not None:
        history, best = _go_on(descent, saved)
    elif config.sync_steps:
        with feed(-1, config.sync_steps * config.batch) as segments:
            descent.run(segments, config.sync_steps, sync_only=True)
    while len(history.epochs) < config.epochs and (not history.epochs or history.stale() < config.patience):
        number = len(history.epochs)
        with feed(number, config.steps * config.batch) as segments:
            mean, sync_mean = descent.run(segments, config.steps)
        with descent.average.in_place():
            made = validate(network, validation, labels, also)
            epoch = Epoch(number=number, loss=mean, sync_loss=sync_mean, score=made["score"], validation=made)
            history.epochs.append(epoch)
            if config.keep == "last" or history.best is epoch:
                best = copy.deepcopy(network.state_dict())
        tell(epoch)
        if checkpoints is not None:
            _keep(checkpoints, descent, history, best)
    sync.close()
    network.load_state_dict(best)
    network.eval()
    return history


def _keep(checkpoints: Checkpoints, descent: _Descent, history: History, best: dict[str, Tensor]) -> None:
    tensors, state = descent.snapshot()
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    epochs = [asdict(epoch) for epoch in history.epochs]
    checkpoints.save(len(epochs), tensors, {"descent": state, "epochs": epochs})


def _go_on(descent: _Descent, saved: Saved) -> tuple[History, dict[str, Tensor]]:
    descent.restore(saved.tensors, saved.state["descent"])
    return History([Epoch(**epoch) for epoch in saved.state["epochs"]]), _under("best.", saved.tensors)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


class _Descent:
    """The steps of a training run, counted through."""

    def __init__(self, network: FusionNetwork, sync: SyncLoss, config: LoopConfig, loss: Loss, hops: Hops, report: Report) -> None:
        self._network, self._sync, self._config = network, sync, config
        self._loss, self._hops, self._report = loss, hops, report
        self._rng = np.random.default_rng((config.seed, 1))
        self._parameters = [*network.parameters(), *sync.parameters()]
        self._optimiser = make_optimiser(config.optimiser, self._parameters, config.learning_rate, config.weight_decay)
        self._done, self._total = 0, config.sync_steps + config.epochs * config.steps
        self.average = Average(network, config.average)

    def run(self, segments: Iterator[Segment], steps: int, *, sync_only: bool = False) -> tuple[float, float]:
        """So many steps; gives the means of the loss and of the sync loss.

        sync_only takes a quarter of the windows: that loss looks at all their steps.
        """
        self._network.train()
        sums = np.zeros(2)
        windows = max(1, self._config.windows // 4) if sync_only else self._config.windows
        for _ in range(steps):
            batch = make_batch(list(islice(segments, self._config.batch)), windows, self._hops, self._rng)
            losses = self._step(augmented(batch, self._config.augment, self._rng), sync_only=sync_only)
            sums += losses
            self._done += 1
            self._report(self._done, self._total, losses[0])
        loss, sync_loss = (sums / max(1, steps)).tolist()
        return loss, sync_loss

    def _step(self, batch: Batch, *, sync_only: bool) -> tuple[float, float]:
        """(the loss that was descended, the sync loss within it)."""
        config = self._config
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.bfloat16):
            logits = forward(self._network, batch, every_step=config.every_hop)
            agreement = self._sync(batch)
        known = self._loss(*self._told(logits, batch)) + self._alone(batch)
        loss = agreement + 0 * known if sync_only else known + config.sync * agreement
        self._optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        for group in self._optimiser.param_groups:
            group["lr"] = config.learning_rate * share_of_rate(config.schedule, self._done / self._total, config.warm_up)
        self._optimiser.step()
        self.average.update()
        return float(loss.detach()), float(agreement.detach())

    def _told(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Outputs, labels and answers by row: of the decided hops, or also of those before them."""
        decided = self._hops.decided
        if not self._config.every_hop:
            return logits, batch.label, {name: known[:, decided] for name, known in batch.also.items()}
        until = slice(0, decided + 1)
        also = {name: known[:, until].flatten() for name, known in batch.also.items()}
        return logits[:, until].flatten(0, 1), batch.around[:, until].flatten(), also

    def _alone(self, batch: Batch) -> Tensor | float:
        """What each input says by itself."""
        if not self._loss.alone:
            return 0.0
        logits = [forward(self._network, batch, keep=(name,)) for name in batch.table]
        self._sync(batch)  # these passes are no business of the sync loss: let it forget what it noted
        plain = torch.stack([self._loss.plain(part, batch.label) for part in logits]).mean()
        return self._loss.alone * plain

    def snapshot(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that the next step depends on: tensors by name, and plain values."""
        tensors = {f"network.{name}": tensor for name, tensor in self._network.state_dict().items()}
        tensors |= {f"sync.{name}": tensor for name, tensor in self._sync.state_dict().items()}
        for number, parameter in enumerate(self._parameters):
            tensors |= {
                f"optimiser.{number}.{name}": torch.as_tensor(value)
                for name, value in self._optimiser.state[parameter].items()
                if value is not None
            }
        tensors["random"] = torch.get_rng_state()
        averaged, steps = self.average.snapshot()
        tensors |= {f"average.{name}": weight for name, weight in averaged.items()}
        return tensors, {"done": self._done, "rng": self._rng.bit_generator.state, "averaged": steps}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        self._network.load_state_dict(_under("network.", tensors))
        self._sync.load_state_dict(_under("sync.", tensors))
        for number, parameter in enumerate(self._parameters):
            self._optimiser.state[parameter] = _under(f"optimiser.{number}.", tensors)
        self.average.restore(_under("average.", tensors), state["averaged"])
        torch.set_rng_state(tensors["random"])
        self._done = state["done"]
        self._rng.bit_generator.state = state["rng"]
