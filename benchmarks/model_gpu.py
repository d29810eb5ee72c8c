"""What a model costs on an NVIDIA GPU: both TensorRTs, CUDA-graphed torch, torch.compile and eager torch, batch 1 to 256.

    python -m benchmarks.model_gpu --model speaking     a shipped model or a model directory

Figures are wall microseconds of a whole call, from arrays in to arrays out: packing, one copy to the GPU, the network, one copy back.
The engines take turns. Every output is NaN before each call, and every engine is compared with the network in float64 on the cases of
`sensorium export`; an output that was not written shows as an error of inf. float32 is float32: nothing is rounded to TF32.
A package of TensorRT that is missing or refuses the GPU has its own message in the table, and a line on the compute capability below it.

Written without a GPU at hand: it has not been run on one yet. Without one it says so and ends with exit code 4.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import markdown, where_and_when
from benchmarks.model_calls import ask, call_name, cell, compiled, first_answer, made, one_line, random_feed, timed
from operators.errors import BackendError, BackendUnavailable
from pipeline.backends.tensorrt import TensorrtBackend
from pipeline.backends.torch import Runs, TorchBackend, load_network
from pipeline.engines.cuda_graphs import Call, Captured, Work, exact, network_calls
from pipeline.engines.gpu import Gpu, find_gpu
from pipeline.engines.packing import BUCKETS, row_count
from pipeline.engines.trt import PACKAGES
from pipeline.export_report import Case, cases_of
from pipeline.model import Model, load_model
from pipeline.parity import relative_error
from pipeline.ports import Backend

Engines = dict[str, Backend | str]


def measure(model: Model, batches: tuple[int, ...], rounds: int) -> list[dict[str, Any]]:
    """A row a graph and batch: by engine the figures and the largest relative error, or why there are none."""
    cases = list(cases_of(model, copy.deepcopy(load_network(model)).double()))
    kept = {name: made(partial(TensorrtBackend, model, packages=(name,))) for name in PACKAGES}
    kept["graphs"] = made(partial(TorchBackend, model))
    calls = network_calls(load_network(model).to("cuda"), model.spec)
    rows = []
    with exact():
        for file, call in calls.items():
            for batch in batches:
                engines = {**kept, **on_device(model, file, call, batch)}
                mine = [case for case in cases if case.file == file and row_count(case.feed) == batch]
                rows.append({"call": file, "batch": batch, "engines": compare(model, call, engines, mine, batch, rounds)})
    return rows


def on_device(model: Model, file: str, call: Call, batch: int, device: str = "cuda") -> Engines:
    """torch.compile and eager torch, with the same packed copy and the same poisoned output as the graphs have."""

    def build(made_of: Callable[[Call], Call]) -> Backend:
        return Runs(model.spec, {file: Captured(made_of(call), batch, device=device, capture=_called)})

    return {"compile": made(lambda: build(compiled)), "eager": made(lambda: build(lambda plain: plain))}


def _called(work: Work) -> Work:
    return work


def compare(model: Model, call: Call, engines: Mapping[str, Backend | str], cases: list[Case], batch: int, rounds: int) -> dict[str, Any]:
    """cases: of this call and batch. Those of another size would be compiled anew."""
    feed, file = random_feed(call, batch), cases[0].file
    calls = {name: first_answer(engine, model, file, feed) for name, engine in engines.items()}
    errors = {name: largest_error(engine, model, cases) for name, engine in engines.items() if not isinstance(calls[name], str)}
    found = timed(calls, rounds, time.perf_counter_ns)
    return {name: {"us": found[name], "error": errors.get(name)} for name in engines}


def largest_error(engine: Backend | str, model: Model, cases: list[Case]) -> float | str:
    """Over the cases, against float64; inf where an output holds what is no number."""
    assert not isinstance(engine, str)
    try:
        return max(relative_error(ask(engine, model, case.file, case.feed)(), case.wanted) for case in cases)
    except (BackendError, RuntimeError) as error:
        return one_line(error)


def rtx_verdict(model: Model, gpu: Gpu) -> str:
    """Whether TensorRT for RTX runs on this GPU; where it does not, in its own words."""
    engine = made(partial(TensorrtBackend, model, packages=("tensorrt_rtx",)))
    said = engine if isinstance(engine, str) else "it builds, loads and makes a context for every graph"
    return f"TensorRT for RTX on compute capability {gpu.capability[0]}.{gpu.capability[1]} ({gpu.name}): {said}"


def _show(rows: list[dict[str, Any]]) -> None:
    lines = [[call_name(row["call"]), str(row["batch"]), *map(_cell, row["engines"].values())] for row in rows]
    print(markdown(["call", "batch", *rows[0]["engines"]], lines))


def _cell(found: Mapping[str, Any]) -> str:
    error = found["error"]
    if error is None:
        return cell(found["us"])
    return f"{cell(found['us'])} {error if isinstance(error, str) else f'{error:.0e}'}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="speaking", help="a shipped model's name or a model directory")
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    gpu = find_gpu()
    if isinstance(gpu, str) or not torch.cuda.is_available():
        why = gpu if isinstance(gpu, str) else f"{gpu.name}, but this PyTorch ({torch.__version__}) has no CUDA"
        print(f"model_gpu needs an NVIDIA GPU and a PyTorch with CUDA: {why}; nothing was measured", file=sys.stderr)
        return BackendUnavailable.exit_code
    model = load_model(options.model)
    rows = measure(model, BUCKETS, options.rounds)
    print(f"{where_and_when()}; {gpu.name}; {options.rounds} rounds, wall microseconds, median (99th percentile) largest relative error\n")
    _show(rows)
    print("\n" + rtx_verdict(model, gpu))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
