"""The network in training: as an engine for evaluation, and set to the statistics of its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from operators.encoders import FrameCNN
from operators.errors import ConfigError
from operators.network import FusionNetwork
from pipeline.model import Model
from pipeline.training.segment import Segment
from pipeline.weights import read_weights


class InTraining:
    """A FusionNetwork as `pipeline.evaluate.Engine`, on the device that it is on; puts it in eval mode."""

    def __init__(self, network: FusionNetwork) -> None:
        self._network = network.eval()
        self._device = network.device()

    def encode(self, stream: str, batch: NDArray[Any], before: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        with torch.inference_mode():
            made = self._network.encode(stream, self._there(batch), None if before is None else self._there(before))
            return np.asarray(made.float().cpu().numpy())

    def fuse(self, inputs: Mapping[str, NDArray[np.float32]], presence: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        with torch.inference_mode():
            features = {name: self._there(array) for name, array in inputs.items()}
            there = {name: self._there(array) for name, array in presence.items()}
            return np.asarray(self._network.fuse(features, there).float().cpu().numpy())

    def _there(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)


def begin_with(network: FusionNetwork, model: Model) -> None:
    """Gives the network the model's weights, the statistics of its data among them. Raises ConfigError if they are of another shape.

    Its offsets stay behind: they are fitted when training is over.
    """
    weights = read_weights(model)
    weights.pop("offsets", None)
    own = network.state_dict()
    for name in own | weights:
        there, here = (f"of shape {tuple(tensors[name].shape)}" if name in tensors else "missing" for tensors in (weights, own))
        if there != here:
            problem = f"{name} is {there} in these weights, {here} in the model of this config"
            raise ConfigError(str(model.folder), "start", problem, "only a model of the same inputs, encoders and head can be trained on")
    network.load_state_dict(weights)


def normalise(network: FusionNetwork, segments: Sequence[Segment]) -> None:
    """Tells every encoder that asks (set_normalisation) the mean and deviation of its packets, over all axes but the last."""
    for name, encoder in network.encoders.items():
        rows = np.concatenate([segment.packets[name] for segment in segments])
        if hasattr(encoder, "set_normalisation") and rows.size:
            flat = torch.from_numpy(rows).float().flatten(0, -2)
            encoder.set_normalisation(flat.mean(0), flat.std(0))  # type: ignore[operator]


def channels_last(network: FusionNetwork) -> None:
    """Lays pictures out in memory as convolutions are quickest with: 1.25 to 1.6 times as fast for FrameCNN on a CPU (docs/training.md).

    Not in networks of somebody's own: `view` after a convolution would no longer work in them.
    """
    for encoder in network.encoders.values():
        if type(encoder) is FrameCNN:
            encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
