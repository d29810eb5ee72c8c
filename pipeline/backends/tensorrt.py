"""TensorRT on an NVIDIA GPU, by either of its packages. Written and parsed everywhere, run on no GPU yet: see docs/engines.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.errors import BackendError, BackendUnavailable, EngineMismatch
from pipeline.backends.checks import check_fuse_arrays, check_packets
from pipeline.engines.builder import build_apart
from pipeline.engines.gpu import Gpu, find_gpu
from pipeline.engines.packing import Feed, Packing, in_parts
from pipeline.engines.plans import PlanCache, default_folder, plan_name
from pipeline.engines.trt import BATCHES, PACKAGES, Library, find_library
from pipeline.model import FUSE_FILE, Model, before_name, encoder_file


class TensorrtBackend:
    """Engines are built from the model's ONNX graphs for the GPU at hand, once, and kept in the plan cache.

    packages: the TensorRTs that may do it, the best first; the first that is installed does.
    A batch's inputs lie in one pinned buffer and go to the GPU in one copy. Larger batches than BATCHES[-1] are cut.
    Raises BackendUnavailable (no GPU, no TensorRT, no torch with CUDA) and EngineMismatch (TensorRT refuses a graph, with the node).
    """

    name = "tensorrt"
    bucket = BATCHES[1]

    def __init__(self, model: Model, *, threads: int = 1, cache: Path | None = None, packages: tuple[str, ...] = PACKAGES) -> None:
        gpu = find_gpu()
        if isinstance(gpu, str):
            raise BackendUnavailable(f"the tensorrt backend needs an NVIDIA GPU: {gpu}")
        library = find_library(packages)
        _need_cuda_torch()
        self._spec = model.spec
        plans, files = PlanCache(cache or default_folder()), [*(encoder_file(name) for name in model.spec.inputs), FUSE_FILE]
        self._engines = {file: _Engine(library, plan_of(model, library, gpu, plans, file, build=build_apart), file) for file in files}

    def encode(self, stream: str, batch: NDArray[Any], before: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        check_packets(self._spec, stream, batch, before)
        feed: dict[str, NDArray[Any]] = {stream: batch.astype(np.float32) if batch.dtype == np.float64 else batch}
        if before is not None:
            feed[before_name(stream)] = before
        return self._engines[encoder_file(stream)](feed)

    def fuse(self, inputs: Mapping[str, NDArray[np.float32]], presence: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        check_fuse_arrays(self._spec, inputs, presence)
        return self._engines[FUSE_FILE]({**inputs, **{f"{name}_presence": there for name, there in presence.items()}})


Build = Callable[[Library, bytes, str], bytes]


def plan_of(model: Model, library: Library, gpu: Gpu, plans: PlanCache, file: str, *, build: Build) -> bytes:
    """From the cache, else built now and kept. One that was tampered with is not used but built anew from the graph."""
    name = plan_name(model.digest, file, library.version, gpu.name, str(gpu.capability))
    try:
        plan = plans.load(name)
    except EngineMismatch:
        plan = None
    if plan is None:
        plan = build(library, model.read(file), file)
        plans.save(name, plan)
    return plan


class _Engine:
    """One plan with its buffers, for batches up to BATCHES[-1]. Its bytes have been checked by who gives them."""

    def __init__(self, library: Library, plan: bytes, file: str) -> None:
        import torch

        trt = library.module
        self._torch, self._file, self._library = torch, file, library
        self._runtime = trt.Runtime(library.logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EngineMismatch(f"{file}: {library.version} does not load the plan it built: {library.why()}")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EngineMismatch(f"{file}: {library.version} makes no context: {library.why()}")
        names = [self._engine.get_tensor_name(number) for number in range(self._engine.num_io_tensors)]
        self._inputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        (self._output,) = [name for name in names if name not in self._inputs]
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._host = torch.empty(0, dtype=torch.uint8)
        self._device = torch.empty(0, dtype=torch.uint8)

    def __call__(self, feed: Feed) -> NDArray[np.float32]:
        """Any number of rows; each array (n, ...) in the dtype of the engine's input."""
        parts = [self._run(part) for part in in_parts(feed, BATCHES[-1])]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _run(self, feed: Feed) -> NDArray[np.float32]:
        torch = self._torch
        places = self._pack(feed).places
        with torch.cuda.stream(self._stream):
            self._device.copy_(self._host, non_blocking=True)
            for name in self._inputs:
                self._context.set_input_shape(name, tuple(feed[name].shape))
                self._context.set_tensor_address(name, self._device.data_ptr() + places[name].start)
            # NaN, so that an output that was never written cannot pass for one.
            out = torch.full(tuple(self._context.get_tensor_shape(self._output)), float("nan"), device="cuda")
            self._context.set_tensor_address(self._output, out.data_ptr())
            if not self._context.execute_async_v3(self._stream.cuda_stream):
                raise BackendError(f"{self._file}: {self._library.version} failed: {self._library.why()}")
            made = out.to("cpu", non_blocking=True)
        self._stream.synchronize()
        return np.asarray(made.numpy(), np.float32)

    def _pack(self, feed: Feed) -> Packing:
        """All inputs into the one buffer."""
        packing = Packing({name: feed[name].nbytes for name in self._inputs})
        if packing.total != self._host.numel():
            self._host = self._torch.empty(packing.total, dtype=self._torch.uint8, pin_memory=True)
            self._device = self._torch.empty(packing.total, dtype=self._torch.uint8, device="cuda")
        packing.fill(self._host.numpy(), feed)
        return packing


def _need_cuda_torch() -> None:
    try:
        import torch
    except ImportError as error:
        raise BackendUnavailable(f"the tensorrt backend keeps its buffers with PyTorch ({error}); pip install torch") from None
    if not torch.cuda.is_available():
        raise BackendUnavailable(f"the tensorrt backend needs a PyTorch with CUDA; this is {torch.__version__}")
