"""PyTorch on the CPU, from the weights: the yardstick for the exported graphs, and what a machine without ONNX Runtime can use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from operators.errors import BackendUnavailable, ContractError, EngineMismatch
from pipeline.backends.checks import check_fuse_arrays, check_packets
from pipeline.model import WEIGHTS_FILE, Model

if TYPE_CHECKING:
    from operators.network import FusionNetwork


class TorchBackend:
    """Runs the network eagerly. `threads` is PyTorch's own count and holds for the whole process."""

    name = "torch"

    def __init__(self, model: Model, *, threads: int = 1) -> None:
        try:
            import torch
        except ImportError as error:
            raise BackendUnavailable(f"the torch backend needs PyTorch ({error}); pip install torch") from None
        torch.set_num_threads(threads)
        self._spec = model.spec
        self._network = load_network(model)

    def encode(self, stream: str, batch: NDArray[Any], before: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        import torch

        check_packets(self._spec, stream, batch, before)
        with torch.inference_mode():
            return self._network.encode(stream, torch.tensor(batch), None if before is None else torch.tensor(before)).numpy()

    def fuse(self, inputs: Mapping[str, NDArray[np.float32]], presence: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        import torch

        check_fuse_arrays(self._spec, inputs, presence)
        features = {name: torch.tensor(inputs[name]) for name in self._spec.inputs}
        present = {name: torch.tensor(presence[name]) for name in self._spec.inputs}
        with torch.inference_mode():
            return self._network.fuse(features, present).numpy()


def load_network(model: Model) -> FusionNetwork:
    """The model's network with its weights, ready to run (eval mode). Raises EngineMismatch where weights and model.yaml disagree."""
    import safetensors
    import safetensors.torch

    from operators.network import build_network

    try:
        network = build_network(model.spec)
        network.load_state_dict(safetensors.torch.load(model.read(WEIGHTS_FILE)))
    except (ContractError, RuntimeError, safetensors.SafetensorError) as error:  # RuntimeError: names or shapes differ
        raise EngineMismatch(f"model {model.name}: {WEIGHTS_FILE} does not fit model.yaml: {' '.join(str(error).split())[:300]}") from None
    return network.eval()
