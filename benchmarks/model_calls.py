"""The calls that the benchmarks of engines measure: every graph of a model at a size of batch, by engines that take turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from operators.errors import BackendError
from pipeline.engines.cuda_graphs import Call
from pipeline.engines.packing import Feed
from pipeline.model import FUSE_FILE, Model, before_name, encoder_file
from pipeline.ports import Backend

WARM_UPS = 20
Figures = dict[str, float]


def compiled(call: Call) -> Call:
    """By torch.compile, for one size of batch. Forgets what was compiled before: torch keeps only so many sizes and then runs eagerly."""
    torch.compiler.reset()
    return replace(call, run=torch.compile(call.run, dynamic=False, fullgraph=True))


def ask(backend: Backend, model: Model, file: str, feed: Feed) -> Callable[[], NDArray[np.float32]]:
    """One call of a graph, as the runtime makes it."""
    if file == FUSE_FILE:
        inputs = {name: feed[name] for name in model.spec.inputs}
        presence = {name: feed[f"{name}_presence"] for name in model.spec.inputs}
        return lambda: backend.fuse(inputs, presence)
    stream = next(name for name in model.spec.inputs if encoder_file(name) == file)
    return lambda: backend.encode(stream, feed[stream], feed.get(before_name(stream)))


def call_name(file: str) -> str:
    """encode_video.onnx -> encode video"""
    return file.removesuffix(".onnx").replace("_", " ")


def random_feed(call: Call, batch: int) -> Feed:
    """Whole numbers that every input takes, and every stream there."""
    rng = np.random.default_rng(0)
    return {
        name: np.ones((batch, *shape), np.float32) if name.endswith("_presence") else rng.integers(0, 200, (batch, *shape)).astype(dtype)
        for name, (shape, dtype) in call.inputs.items()
    }


def made(make: Callable[[], Backend]) -> Backend | str:
    """The engine, or in one line why there is none."""
    try:
        return make()
    except (BackendError, RuntimeError) as error:
        return one_line(error)


def first_answer(engine: Backend | str, model: Model, file: str, feed: Feed) -> Callable[[], NDArray[np.float32]] | str:
    """The call, once it has answered (torch.compile compiles at its first), or in one line why it does not."""
    if isinstance(engine, str):
        return engine
    call = ask(engine, model, file, feed)
    try:
        call()
    except (BackendError, RuntimeError) as error:  # all that torch.compile raises is a RuntimeError
        return one_line(error)
    return call


def one_line(error: Exception) -> str:
    said = " ".join(str(error).split()) or type(error).__name__
    return said.partition(" Set TORCHDYNAMO_VERBOSE")[0][:400]


def timed(calls: Mapping[str, Callable[[], object] | str], rounds: int, now_ns: Callable[[], int]) -> dict[str, Figures | str]:
    """Median and 99th percentile of each call in microseconds; they take turns, so what disturbs the machine disturbs all."""
    spent: dict[str, list[int]] = {name: [] for name in calls}
    for number in range(rounds + WARM_UPS):
        for name, call in calls.items():
            if isinstance(call, str):
                continue
            begun_ns = now_ns()
            call()
            if number >= WARM_UPS:
                spent[name].append(now_ns() - begun_ns)
    return {name: call if isinstance(call, str) else _figures(spent[name]) for name, call in calls.items()}


def _figures(spent_ns: list[int]) -> Figures:
    return {"p50": round(float(np.median(spent_ns)) / 1e3, 1), "p99": round(float(np.percentile(spent_ns, 99)) / 1e3, 1)}


def cell(found: Figures | str) -> str:
    """p50 (p99) in whole microseconds, or why there is none."""
    return found.replace("|", "/")[:120] if isinstance(found, str) else f"{found['p50']:.0f} ({found['p99']:.0f})"
