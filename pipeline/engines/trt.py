"""TensorRT's builder, for both of its packages: `tensorrt` (data-centre GPUs) and `tensorrt-rtx` (RTX GPUs; builds on any machine).

Networks are strongly typed: what is computed in which precision stands in the graph, and no builder flag changes it but TF32,
which is turned off.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any

from operators.errors import BackendUnavailable, EngineMismatch

PACKAGES = ("tensorrt", "tensorrt_rtx")
BATCHES = (1, 32, 256)
"""Smallest, usual and largest batch of the one profile that an engine has."""
_DOUBLE, _FLOAT = 11, 1  # onnx.TensorProto


@dataclass(slots=True)
class Library:
    """One of PACKAGES, and what it complained about."""

    module: Any
    name: str
    said: list[str] = field(default_factory=list)
    logger: Any = None

    @property
    def version(self) -> str:
        return f"{self.name} {self.module.__version__}"

    def build(self, graph: bytes, file: str) -> bytes:
        """ONNX bytes -> a plan for this machine's GPU (tensorrt_rtx: for any it supports). Raises EngineMismatch, with the node's name."""
        builder = self.module.Builder(self.logger)
        network, parser = self._parsed(builder, graph, file)
        config, profile = builder.create_builder_config(), builder.create_optimization_profile()
        config.clear_flag(self.module.BuilderFlag.TF32)  # on by default: products of float32 would have 10 bits of fraction instead of 23
        for number in range(network.num_inputs):
            tensor = network.get_input(number)
            profile.set_shape(tensor.name, *[(batch, *tuple(tensor.shape)[1:]) for batch in BATCHES])
        config.add_optimization_profile(profile)
        plan = builder.build_serialized_network(network, config)
        del parser  # not before: it holds the weights of the network
        if plan is None:
            raise EngineMismatch(f"{file}: {self.version} cannot build an engine: {self.why()}")
        return bytes(plan)

    def check(self, graph: bytes, file: str) -> int:
        """Parses and types the graph; gives the number of its layers. Raises EngineMismatch, with the node's name."""
        network, _ = self._parsed(self.module.Builder(self.logger), graph, file)
        return int(network.num_layers)

    def _parsed(self, builder: Any, graph: bytes, file: str) -> tuple[Any, Any]:  # noqa: ANN401 - trt.Builder, INetworkDefinition, OnnxParser
        flag = getattr(self.module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        network = builder.create_network(0 if flag is None else 1 << int(flag))
        parser = self.module.OnnxParser(network, self.logger)
        if not parser.parse(without_doubles(graph, file)):
            raise EngineMismatch(f"{file}: {self.version} refuses {_refusal(parser)}")
        return network, parser

    def why(self) -> str:
        return " ".join(" ".join(self.said[-2:]).split())[:300] or "it does not say why"


def find_library(names: tuple[str, ...] = PACKAGES) -> Library:
    """The first of these packages that is installed. Raises BackendUnavailable."""
    for name in names:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        library = Library(module, name)
        library.logger = _logger(module, library.said)
        return library
    hint = "pip install 'sensorium[tensorrt-rtx]', or 'sensorium[tensorrt]' from NVIDIA's own index"
    raise BackendUnavailable(f"TensorRT is not installed; {hint}")


def without_doubles(graph: bytes, file: str) -> bytes:
    """TensorRT knows no float64: inputs of it become float32. The first thing such a graph does is to cast them."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        proto = onnx.load_model_from_string(graph)
    except DecodeError:
        raise EngineMismatch(f"{file}: is no ONNX graph; export the model again") from None
    doubles = [value for value in proto.graph.input if value.type.tensor_type.elem_type == _DOUBLE]
    if not doubles:
        return graph
    for value in doubles:
        value.type.tensor_type.elem_type = _FLOAT
    return bytes(proto.SerializeToString(deterministic=True))


def _refusal(parser: Any) -> str:  # noqa: ANN401 - trt.OnnxParser
    if not parser.num_errors:
        return "the graph without saying why"
    error = parser.get_error(0)
    what = " ".join(str(error.desc()).split())[:240]
    operator = error.node_operator() if hasattr(error, "node_operator") else ""
    name = error.node_name() if hasattr(error, "node_name") else ""
    node = f"node {error.node()}" + (f" ({' '.join(part for part in (operator, name) if part)})" if operator or name else "")
    return f"{node}: {what}"


def _logger(module: Any, said: list[str]) -> Any:  # noqa: ANN401 - trt.ILogger
    class Logger(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:  # noqa: ANN401 - trt.ILogger.Severity
            if severity <= module.ILogger.Severity.ERROR:
                said.append(message)
                del said[:-20]

    return Logger()
