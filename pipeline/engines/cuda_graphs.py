"""A network on a GPU by CUDA graphs: everything a batch costs the CPU is one copy in, one replay, one copy out.

Only `capture` needs a GPU. The rest runs on any device, and is tested on the CPU with a capture that calls what it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engines.packing import BUCKETS, Feed, Packing, bucket_of, in_parts, row_count
from pipeline.model import FUSE_FILE, ModelSpec, before_name, encoder_file

if TYPE_CHECKING:
    from torch import Tensor

    from operators.network import FusionNetwork

Work = Callable[[], None]
Capture = Callable[[Work], Work]
"""Work on fixed tensors -> what does the same work again each time it is called."""
_WARM_UPS = 3  # libraries choose their kernels and allocate in the first calls, which no graph may hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One graph of a model. inputs: shape of one row and dtype of each; width: numbers of a row of the output; run: the network's part."""

    inputs: Mapping[str, tuple[tuple[int, ...], str]]
    width: int
    run: Callable[[Mapping[str, Tensor]], Tensor]


def network_calls(network: FusionNetwork, spec: ModelSpec) -> dict[str, Call]:
    """File name of each exported graph -> the same by the network itself, with the same inputs."""
    calls = {encoder_file(name): _encode_call(network, spec, name) for name in spec.inputs}
    return {**calls, FUSE_FILE: _head_call(network.fuse, spec)}


def attribute_call(network: FusionNetwork, spec: ModelSpec) -> Call:
    """The network's `coalitions`, for a model that has a graph of them. Its rows are no vectors, so it is not for `Captured`."""
    return _head_call(network.coalitions, spec)


def _encode_call(network: FusionNetwork, spec: ModelSpec, name: str) -> Call:
    part, before = spec.inputs[name], before_name(name)
    inputs = {name: (part.shape, part.dtype)} | ({before: ((part.encoder.dim,), "float32")} if part.encoder.carry else {})
    return Call(inputs=inputs, width=part.encoder.dim, run=lambda given: network.encode(name, given[name], given.get(before)))


def _head_call(run_head: Callable[[dict[str, Tensor], dict[str, Tensor]], Tensor], spec: ModelSpec) -> Call:
    inputs: dict[str, tuple[tuple[int, ...], str]] = {}
    for name, part in spec.inputs.items():
        inputs[name] = ((part.steps, part.encoder.dim), "float32")
        inputs[f"{name}_presence"] = ((part.steps,), "float32")

    def run(given: Mapping[str, Tensor]) -> Tensor:
        return run_head({name: given[name] for name in spec.inputs}, {name: given[f"{name}_presence"] for name in spec.inputs})

    return Call(inputs=inputs, width=spec.outputs, run=run)


class Bucketed:
    """A call for any number of rows: filled up to the next of BUCKETS, cut where there are more than the largest holds.

    Every bucket is captured at once: a graph that is made only when it is wanted would hold up the decision that wants it.
    """

    def __init__(self, call: Call, *, device: str, capture: Capture) -> None:
        self._calls = {rows: Captured(call, rows, device=device, capture=capture) for rows in BUCKETS}

    def __call__(self, feed: Feed) -> NDArray[np.float32]:
        made = [self._calls[bucket_of(row_count(part))](part) for part in in_parts(feed, BUCKETS[-1])]
        return made[0] if len(made) == 1 else np.concatenate(made)


class Captured:
    """A call for batches of up to `rows` rows, on tensors that stay where they are: one packed buffer and one output."""

    def __init__(self, call: Call, rows: int, *, device: str, capture: Capture) -> None:
        import torch

        self._packing = Packing({name: rows * _bytes(shape, dtype) for name, (shape, dtype) in call.inputs.items()})
        self._host = torch.zeros(self._packing.total, dtype=torch.uint8, pin_memory=device != "cpu")
        self._device = self._host.to(device, copy=True)
        given = {name: self._view(name, (rows, *shape), dtype) for name, (shape, dtype) in call.inputs.items()}
        # Not the graph's own memory: what is put here before a replay can then only be overwritten by the result.
        self._out = torch.empty((rows, call.width), device=device)

        def work() -> None:
            with torch.inference_mode():
                self._out.copy_(call.run(given))

        self._work = work  # kept: a CUDA graph knows the addresses of weights and buffers, and owns neither
        self._replay = capture(work)

    def _view(self, name: str, shape: tuple[int, ...], dtype: str) -> Tensor:
        import torch

        return self._device[self._packing.places[name]].view(getattr(torch, dtype)).view(shape)

    def __call__(self, feed: Feed) -> NDArray[np.float32]:
        """What it gives is the caller's. Waits for the device, so the buffers are free again."""
        self._packing.fill(self._host.numpy(), feed)
        self._device.copy_(self._host, non_blocking=True)
        self._out.fill_(float("nan"))  # so that an output that was never written cannot pass for one
        self._replay()
        return self._out[: row_count(feed)].to("cpu", copy=True).numpy()


def _bytes(shape: tuple[int, ...], dtype: str) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def capture(work: Work) -> Work:
    """A CUDA graph of the work. Raises RuntimeError for what cannot be captured, such as a wait for the GPU in its midst."""
    import torch

    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), exact():
        for _ in range(_WARM_UPS):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # thread_local: what other threads do with the GPU meanwhile is not ours to forbid. The stream is that of the warming up: libraries
    # keep handles by stream, and one that is made while a graph is being captured breaks it.
    with exact(), torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        work()
    return graph.replay


@contextmanager
def exact() -> Iterator[None]:
    """float32 is float32 also in convolutions, which PyTorch otherwise rounds to TF32, and the same input gives the same bits."""
    import torch

    flags: Any = torch.backends.cudnn.flags
    with flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield
