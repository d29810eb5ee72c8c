"""Engines that run a model directory. One file each, `pipeline/backends/<name>.py`, with one class `<Name>Backend(model, *, threads)`.

auto       tensorrt where there is a GPU and TensorRT takes the model, else onnx
tensorrt   falls back to onnx, and says so in its name, which every status shows
onnx       ONNX Runtime on the CPU
int8       the same with int8 weights, made when it is loaded
torch      PyTorch: eager on the CPU, CUDA graphs where it has a GPU
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.errors import BackendUnavailable, EngineMismatch
from pipeline.model import Model
from pipeline.ports import Attributing, Backend

NAMES = ("auto", "onnx", "int8", "torch", "tensorrt")
_CPU = "onnx"  # the fastest on a CPU of those that need nothing but the default installation


class Fallback:
    """The engine that runs in place of one that refused; `name` says both."""

    def __init__(self, backend: Backend, refused: str, why: str) -> None:
        self._backend = backend
        self.name = f"{backend.name} ({refused} refused: {why})"
        if isinstance(backend, Attributing):
            self.coalitions = backend.coalitions

    def encode(self, stream: str, batch: NDArray[Any], before: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        return self._backend.encode(stream, batch, before)

    def fuse(self, inputs: Mapping[str, NDArray[np.float32]], presence: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        return self._backend.fuse(inputs, presence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What `auto` came to, and why, in a few words."""

    backend: Backend
    why: str


def make_backend(name: str, model: Model, *, threads: int = 1) -> Backend:
    """A backend by its name. Raises BackendUnavailable, EngineMismatch."""
    if name == "auto":
        return choose_backend(model, threads=threads).backend
    if name == "tensorrt":
        try:
            return _make(name, model, threads)
        except (BackendUnavailable, EngineMismatch) as error:
            return Fallback(_make(_CPU, model, threads), name, str(error))
    return _make(name, model, threads)


def choose_backend(model: Model, *, threads: int = 1) -> Choice:
    """The best engine for this machine. A GPU that cannot be used costs a line, not the run."""
    from pipeline.engines.gpu import find_gpu

    gpu = find_gpu()
    if isinstance(gpu, str):
        return Choice(backend=_make(_CPU, model, threads), why=gpu)
    try:
        return Choice(backend=_make("tensorrt", model, threads), why=gpu.name)
    except (BackendUnavailable, EngineMismatch) as error:
        return Choice(backend=_make(_CPU, model, threads), why=f"{gpu.name} is not used: {error}")


def _make(name: str, model: Model, threads: int) -> Backend:
    module_name = f"pipeline.backends.{name}"
    try:
        made: Any = getattr(importlib.import_module(module_name), f"{name.capitalize()}Backend", None) if name.isidentifier() else None
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        made = None
    if made is None:
        raise BackendUnavailable(f"there is no backend {name!r}; say {', '.join(NAMES[:-1])} or {NAMES[-1]}")
    backend: Backend = made(model, threads=threads)
    return backend
