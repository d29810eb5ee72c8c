"""The training loop: epochs, validation, early stopping, the best weights kept, and going on where a killed run stopped."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from operators.network import FusionNetwork
from pipeline.training.augment import Augment
from pipeline.training.batch import Hops
from pipeline.training.checkpoint import Checkpoints, Saved
from pipeline.training.descent import Descent, Report, under
from pipeline.training.losses import Loss, LossTerm
from pipeline.training.network import channels_last
from pipeline.training.optimise import Optimiser, Schedule
from pipeline.training.segment import Segment
from pipeline.training.spread import Device, Spread
from pipeline.training.sync import SyncLoss
from pipeline.training.validation import class_weights, validate

Share = Annotated[float, Field(ge=0, le=1)]
PLAIN = LossTerm.model_validate({"kind": "cross_entropy"})


class LoopConfig(BaseModel):
    """How to train. A step is `batch` sessions, of all processes together, with `windows` decisions drawn from each.

    An epoch is `steps` of them, then validation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    epochs: int = Field(12, ge=0, description="0: nothing is trained; offsets and temperature are fitted to the weights of `start`")
    steps: int = Field(60, ge=1)
    batch: int = Field(4, ge=1)
    windows: int = Field(24, ge=1)
    sample: int = Field(24, ge=1, description="drawn at the start to count: mean and deviation of inputs, weights of classes")
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
    keep: Literal["best", "last"] = Field("best", description="last: where validation cannot tell, its labels known to the features")
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
    device: Device = Field("auto", description="auto: cuda where torch finds it, else cpu")
    needs: dict[str, str] = Field(default_factory=dict, description="label -> the input that it speaks of: without it, it is never said")
    bfloat16: bool = Field(False, description="compute in bfloat16 where it is safe: faster on a GPU, and on a CPU that has it")
    threads: int = Field(2, ge=1, description="of each process")
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


Feed = Callable[[int, int], AbstractContextManager[Iterator[Segment]]]
"""(epoch, how many segments) -> this process's share of them, the same at every call; epoch -1 is what comes before the first."""


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
    spread: Spread = Spread(),  # noqa: B008 - frozen
) -> History:
    """Trains the network in place, on the device of `spread`, and leaves the best epoch's weights in it. Raises Diverged.

    Same seed, feed, machine and number of processes: same weights, in every process. Only the first one validates, tells, keeps and has
    the history.

    sample: some training segments, for the weights of the classes. also: what else the model says -> how many answers.
    checkpoints: where to go on from and what to keep after each epoch.
    """
    spread.alike(network.to(spread.device))
    channels_last(network)
    weight = class_weights(sample, len(labels), config.balance).to(spread.device)
    loss = Loss(config.losses, labels, weight, config.label_smoothing, also, share=spread.share)
    sync = SyncLoss(network, label=list(labels).index(config.sync_label) if config.sync_label else -1).to(spread.device)
    descent = Descent(network, sync, config, loss, hops, report, spread)
    history, best = History(), copy.deepcopy(network.state_dict())
    saved = None if checkpoints is None else checkpoints.load()
    if saved is not None:
        history, best = _go_on(descent, saved)
    elif config.sync_steps:
        with feed(-1, config.sync_steps * config.batch) as segments:
            descent.run(segments, config.sync_steps, sync_only=True)
    number = len(history.epochs)
    while spread.agreed(number < config.epochs and (not history.epochs or history.stale() < config.patience)):
        with feed(number, config.steps * config.batch) as segments:
            mean, sync_mean = descent.run(segments, config.steps)
        number += 1
        if not spread.first:
            continue
        with descent.average.in_place():
            made = validate(network, validation, labels, also)
            epoch = Epoch(number=number - 1, loss=mean, sync_loss=sync_mean, score=made["score"], validation=made)
            history.epochs.append(epoch)
            if config.keep == "last" or history.best is epoch:
                best = copy.deepcopy(network.state_dict())
        tell(epoch)
        if checkpoints is not None:
            _keep(checkpoints, descent, history, best)
    sync.close()
    network.load_state_dict(best)
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    spread.alike(network)
    network.eval()
    return history


def _keep(checkpoints: Checkpoints, descent: Descent, history: History, best: dict[str, Tensor]) -> None:
    tensors, state = descent.snapshot()
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    epochs = [asdict(epoch) for epoch in history.epochs]
    checkpoints.save(len(epochs), tensors, {"descent": state, "epochs": epochs})


def _go_on(descent: Descent, saved: Saved) -> tuple[History, dict[str, Tensor]]:
    descent.restore(saved.tensors, saved.state["descent"])
    return History([Epoch(**epoch) for epoch in saved.state["epochs"]]), under("best.", saved.tensors)
