"""From a trained network to a model directory: weights, ONNX graphs, metrics, card, and model.yaml with the digest of each.

Rules that TensorRT needs too: opset 18, only the batch axis is dynamic, uint8 is cast first, no control flow.
Every graph is compared with the network in float64 before it counts (`pipeline.parity`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import yaml
from torch import Tensor, nn

from operators.attribution import MOST_STREAMS
from operators.errors import BackendUnavailable, EngineMismatch
from operators.network import FusionNetwork
from pipeline.model import ATTRIBUTE_FILE, FUSE_FILE, SPEC_FILE, WEIGHTS_FILE, Model, ModelSpec, before_name, encoder_file, load_model
from pipeline.parity import LARGEST_ERROR, ParityReport, check_parity
from pipeline.weights import read_weights

OPSET = 18
_DTYPES = {"uint8": torch.uint8, "int64": torch.int64, "float32": torch.float32, "float64": torch.float64}


class _Encode(nn.Module):
    """One encoder as a graph of its own."""

    def __init__(self, network: FusionNetwork, name: str) -> None:
        super().__init__()
        self.network, self.name = network, name

    def forward(self, x: Tensor, before: Tensor | None = None) -> Tensor:
        if before is not None:
            before = before.to(next(self.network.head.parameters()).dtype)
        return self.network.encode(self.name, x, before).float()  # a half network takes and gives float32 all the same


class _Fuse(nn.Module):
    """The head as a graph: embeddings of all inputs, then presence of all inputs, in the model's order."""

    def __init__(self, network: FusionNetwork, names: list[str]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.network.fuse(*self._named(tensors)).float()

    def _named(self, tensors: tuple[Tensor, ...]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        count = len(self.names)
        width = next(self.network.head.parameters()).dtype
        features = {name: tensor.to(width) for name, tensor in zip(self.names, tensors[:count], strict=True)}
        return features, {name: tensor.to(width) for name, tensor in zip(self.names, tensors[count:], strict=True)}


class _Attribute(_Fuse):
    """The head for every set of inputs."""

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.network.coalitions(*self._named(tensors)).float()


def save_model(network: FusionNetwork, spec: ModelSpec, metrics: Mapping[str, Any], card: str, folder: Path) -> tuple[Model, ParityReport]:
    """Writes the model directory and reads it back. card: Markdown, what a person must know; facts of the files are added.

    model.yaml comes last: a directory whose writing was cut off is refused, never half believed.
    Raises BackendUnavailable (no exporter), EngineMismatch (does not export, or the graphs compute something else).
    """
    network = network.eval()
    contents = {WEIGHTS_FILE: _weights(network), **export_graphs(network, spec)}
    if shares_coalitions(network):
        contents[ATTRIBUTE_FILE] = attribute_graph(network, spec)
    sealed = spec.model_copy(update={"files": {name: hashlib.sha256(contents[name]).hexdigest() for name in sorted(contents)}})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SPEC_FILE).unlink(missing_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / SPEC_FILE).write_text(_yaml(sealed), "utf-8")
    model = load_model(folder)
    report = check_parity(network, model)
    if report.worst > LARGEST_ERROR:
        (folder / SPEC_FILE).unlink()
        found = f"a relative {report.worst:.1e} ({report.worst_case})"
        raise EngineMismatch(f"model {spec.name}: the graphs are off by {found}, {LARGEST_ERROR:.0e} is allowed")
    (folder / "metrics.json").write_text(json.dumps({**metrics, "parity": report.to_json()}, indent=1) + "\n", "utf-8")
    (folder / "README.md").write_text(model_card(model, card, report), "utf-8")
    return model, report


def export_graphs(network: FusionNetwork, spec: ModelSpec) -> dict[str, bytes]:
    """File name -> ONNX bytes, for every encoder and the head; the network is in eval mode."""
    graphs = {encoder_file(name): encoder_graph(network, spec, name) for name in spec.inputs}
    return {**graphs, FUSE_FILE: fuse_graph(network, spec)}


def encoder_graph(network: FusionNetwork, spec: ModelSpec, name: str) -> bytes:
    part = spec.inputs[name]
    examples = [torch.zeros((2, *part.shape), dtype=_DTYPES[part.dtype])]
    names = [name]
    if part.encoder.carry:
        examples.append(torch.zeros(2, part.encoder.dim))
        names.append(before_name(name))
    return _export(_Encode(network, name), tuple(examples), names, f"{name}_embedding", encoder_file(name))


def fuse_graph(network: FusionNetwork, spec: ModelSpec) -> bytes:
    return _head_graph(_Fuse(network, list(spec.inputs)), spec, FUSE_FILE)


def shares_coalitions(network: FusionNetwork) -> bool:
    """Its head has a way to fuse every set of the inputs at once, and there are not too many sets."""
    return hasattr(network.head, "coalitions") and len(network.encoders) <= MOST_STREAMS


def attribute_graph(network: FusionNetwork, spec: ModelSpec) -> bytes:
    """What fuse_graph takes, out of which come logits (batch, 2 ** inputs, outputs). Only where shares_coalitions(network)."""
    return _head_graph(_Attribute(network, list(spec.inputs)), spec, ATTRIBUTE_FILE)


def _head_graph(module: _Fuse, spec: ModelSpec, file: str) -> bytes:
    names = list(spec.inputs)
    features = [torch.zeros(2, part.steps, part.encoder.dim) for part in spec.inputs.values()]
    presence = [torch.ones(2, part.steps) for part in spec.inputs.values()]
    graph_inputs = [*names, *(f"{name}_presence" for name in names)]
    return _export(module, (*features, *presence), graph_inputs, "logits", file)


def _export(module: nn.Module, examples: tuple[Tensor, ...], inputs: list[str], output: str, file: str) -> bytes:
    batch = torch.export.Dim("batch", min=1, max=4096)
    shapes: Any = tuple({0: batch} for _ in examples)
    try:
        with _quiet_exporter():
            program = torch.onnx.export(
                module.eval(),
                examples,
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=(shapes,) if isinstance(module, _Fuse) else shapes,
                verbose=False,
            )
    except ImportError as error:
        raise BackendUnavailable(f"exporting needs onnx and onnxscript ({error}); pip install 'sensorium[train]'") from None
    except torch.onnx.errors.OnnxExporterError as error:
        raise EngineMismatch(
            f"{file} does not export: {_cause(error)}; "
            f"use plain tensor operations of opset {OPSET}, no branch on values, only the batch axis free"
        ) from error
    assert program is not None  # noqa: S101 - torch says None only without dynamo
    return _strip(program.model_proto, inputs, output)


def _strip(proto: Any, inputs: list[str], output: str) -> bytes:  # noqa: ANN401 - onnx.ModelProto; onnx is an extra
    """Takes out stack traces and doc strings: they name paths of the machine that exported, and make equal graphs differ."""
    graph = proto.graph
    _rename(graph, {**dict(zip((value.name for value in graph.input), inputs, strict=True)), graph.output[0].name: output})
    for item in [proto, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    return bytes(proto.SerializeToString(deterministic=True))


def _rename(graph: Any, outer: Mapping[str, str]) -> None:  # noqa: ANN401 - onnx.GraphProto
    """`outer` names for what the graph takes and gives, numbers for all within: the exporter's own names may clash with an input's."""
    names = {"": "", **outer}  # "" stands for an input that is left out
    for name in [*(value.name for value in graph.initializer), *(name for node in graph.node for name in node.output if name)]:
        names.setdefault(name, str(len(names)))
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        node.name = ""
    for value in [*graph.input, *graph.output, *graph.initializer, *graph.value_info]:
        value.name = names.get(value.name, value.name)


def _cause(error: BaseException) -> str:
    """The exporter's own text is a page of colours; the exception it came from has the one line that helps."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:300]


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """The exporter logs every optional package that it misses and warns about torch's own deprecations: nothing of ours to act on."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.filterwarnings("ignore", message=".*axis name: batch will not be used", category=UserWarning)
            yield
    finally:
        logger.setLevel(level)


def _weights(network: FusionNetwork) -> bytes:
    return safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()})


