"""`sensorium export`: a model's graphs in three precisions, each compared with the network in float64, and whether TensorRT takes them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from operators.errors import BackendUnavailable, EngineMismatch
from operators.network import FusionNetwork
from pipeline.backends.int8 import quantised
from pipeline.backends.torch import load_network
from pipeline.engines.trt import find_library
from pipeline.export import export_graphs
from pipeline.model import FUSE_FILE, Model, before_name, encoder_file
from pipeline.parity import lifelike, noise, relative_error

BATCHES = (1, 8, 32, 128, 256)
ALLOWED = {"fp32": 1e-4, "fp16": 5e-3}
"""Largest relative L2 error; int8 is told, not judged: what it may cost is for the user to say."""
AGREEMENT = 0.995
MOST_STREAMS = 5
"""Of which all combinations are tried."""

Graphs = Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """error: largest relative L2 error by graph, over all cases. agreement: share of windows with the same leading label."""

    name: str
    error: Mapping[str, float]
    agreement: float
    bytes: int
    cases: int

    @property
    def holds(self) -> bool:
        return self.name not in ALLOWED or (max(self.error.values()) < ALLOWED[self.name] and self.agreement >= AGREEMENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """tensorrt: graph -> "n layers" or why it is refused; empty where TensorRT is not installed, then tensorrt_version says so."""

    precisions: list[Precision]
    tensorrt: Mapping[str, str]
    tensorrt_version: str

    @property
    def holds(self) -> bool:
        return all(precision.holds for precision in self.precisions)


def export_report(model: Model, half: Path | None = None) -> ExportReport:
    """half: a folder to write the fp16 graphs to, for engines that want them. Raises EngineMismatch, BackendUnavailable."""
    network = load_network(model)
    exact = copy.deepcopy(network).double()
    files = [*(encoder_file(name) for name in model.spec.inputs), FUSE_FILE]
    float32 = {file: model.read(file) for file in files}
    float16 = export_graphs(copy.deepcopy(network).half(), model.spec)
    int8 = {file: quantised(graph) for file, graph in float32.items()}
    if half is not None:
        half.mkdir(parents=True, exist_ok=True)
        for file, graph in float16.items():
            (half / file).write_bytes(graph)
    graphs = {"fp32": float32, "fp16": float16, "int8": int8}
    cases = list(cases_of(model, exact))
    version, taken = _tensorrt({f"{name} {file}": graph for name in ("fp32", "fp16") for file, graph in graphs[name].items()})
    made = [_measure(name, precision, cases, len(model.spec.labels)) for name, precision in graphs.items()]
    return ExportReport(precisions=made, tensorrt=taken, tensorrt_version=version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """feed of a graph, and what the network in float64 makes of it."""

    file: str
    feed: dict[str, NDArray[Any]]
    wanted: NDArray[np.float64]


def cases_of(model: Model, exact: FusionNetwork) -> Iterator[Case]:
    """Every encoder on noise and lifelike packets, the head with every input there or gone; batches of 1 to 256.

    exact: the network in float64.
    """
    rng = np.random.default_rng(0)
    spec = model.spec
    with torch.inference_mode():
        for (name, part), count, make in product(spec.inputs.items(), BATCHES, (noise, lifelike)):
            feed: dict[str, NDArray[Any]] = {name: make(part.dtype, (count, *part.shape), rng)}
            if part.encoder.carry:
                feed[before_name(name)] = rng.normal(size=(count, part.encoder.dim)).astype(np.float32)
            given = [torch.from_numpy(feed[name]), *(torch.from_numpy(rows).double() for key, rows in feed.items() if key != name)]
            yield Case(file=encoder_file(name), feed=feed, wanted=exact.encode(name, *given).numpy())
        for kept, count in product(product((1.0, 0.0), repeat=min(MOST_STREAMS, len(spec.inputs))), BATCHES):
            there = dict(zip(spec.inputs, kept, strict=False))
            inputs = {name: rng.normal(size=(count, part.steps, part.encoder.dim)).astype(np.float32) for name, part in spec.inputs.items()}
            presence = {name: np.full((count, part.steps), there.get(name, 1.0), np.float32) for name, part in spec.inputs.items()}
            doubles = [{name: torch.from_numpy(rows).double() for name, rows in arrays.items()} for arrays in (inputs, presence)]
            feed = {**inputs, **{f"{name}_presence": rows for name, rows in presence.items()}}
            yield Case(file=FUSE_FILE, feed=feed, wanted=exact.fuse(*doubles).numpy())


def _measure(name: str, graphs: Graphs, cases: list[Case], labels: int) -> Precision:
    sessions = {file: _session(file, graph) for file, graph in graphs.items()}
    errors: dict[str, float] = dict.fromkeys(graphs, 0.0)
    same: list[NDArray[np.bool_]] = []
    for case in cases:
        found = sessions[case.file](case.feed)
        errors[case.file] = max(errors[case.file], relative_error(found, case.wanted))
        if case.file == FUSE_FILE:
            same.append(found[:, :labels].argmax(1) == case.wanted[:, :labels].argmax(1))
    size = sum(len(graph) for graph in graphs.values())
    return Precision(name=name, error=errors, agreement=float(np.concatenate(same).mean()), bytes=size, cases=len(cases))


def _session(file: str, graph: bytes) -> Callable[[Mapping[str, NDArray[Any]]], NDArray[np.float32]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    try:
        made = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - onnxruntime has no common base for its errors
        raise EngineMismatch(f"{file} does not load: {' '.join(str(error).split())[:200]}") from None
    return lambda feed: made.run(None, dict(feed))[0]


def _tensorrt(graphs: Graphs) -> tuple[str, dict[str, str]]:
    """(version, or why there is none; graph -> what TensorRT's parser says)."""
    try:
        library = find_library()
    except BackendUnavailable as error:
        return str(error), {}
    said = {}
    for name, graph in graphs.items():
        try:
            said[name] = f"{library.check(graph, name)} layers"
        except EngineMismatch as error:
            said[name] = str(error)
    return library.version, said
