"""ONNX Runtime on the CPU: the default engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from operators.errors import BackendError, BackendUnavailable, EngineMismatch
from pipeline.backends.checks import check_fuse_arrays, check_packets
from pipeline.model import ATTRIBUTE_FILE, FUSE_FILE, Model, before_name, encoder_file

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_DTYPES = {"tensor(uint8)": "uint8", "tensor(int64)": "int64", "tensor(float)": "float32", "tensor(double)": "float64"}
_QUIET = 3  # errors only: ONNX Runtime's warnings are about its own optimiser


class OnnxBackend:
    """Runs the exported graphs. Built from bytes that were checked against model.yaml, so what was checked is what runs.

    change: what is done to a graph's bytes before it is loaded (int8).
    A single thread by default: on these small graphs a second one costs more than it gives, and sessions share the machine.
    """

    name = "onnx"

    def __init__(self, model: Model, *, threads: int = 1, change: Callable[[bytes], bytes] = bytes) -> None:
        self._spec = model.spec
        self._encoders = {name: _session(model, encoder_file(name), threads, change) for name in model.spec.inputs}
        self._fuse = _session(model, FUSE_FILE, threads, change)
        for name, session in self._encoders.items():
            _check_encoder(model, name, session)
        _check_fuse(model, FUSE_FILE, self._fuse, (model.spec.outputs,))
        if model.spec.attributes:
            self._attribute = _session(model, ATTRIBUTE_FILE, threads, change)
            _check_fuse(model, ATTRIBUTE_FILE, self._attribute, (1 << len(model.spec.inputs), model.spec.outputs))
            self.coalitions = self._coalitions  # only then: see pipeline.ports.Attributing

    def encode(self, stream: str, batch: NDArray[Any], before: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        check_packets(self._spec, stream, batch, before)
        feed = {stream: batch} if before is None else {stream: batch, before_name(stream): before}
        return self._encoders[stream].run(None, feed)[0]  # type: ignore[no-any-return]

    def fuse(self, inputs: Mapping[str, NDArray[np.float32]], presence: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        return self._fuse.run(None, self._feed(inputs, presence))[0]  # type: ignore[no-any-return]

    def _coalitions(self, inputs: Mapping[str, NDArray[np.float32]], presence: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        return self._attribute.run(None, self._feed(inputs, presence))[0]  # type: ignore[no-any-return]

    def _feed(
        self, inputs: Mapping[str, NDArray[np.float32]], presence: Mapping[str, NDArray[np.float32]]
    ) -> dict[str, NDArray[np.float32]]:
        check_fuse_arrays(self._spec, inputs, presence)
        feed = {name: inputs[name] for name in self._spec.inputs}
        return feed | {f"{name}_presence": presence[name] for name in self._spec.inputs}


def _session(model: Model, file: str, threads: int, change: Callable[[bytes], bytes]) -> InferenceSession:
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendUnavailable(f"the onnx backend needs onnxruntime ({error}); pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _QUIET
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # a waiting session must not burn a core
    try:
        return onnxruntime.InferenceSession(change(model.read(file)), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no common base for its errors; none is passed over, each becomes one of ours
        if isinstance(error, BackendError):
            raise
        raise EngineMismatch(f"model {model.name}: {file} is not a graph that ONNX Runtime can run: {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _check_encoder(model: Model, name: str, session: InferenceSession) -> None:
    spec = model.spec.inputs[name]
    wanted_in, wanted_out = {name: (spec.dtype, spec.shape)}, [("float32", (spec.encoder.dim,))]
    if spec.encoder.carry:
        wanted_in[before_name(name)] = ("float32", (spec.encoder.dim,))
    _check_graph(model, encoder_file(name), session, wanted_in, wanted_out)


def _check_fuse(model: Model, file: str, session: InferenceSession, given: tuple[int, ...]) -> None:
    wanted: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, spec in model.spec.inputs.items():
        wanted[name] = ("float32", (spec.steps, spec.encoder.dim))
        wanted[f"{name}_presence"] = ("float32", (spec.steps,))
    _check_graph(model, file, session, wanted, [("float32", given)])


def _check_graph(
    model: Model,
    file: str,
    session: InferenceSession,
    inputs: Mapping[str, tuple[str, tuple[int, ...]]],
    outputs: Sequence[tuple[str, tuple[int, ...]]],
) -> None:
    """Names, dtypes and shapes after the batch axis must be those of model.yaml."""
    found = {node.name: _signature(node) for node in session.get_inputs()}
    if found != dict(inputs):
        raise EngineMismatch(f"model {model.name}: {file} takes {found}, model.yaml says {dict(inputs)}; export the model again")
    given = [_signature(node) for node in session.get_outputs()]
    if given != list(outputs):
        raise EngineMismatch(f"model {model.name}: {file} gives {given}, model.yaml says {outputs}; export the model again")


def _signature(node: Any) -> tuple[str, tuple[int, ...]]:  # noqa: ANN401 - onnxruntime.NodeArg, which has no stubs
    return _DTYPES.get(node.type, node.type), tuple(node.shape[1:])