def _yaml(spec: ModelSpec) -> str:
    return yaml.safe_dump(spec.model_dump(mode="json", exclude_defaults=True), sort_keys=False, width=140)


def model_card(model: Model, card: str, report: ParityReport) -> str:
    """README.md: the given text, then what the files themselves say."""
    spec = model.spec
    sizes = {name: len(model.read(name)) for name in spec.file_names()}
    weights = read_weights(model)
    lines = [
        f"# {spec.name} {spec.version}",
        "",
        card.strip(),
        "",
        "## The files",
        "",
        f"- labels: {', '.join(spec.labels)}",
        f"- inputs: {', '.join(f'{name} ({part.kind}, {part.steps} steps)' for name, part in spec.inputs.items())}",
        f"- window {spec.window.length_ms} ms every {spec.window.hop_ms} ms, decisions {spec.window.lag_ms} ms behind it",
        f"- head: {spec.head.use}; {sum(tensor.numel() for tensor in weights.values())} numbers in {WEIGHTS_FILE}",
        f"- ONNX graphs against the network in float64: largest relative error {report.worst:.1e} over {report.cases} cases",
        f"- digest: {model.digest}",
        "",
        "| file | bytes |",
        "|---|---|",
        *(f"| {name} | {size} |" for name, size in sizes.items()),
        "",
    ]
    return "\n".join(lines)
