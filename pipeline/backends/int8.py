"""ONNX Runtime on the CPU with int8 weights: a quarter of the memory; what it costs in accuracy, `sensorium export` shows."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.errors import BackendUnavailable
from pipeline.backends.onnx import OnnxBackend
from pipeline.model import Model
from pipeline.ports import Attributing


class Int8Backend:
    """The exported graphs, their matrix products quantised when the model is loaded: int8 weights, activations scaled as they come.

    Only products (MatMul, Gemm) are: dynamic int8 convolutions are slower than float ones on CPUs. Nothing is kept on disk.
    Source: Jacob et al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic-only inference".
    """

    name = "int8"

    def __init__(self, model: Model, *, threads: int = 1) -> None:
        self._backend = OnnxBackend(model, threads=threads, change=quantised)
        if isinstance(self._backend, Attributing):
            self.coalitions = self._backend.coalitions

    def encode(self, stream: str, batch: NDArray[Any], before: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        return self._backend.encode(stream, batch, before)

    def fuse(self, inputs: Mapping[str, NDArray[np.float32]], presence: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        return self._backend.fuse(inputs, presence)


def quantised(graph: bytes) -> bytes:
    """ONNX bytes -> ONNX bytes. Raises BackendUnavailable where the package onnx is missing."""
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise BackendUnavailable(f"the int8 backend needs onnx ({error}); pip install 'sensorium[train]'") from None
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, made = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(graph)
        quantize_dynamic(source, made, op_types_to_quantize=["MatMul", "Gemm"], weight_type=QuantType.QInt8)
        return made.read_bytes()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser recommends its own pre-processing at each call."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.root.setLevel(level)
