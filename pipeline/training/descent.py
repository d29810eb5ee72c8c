"""The steps of a training run: a batch, its losses, its gradients, and the weights moved by them.

What is drawn by chance in a step depends on the seed, the number of the step and the session's place in the batch alone, so that a run
goes on as it would have gone, and several processes draw what one would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from operators.network import FusionNetwork
from pipeline.training.augment import augmented
from pipeline.training.average import Average
from pipeline.training.batch import Batch, Hops, forward, make_batch
from pipeline.training.losses import Loss
from pipeline.training.optimise import make_optimiser, share_of_rate
from pipeline.training.segment import Segment
from pipeline.training.spread import Spread
from pipeline.training.sync import SyncLoss

if TYPE_CHECKING:
    from pipeline.training.loop import LoopConfig

Report = Callable[[int, int, float], None]
"""Told after every step: (step, of so many, loss)."""
WINDOWS, NOISE, DROPOUT = 1, 3, 4
"""What chance is needed for, so that each has its own."""


class Diverged(Exception):
    """A number of training is no number any more; every process of the run raises it at the same step. The weights are spoilt."""


class Descent:
    """The steps, counted through. The network and `sync` are on the device of `spread`."""

    def __init__(
        self, network: FusionNetwork, sync: SyncLoss, config: LoopConfig, loss: Loss, hops: Hops, report: Report, spread: Spread
    ) -> None:
        self._network, self._sync, self._config = network, sync, config
        self._loss, self._hops, self._report, self._spread = loss, hops, report, spread
        self._parameters = [*network.parameters(), *sync.parameters()]
        self._optimiser = make_optimiser(config.optimiser, self._parameters, config.learning_rate, config.weight_decay)
        self._done, self._total = 0, config.sync_steps + config.epochs * config.steps
        self.average = Average(network, config.average)

    def run(self, segments: Iterator[Segment], steps: int, *, sync_only: bool = False) -> tuple[float, float]:
        """So many steps over this process's share of the segments; gives the means of the loss and of the sync loss. Raises Diverged.

        sync_only takes a quarter of the windows: that loss looks at all their steps.
        """
        self._network.train()
        torch.manual_seed(int(np.random.SeedSequence((self._config.seed, DROPOUT, self._done, self._spread.rank)).generate_state(1)[0]))
        sums = np.zeros(2)
        windows = max(1, self._config.windows // 4) if sync_only else self._config.windows
        for _ in range(steps):
            losses = self._step(self._batch(segments, windows), sync_only=sync_only)
            sums += losses
            self._done += 1
            self._report(self._done, self._total, losses[0])
        self._spread.settle(self._network)
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self._parameters):
            raise Diverged(f"the weights were no longer finite after step {self._done} of {self._total}")
        loss, sync_loss = (sums / max(1, steps)).tolist()
        return loss, sync_loss

    def _batch(self, segments: Iterator[Segment], windows: int) -> Batch:
        """This process's share of the next batch, on its device."""
        seed, spread = self._config.seed, self._spread
        places = range(spread.rank, self._config.batch, spread.processes)
        draws = [np.random.default_rng((seed, WINDOWS, self._done, place)) for place in places]
        batch = make_batch(list(islice(segments, len(places))), windows, self._hops, draws)
        noise = np.random.default_rng((seed, NOISE, self._done, spread.rank))
        return augmented(batch, self._config.augment, noise).to(spread.device)

    def _step(self, batch: Batch, *, sync_only: bool) -> tuple[float, float]:
        """(the loss that was descended, the sync loss within it), of the batches of all processes."""
        config = self._config
        with torch.autocast(self._spread.device.type, dtype=torch.bfloat16, enabled=config.bfloat16):
            logits = forward(self._network, batch, every_step=config.every_hop)
            agreement = self._sync(batch) / self._spread.processes
        known = self._loss(*self._told(logits, batch)) + self._alone(batch)
        loss = agreement + 0 * known if sync_only else known + config.sync * agreement
        self._optimiser.zero_grad()
        loss.backward()
        whole = self._spread.sum_gradients(self._parameters, torch.stack([loss.detach(), agreement.detach()]))
        norm = nn.utils.clip_grad_norm_(self._parameters, 1.0)
        made, agreed, length = torch.cat([whole, norm[None]]).tolist()
        self._check(made, length)
        for group in self._optimiser.param_groups:
            group["lr"] = config.learning_rate * share_of_rate(config.schedule, self._done / self._total, config.warm_up)
        self._optimiser.step()
        self.average.update()
        return made, agreed

    def _check(self, loss: float, gradient: float) -> None:
        if not np.isfinite([loss, gradient]).all():
            what = f"loss was {loss}" if not np.isfinite(loss) else f"length of the gradient was {gradient}"
            raise Diverged(f"the {what} at step {self._done + 1} of {self._total}")

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
        return self._loss.alone * self._loss.plain(logits, batch.label)

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
        averaged, steps = self.average.snapshot()
        tensors |= {f"average.{name}": weight for name, weight in averaged.items()}
        return tensors, {"done": self._done, "averaged": steps}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        self._network.load_state_dict(under("network.", tensors))
        self._sync.load_state_dict(under("sync.", tensors))
        for number, parameter in enumerate(self._parameters):
            kept = under(f"optimiser.{number}.", tensors)
            self._optimiser.state[parameter] = {name: _like(tensor, parameter) for name, tensor in kept.items()}
        self.average.restore(under("average.", tensors), state["averaged"])
        self._done = state["done"]


def _like(kept: Tensor, parameter: Tensor) -> Tensor:
    """A moment, where its parameter is and laid out as that is; the count of steps stays on the CPU, where optimisers want it."""
    return torch.empty_like(parameter).copy_(kept) if kept.shape == parameter.shape and kept.ndim else kept


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
