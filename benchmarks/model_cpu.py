"""What a model costs on one CPU thread: ONNX Runtime, torch eager and torch.compile at batch 1, 8 and 32, all in one run.

    python -m benchmarks.model_cpu                      the sizes of `speaking` with each of three heads, untrained
    python -m benchmarks.model_cpu --model speaking     a shipped model or a model directory

Figures are CPU time of the calling thread, the only one that works: on a quiet machine that is the latency, on a busy one it leaves out
the waiting. The engines take turns. The runtime's own calls have a batch of one. torch.compile writes C++ and needs a compiler; where it
cannot, the table says why. Each size is compiled for itself, before its figures are taken.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

import onnxruntime
import torch

from benchmarks.machine import markdown, where_and_when
from benchmarks.model_calls import call_name, cell, compiled, first_answer, made, random_feed, timed
from operators.network import build_network
from pipeline.backends import make_backend
from pipeline.backends.torch import Runs, eager, load_network
from pipeline.engines.cuda_graphs import Call, network_calls
from pipeline.export import save_model
from pipeline.model import FUSE_FILE, Model, load_model, parse_spec
from pipeline.ports import Backend

BATCHES = (1, 8, 32)
ENGINES = {"onnx": "ONNX Runtime", "eager": "torch, eager", "compile": "torch.compile"}
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


def measure(model: Model, files: list[str], batches: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """Parameters, bytes, load time and, by call, batch and engine, the figures in microseconds or why there are none."""
    begun_ns = time.thread_time_ns()
    onnx = make_backend("onnx", model)
    load_ms = (time.thread_time_ns() - begun_ns) / 1e6
    return {
        "head": model.spec.head.use.rpartition(":")[2],
        "parameters": sum(weight.numel() for weight in load_network(model).parameters()),
        "bytes": {name: len(model.read(name)) for name in model.spec.file_names()},
        "onnx_load_ms": round(load_ms, 1),
        "calls_us": {file: {batch: _measure_call(model, onnx, file, batch, rounds) for batch in batches} for file in files},
    }


def _measure_call(model: Model, onnx: Backend, file: str, batch: int, rounds: int) -> dict[str, Any]:
    call = network_calls(load_network(model), model.spec)[file]
    feed = random_feed(call, batch)
    engines = {"onnx": onnx, "eager": _by_torch(model, file, call), "compile": made(lambda: _by_torch(model, file, compiled(call)))}
    return timed({name: first_answer(engine, model, file, feed) for name, engine in engines.items()}, rounds, time.thread_time_ns)


def _by_torch(model: Model, file: str, call: Call) -> Backend:
    return Runs(model.spec, {file: eager(call)})


def untrained(head: str, folder: Path) -> Model:
    spec = parse_spec({**SPEC, "head": {"use": HEADS[head]}}, "benchmark")
    return save_model(build_network(spec), spec, {}, "Untrained, to measure its cost.", folder)[0]


def _models(name: str | None, folder: Path) -> Iterator[tuple[Model, list[str]]]:
    """Models and which of their graphs are measured: the untrained ones have the same encoders."""
    for number, model in enumerate([load_model(name)] if name else [untrained(head, folder / head) for head in HEADS]):
        files = list(network_calls(load_network(model), model.spec))
        yield model, [FUSE_FILE] if number else files


def _rows(result: Mapping[str, Any]) -> Iterator[list[str]]:
    for file, by_batch in result["calls_us"].items():
        name = f"fuse, {result['head']}" if file == FUSE_FILE else call_name(file)
        for batch, found in by_batch.items():
            yield [name, str(batch), *(cell(found[engine]) for engine in ENGINES)]


def _show(results: list[dict[str, Any]], rounds: int) -> None:
    versions = f"ONNX Runtime {onnxruntime.__version__}, torch {torch.__version__}"
    print(f"{where_and_when()}; {versions}; 1 thread, {rounds} rounds, CPU microseconds, median (99th percentile)")
    for result in results:
        total = sum(result["bytes"].values())
        print(f"{result['head']}: {result['parameters']} parameters, {total} bytes, {result['onnx_load_ms']} ms to load the graphs")
    print("\n" + markdown(["call", "batch", *ENGINES.values()], [row for result in results for row in _rows(result)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a shipped model's name or a model directory")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES))
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        models = _models(options.model, Path(folder))
        results = [measure(model, files, tuple(options.batches), options.rounds) for model, files in models]
    _show(results, options.rounds)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
