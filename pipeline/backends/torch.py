"""PyTorch, from the weights: the yardstick for the exported graphs, and what a machine without ONNX Runtime can use.

On the CPU the network runs eagerly; where PyTorch has a GPU, as CUDA graphs (run on no GPU yet: see docs/engines.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from operators.errors import BackendUnavailable, ContractError, EngineMismatch
from pipeline.backends.checks import check_fuse_arrays, check_packets
from pipeline.engines.cuda_graphs import Bucketed, Call, Capture, attribute_call, capture, network_calls
from pipeline.engines.packing import Feed
from pipeline.model import FUSE_FILE, WEIGHTS_FILE, Model, ModelSpec, before_name, encoder_file

if TYPE_CHECKING:
    from operators.network import FusionNetwork

Run = Callable[[Feed], NDArray[np.float32]]


class Runs:
    """A backend of one run a graph, by its file's name; refuses what the others refuse."""

    name = "runs"

    def __init__(self, spec: ModelSpec, runs: Mapping[str, Run]) -> None:
        self._spec, self._runs = spec, runs

    def encode(self, stream: str, batch: NDArray[Any], before: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        check_packets(self._spec, stream, batch, before)
        return self._runs[encoder_file(stream)]({stream: batch} if before is None else {stream: batch, before_name(stream): before})

    def fuse(self, inputs: Mapping[str, NDArray[np.float32]], presence: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        check_fuse_arrays(self._spec, inputs, presence)
        return self._runs[FUSE_FILE]({**inputs, **{f"{name}_presence": there for name, there in presence.items()}})


class TorchBackend(Runs):
    """`threads` is PyTorch's own count, of the CPU, and holds for the whole process.

    bucket: only on a GPU, where batches up to it cost about the same.
    Raises BackendUnavailable (no PyTorch) and EngineMismatch (weights that do not fit; a network that CUDA cannot capture).
    """

    name = "torch"

    def __init__(self, model: Model, *, threads: int = 1) -> None:
        try:
            import torch
        except ImportError as error:
            raise BackendUnavailable(f"the torch backend needs PyTorch ({error}); pip install torch") from None
        torch.set_num_threads(threads)
        if torch.cuda.is_available():
            self.bucket = 32
            super().__init__(model.spec, graphed(model, device="cuda", capture=capture))
        else:
            network = load_network(model)
            super().__init__(model.spec, {file: eager(call) for file, call in network_calls(network, model.spec).items()})
            if model.spec.attributes:  # not on a GPU, where a batch of all sets costs about what a single row does
                self._attribute = eager(attribute_call(network, model.spec))
                self.coalitions = self._coalitions

    def _coalitions(self, inputs: Mapping[str, NDArray[np.float32]], presence: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        check_fuse_arrays(self._spec, inputs, presence)
        return self._attribute({**inputs, **{f"{name}_presence": there for name, there in presence.items()}})


def eager(call: Call) -> Run:
    """A call as it stands, on the CPU."""
    import torch

    def run(feed: Feed) -> NDArray[np.float32]:
        with torch.inference_mode():
            return call.run({name: torch.tensor(rows) for name, rows in feed.items()}).numpy()

    return run


def graphed(model: Model, *, device: str, capture: Capture) -> Mapping[str, Run]:
    """Every graph of the model, captured at every bucket. Raises EngineMismatch."""
    network = load_network(model)
    try:
        calls = network_calls(network.to(device), model.spec)
        return {file: Bucketed(call, device=device, capture=capture) for file, call in calls.items()}
    except RuntimeError as error:  # also a GPU whose memory is at its end
        said = " ".join(str(error).split())[:300]
        raise EngineMismatch(f"model {model.name}: its network cannot be captured as CUDA graphs: {said}") from None


def load_network(model: Model) -> FusionNetwork:
    """The model's network with its weights, ready to run (eval mode). Raises EngineMismatch where weights and model.yaml disagree."""
    import safetensors

    from operators.network import build_network
    from pipeline.weights import read_weights

    try:
        network = build_network(model.spec)
        network.load_state_dict(read_weights(model))
    except (ContractError, RuntimeError, safetensors.SafetensorError) as error:  # RuntimeError: names or shapes differ
        raise EngineMismatch(f"model {model.name}: {WEIGHTS_FILE} does not fit model.yaml: {' '.join(str(error).split())[:300]}") from None
    return network.eval()
