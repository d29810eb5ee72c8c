"""The network in training: as an engine for evaluation, set to the statistics of its data, and what it is told beside the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from operators.fusion.steps import LocalCorrelation
from operators.network import FusionNetwork
from pipeline.training.batch import Batch
from pipeline.training.segment import Segment


class InTraining:
    """A FusionNetwork as `pipeline.evaluate.Engine`; puts it in eval mode."""

    def __init__(self, network: FusionNetwork) -> None:
        self._network = network.eval()

    def encode(self, stream: str, batch: NDArray[Any]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(self._network.encode(stream, torch.from_numpy(batch)).float().numpy())

    def fuse(self, inputs: Mapping[str, NDArray[np.float32]], presence: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        with torch.inference_mode():
            features = {name: torch.from_numpy(array) for name, array in inputs.items()}
            there = {name: torch.from_numpy(array) for name, array in presence.items()}
            return np.asarray(self._network.fuse(features, there).float().numpy())


def normalise(network: FusionNetwork, segments: Sequence[Segment]) -> None:
    """Tells every encoder that asks (set_normalisation) the mean and deviation of its packets, over all axes but the last."""
    for name, encoder in network.encoders.items():
        rows = np.concatenate([segment.packets[name] for segment in segments])
        if hasattr(encoder, "set_normalisation") and rows.size:
            flat = torch.from_numpy(rows).float().flatten(0, -2)
            encoder.set_normalisation(flat.mean(0), flat.std(0))  # type: ignore[operator]


class SyncLoss(nn.Module):
    """Teaches every LocalCorrelation of the head that what belongs together agrees at no delay, and less at any other.

    Source: the contrast of SyncNet (Chung and Zisserman 2016) with the delays as negatives, as a softmax
    (InfoNCE, van den Oord et al. 2018).
    It looks at the steps around the decision of those windows whose label says that the streams belong together.
    """

    def __init__(self, network: FusionNetwork, *, label: int, instant: float, reach: int = 6) -> None:
        super().__init__()
        self._label, self._instant, self._reach = label, instant, reach
        self._seen: list[tuple[Tensor, Tensor, int]] = []
        self.log_scale = nn.Parameter(torch.tensor(2.0))
        correlations = [module for module in network.modules() if isinstance(module, LocalCorrelation)]
        self._hooks = [module.register_forward_hook(self._note) for module in correlations]

    def close(self) -> None:
        """Lets go of the network."""
        for hook in self._hooks:
            hook.remove()
        self._seen.clear()

    def _note(self, module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        if torch.is_grad_enabled():
            assert isinstance(module, LocalCorrelation)  # noqa: S101 - hooked on no other
            self._seen.append((out, given[2] * given[3], 2 * module.lags + 1))

    def forward(self, batch: Batch) -> Tensor:
        """Of the last forward pass; 0 where nothing belonged together."""
        seen, self._seen = self._seen, []
        losses = [self._loss(agreement, there, lags, batch.label == self._label) for agreement, there, lags in seen]
        return torch.stack(losses).mean() if losses else torch.zeros(())

    def _loss(self, agreement: Tensor, there: Tensor, lags: int, together: Tensor) -> Tensor:
        instant = int(self._instant * agreement.shape[1])
        near = slice(max(0, instant - self._reach), instant + self._reach)
        cosines = agreement[:, near].reshape(len(agreement), -1, lags, agreement.shape[2] // lags)[together]  # (b, t, lags, views)
        rows = cosines[there[:, near][together] > 0.5]  # (r, lags, views)
        if not len(rows):
            return agreement.new_zeros(())
        logits = (rows * self.log_scale.exp()).transpose(1, 2).flatten(0, 1)  # (r * views, lags)
        return F.cross_entropy(logits.float(), _target(lags, logits.device).expand(len(logits), -1))


def _target(lags: int, device: torch.device) -> Tensor:
    """No delay; one step to either side may be a camera's own delay."""
    target = torch.zeros(lags, device=device)
    middle = lags // 2
    target[middle - 1 : middle + 2] = torch.tensor([0.15, 0.7, 0.15])
    return target
