"""What a model costs on one CPU thread: ONNX Runtime beside eager torch, both in one run.

    python -m benchmarks.model_cpu                      the sizes of `speaking` with each head, untrained
    python -m benchmarks.model_cpu --model speaking     a shipped model or a model directory

A call has a batch of exactly one, as the runtime's calls have. Figures are CPU time of the calling thread, the only one that works:
on a quiet machine that is the latency, on a busy one it leaves out the waiting. The two engines take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.machine import where_and_when
from operators.network import build_network
from pipeline.backends import make_backend
from pipeline.export import save_model
from pipeline.model import Model, load_model, parse_spec
from pipeline.ports import Backend

HEADS = {
    "concat": "operators.fusion.concat:ConcatHead",
    "attention": "operators.fusion.attention:AttentionHead",
    "late": "operators.fusion.late:LateHead",
}
SPEC: Mapping[str, Any] = {
    "name": "sizes",
    "labels": ["silent", "speaking", "voice-off"],
    "window": {"length_ms": 1600, "hop_ms": 80, "lag_ms": 200},
    "inputs": {
        "video": {
            "kind": "video",
            "steps": 40,
            "hold_ms": 120,
            "shape": [48, 48],
            "dtype": "uint8",
            "encoder": {"use": "operators.encoders:FrameCNN", "dim": 64},
        },
        "audio": {
            "kind": "audio",
            "steps": 40,
            "shape": [4, 40],
            "dtype": "float32",
            "encoder": {"use": "operators.encoders:LogMelCNN", "dim": 64},
        },
        "text": {
            "kind": "text",
            "take": "state",
            "shape": [32],
            "dtype": "int64",
            "encoder": {"use": "operators.encoders:TokenBag", "dim": 64},
        },
    },
}


def measure(model: Model, rounds: int) -> dict[str, Any]:
    """Parameters, bytes, load time and, by engine, the median and 99th percentile of every call in microseconds."""
    begun_ns = time.thread_time_ns()
    backends = {"onnx": make_backend("onnx", model)}
    load_ms = (time.thread_time_ns() - begun_ns) / 1e6
    backends["torch"] = make_backend("torch", model)
    sizes = {name: len(model.read(name)) for name in model.spec.file_names()}
    calls = {call: timed({name: make(backend) for name, backend in backends.items()}, rounds) for call, make in _calls(model).items()}
    return {
        "head": model.spec.head.use,
        "parameters": _parameters(model),
        "bytes": sizes,
        "onnx_load_ms": round(load_ms, 1),
        "calls_us": calls,
    }


def _parameters(model: Model) -> int:
    return sum(weight.numel() for weight in build_network(model.spec).parameters())


def _calls(model: Model) -> dict[str, Callable[[Backend], Callable[[], object]]]:
    """Name of a call -> backend -> the call, on random input."""
    rng = np.random.default_rng(0)
    made: dict[str, Callable[[Backend], Callable[[], object]]] = {}
    for name, spec in model.spec.inputs.items():
        batch = rng.integers(0, 200, (1, *spec.shape)).astype(spec.dtype)
        made[f"encode {name}"] = partial(_encode_call, name, batch)
    features = {name: rng.normal(size=(1, spec.steps, spec.encoder.dim)).astype(np.float32) for name, spec in model.spec.inputs.items()}
    presence = {name: np.ones((1, spec.steps), np.float32) for name, spec in model.spec.inputs.items()}
    made["fuse"] = lambda backend: lambda: backend.fuse(features, presence)
    return made


def _encode_call(name: str, batch: NDArray[Any], backend: Backend) -> Callable[[], object]:
    return lambda: backend.encode(name, batch)


def timed(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    spent: dict[str, list[int]] = {name: [] for name in calls}
    for number in range(rounds + 20):
        for name, call in calls.items():
            begun_ns = time.thread_time_ns()
            call()
            if number >= 20:  # the first are warm-up
                spent[name].append(time.thread_time_ns() - begun_ns)
    return {
        name: {"p50": round(float(np.median(ns)) / 1e3, 1), "p99": round(float(np.percentile(ns, 99)) / 1e3, 1)}
        for name, ns in spent.items()
    }


def untrained(head: str, folder: Path) -> Model:
    spec = parse_spec({**SPEC, "head": {"use": HEADS[head]}}, "benchmark")
    return save_model(build_network(spec), spec, {}, "Untrained, to measure its cost.", folder)[0]


def _print(result: Mapping[str, Any]) -> None:
    total = sum(result["bytes"].values())
    print(f"{result['head']}: {result['parameters']} parameters, {total} bytes, {result['onnx_load_ms']} ms to load the graphs")
    print(f"  {'call':14} {'onnx p50':>9} {'p99':>8} {'torch p50':>10} {'p99':>8}   CPU microseconds")
    for call, engines in result["calls_us"].items():
        onnx, eager = engines["onnx"], engines["torch"]
        print(f"  {call:14} {onnx['p50']:9} {onnx['p99']:8} {eager['p50']:10} {eager['p99']:8}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a shipped model's name or a model directory")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = [load_model(options.model)] if options.model else [untrained(head, Path(folder) / head) for head in HEADS]
        results = [measure(model, options.rounds) for model in models]
    print(f"{where_and_when()}; 1 thread, batch 1, {options.rounds} rounds")
    for result in results:
        _print(result)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
