"""A model that costs next to nothing: the same inputs, transforms, steps and sizes as another, its graphs replaced by constants.

What a run with it costs is the pipeline with the model excluded; the calls into the engine are still made.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import yaml
from onnx import TensorProto, checker, helper, numpy_helper
from safetensors.numpy import save_file

from pipeline.model_spec import FUSE_FILE, SPEC_FILE, WEIGHTS_FILE, ModelSpec, encoder_file

_TYPES = {"uint8": TensorProto.UINT8, "int64": TensorProto.INT64, "float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}

Taken = dict[str, tuple[int, list[int]]]
"""A graph's inputs: name -> (ONNX type, shape without the batch)."""


def write_null_model(spec: ModelSpec, folder: Path) -> Path:
    """The folder of the null twin of the model that `spec` describes."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = spec.model_copy(update={"files": {}})  # the twin has only what every model has
    for name, part in spec.inputs.items():
        graph = _constant(name, {name: (_TYPES[part.dtype], list(part.shape))}, part.encoder.dim)
        (folder / encoder_file(name)).write_bytes(graph)
    inputs: Taken = {name: (TensorProto.FLOAT, [part.steps, part.encoder.dim]) for name, part in spec.inputs.items()}
    presence: Taken = {f"{name}_presence": (TensorProto.FLOAT, [part.steps]) for name, part in spec.inputs.items()}
    (folder / FUSE_FILE).write_bytes(_constant(next(iter(inputs)), {**inputs, **presence}, len(spec.labels)))
    save_file({"nothing": np.zeros(1, np.float32)}, str(folder / WEIGHTS_FILE))
    digests = {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in spec.file_names()}
    content = spec.model_dump(mode="json") | {"name": f"null-{spec.name}"[:64], "files": digests}
    (folder / SPEC_FILE).write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
    return folder


def _constant(batch_of: str, inputs: Taken, width: int) -> bytes:
    """A graph that answers (batch, width) zeros to anything."""
    taken = [helper.make_tensor_value_info(name, kind, ["batch", *shape]) for name, (kind, shape) in inputs.items()]
    given = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", width])
    constants = [
        numpy_helper.from_array(np.array([width], np.int64), "width"),
        numpy_helper.from_array(np.array([0], np.int64), "first"),
        numpy_helper.from_array(np.array([1], np.int64), "second"),
    ]
    nodes = [
        helper.make_node("Shape", [batch_of], ["shape"]),
        helper.make_node("Slice", ["shape", "first", "second"], ["batch_size"]),
        helper.make_node("Concat", ["batch_size", "width"], ["wanted"], axis=0),
        helper.make_node("ConstantOfShape", ["wanted"], ["out"]),
    ]
    graph = helper.make_graph(nodes, "null", taken, [given], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(made)
    return bytes(made.SerializeToString())
