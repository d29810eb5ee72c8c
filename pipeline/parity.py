"""Do the exported graphs compute what the network computes? Asked with the network in float64 and the graphs as they will run."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from operators.network import FusionNetwork
from pipeline.backends.onnx import OnnxBackend
from pipeline.model import Model
from pipeline.model_spec import InputSpec, ModelSpec
from pipeline.ports import Attributing

LARGEST_ERROR = 1e-5  # float32 rounding over a dozen layers is about 1e-6
_BATCHES = (1, 2, 7, 32)
_SETS_IN = 27  # cases in which every set of inputs is tried: their number doubles with each input
_Arrays = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """worst: largest relative L2 error |graph - network| / |network| of all cases; by_graph: the largest of each graph."""

    cases: int
    worst: float
    worst_case: str
    by_graph: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        return {"cases": self.cases, "worst": self.worst, "worst_case": self.worst_case, "by_graph": self.by_graph}


def check_parity(network: FusionNetwork, model: Model, *, seed: int = 0) -> ParityReport:
    """Random and lifelike packets, every combination of present and missing inputs, batches of 1, 2, 7 and 32."""
    exact = copy.deepcopy(network).double().eval()
    backend = OnnxBackend(model)
    rng = np.random.default_rng(seed)
    errors: list[tuple[float, str, str]] = []
    with torch.inference_mode():
        for name, spec in model.spec.inputs.items():
            for case, batch in encoder_cases(spec, rng):
                before = rng.normal(size=(len(batch), spec.encoder.dim)).astype(np.float32) if spec.encoder.carry else None
                wanted = exact.encode(name, torch.tensor(batch), None if before is None else torch.tensor(before).double())
                error = relative_error(backend.encode(name, batch, before), wanted.numpy())
                errors.append((error, f"encode {name}", case))
        cases = list(fuse_cases(model.spec, rng))
        for number, (case, inputs, presence) in enumerate(cases):
            wanted = exact.fuse(_double(inputs), _double(presence))
            errors.append((relative_error(backend.fuse(inputs, presence), wanted.numpy()), "fuse", case))
            if isinstance(backend, Attributing) and number % max(1, len(cases) // _SETS_IN) == 0:
                error = relative_error(backend.coalitions(inputs, presence), _set_by_set(exact, inputs, presence))
                errors.append((error, "attribute", case))
    worst, graph, case = max(errors)
    by_graph = {name: max(error for error, of, _ in errors if of == name) for name in dict.fromkeys(of for _, of, _ in errors)}
    return ParityReport(cases=len(errors), worst=worst, worst_case=f"{graph}, {case}", by_graph=by_graph)


def _set_by_set(exact: FusionNetwork, inputs: _Arrays, presence: _Arrays) -> NDArray[np.float64]:
    """(batch, 2 ** inputs, outputs): `fuse` itself, with the inputs that are not in a set taken away."""
    rows = []
    for row in range(1 << len(presence)):
        kept = {name: there * np.float32(row >> bit & 1) for bit, (name, there) in enumerate(presence.items())}
        rows.append(exact.fuse(_double(inputs), _double(kept)).numpy())
    return np.stack(rows, axis=1)


def encoder_cases(spec: InputSpec, rng: np.random.Generator) -> Iterator[tuple[str, NDArray[Any]]]:
    """(what it is, (n, *shape) in the input's dtype)."""
    for count in _BATCHES:
        shape = (count, *spec.shape)
        yield f"noise x {count}", noise(spec.dtype, shape, rng)
        yield f"lifelike x {count}", lifelike(spec.dtype, shape, rng)
    yield "all zero", np.zeros((1, *spec.shape), spec.dtype)
    yield "all largest", np.full((1, *spec.shape), 255 if spec.dtype == "uint8" else 20, spec.dtype)


def noise(dtype: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
    """Any numbers that the dtype's encoders may meet."""
    if dtype == "uint8":
        return rng.integers(0, 256, shape).astype(np.uint8)
    if dtype == "int64":
        return rng.integers(0, 1 << 20, shape)  # beyond any table too
    return rng.normal(-6.0, 4.0, shape).astype(dtype)


def lifelike(dtype: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
    """Pictures: a soft dim gradient. Tokens: a few, then padding. Numbers: log energies near the floor with a loud part."""
    position = np.linspace(0.0, 1.0, shape[-1])
    if dtype == "uint8":
        return np.asarray(90 + 60 * position + rng.integers(0, 8, shape), dtype=np.uint8)
    if dtype == "int64":
        return np.where(np.arange(shape[-1]) < rng.integers(0, shape[-1], (*shape[:-1], 1)), rng.integers(1, 500, shape), 0)
    return np.asarray(-13.8 + 10.0 * np.exp(-8 * position) * rng.random((*shape[:-1], 1)), dtype=dtype)


def fuse_cases(spec: ModelSpec, rng: np.random.Generator) -> Iterator[tuple[str, _Arrays, _Arrays]]:
    """(what it is, features, presence): each input there, gone or with holes, in every combination (of the first 5 inputs)."""
    kinds = list(product(("there", "gone", "holes"), repeat=min(len(spec.inputs), 5)))
    for number, kind in enumerate(kinds):
        count = _BATCHES[number % len(_BATCHES)]
        pattern = dict(zip(spec.inputs, kind, strict=False))
        inputs = {name: rng.normal(size=(count, part.steps, part.encoder.dim)).astype(np.float32) for name, part in spec.inputs.items()}
        presence = {name: _presence(pattern.get(name, "there"), (count, part.steps), rng) for name, part in spec.inputs.items()}
        yield f"{pattern} x {count}", inputs, presence


def _presence(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    if kind == "holes":
        return (rng.random(shape) < 0.7).astype(np.float32)
    return np.full(shape, kind == "there", dtype=np.float32)


def _double(arrays: _Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(array, dtype=torch.float64) for name, array in arrays.items()}


def relative_error(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    """|found - wanted| / |wanted|, of the whole arrays, Euclidean. Infinite where that is no number: NaN would be larger than nothing."""
    error = float(np.linalg.norm(found - wanted) / max(float(np.linalg.norm(wanted)), 1e-12))
    return error if np.isfinite(error) else float("inf")
