"""What saying why costs: a decision with and without Shapley values, in turns, one thread, the least of all rounds.

    python -m benchmarks.attribution [--model speaking] [--config demo] [--rounds 200] [--runs 5] [--speed max]

First the network's part alone, as the runtime asks it (`pipeline.runtime.batcher`): encoding what a hop brings and fusing, then the same
with every set of streams by the graph that the model has for it (attribute.onnx), then with every set as a batch of the fusion graph,
which is what a model without one does.

Then whole decisions: the config's input through `inline`, with and without: processor time of the process for each decision, decoding,
face search, sound and alignment included. In real time (--speed 1) each costs more than at full speed: the process wakes for every packet.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from operators.attribution import attribution, coalitions
from operators.decision import Decision
from pipeline.backends.onnx import OnnxBackend
from pipeline.clock import SystemClock
from pipeline.config import load_config
from pipeline.model import Model, load_model
from pipeline.plan import build_plan
from pipeline.ports import Status
from pipeline.runtime.coalitions import ask
from pipeline.runtime.graphs import Graphs
from pipeline.runtime.inline import run_inline
from pipeline.training.card import machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="speaking")
    parser.add_argument("--config", default="demo", help="what is run for whole decisions")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--speed", default="max", help="of the runs: 1 is real time")
    options = parser.parse_args()
    model = load_model(options.model)
    print(f"{model.name}@{model.digest[:12]}, {options.rounds} rounds, {options.runs} runs, {machine()}")
    network(model, options.rounds)
    whole(options.config, options.runs, options.speed)


def network(model: Model, rounds: int) -> None:
    backend, rng, spec = OnnxBackend(model), np.random.default_rng(0), model.spec
    graphs = Graphs(model, backend, SystemClock())
    packets = {name: np.zeros((1, *part.shape), part.dtype) for name, part in spec.inputs.items()}
    inputs = {name: rng.normal(size=(1, part.steps, part.encoder.dim)).astype(np.float32) for name, part in spec.inputs.items()}
    presence = {name: np.ones((1, part.steps), np.float32) for name, part in spec.inputs.items()}
    per_hop = {name: 2 if part.steps > 1 else 0 for name, part in spec.inputs.items()}  # 25 packets a second, a decision each 80 ms

    def encode() -> None:
        for name, count in per_hop.items():
            for _ in range(count):
                graphs.encode(name, packets[name])

    def plain() -> None:
        encode()
        graphs.fuse(inputs, presence, [1])

    def shared() -> None:
        encode()
        if not graphs.decides:
            graphs.fuse(inputs, presence, [1])
        ((names, rows),) = ask(graphs, [(inputs, presence)])
        attribution(names, rows, 0, list(spec.inputs))

    def in_a_batch() -> None:
        plain()
        names, subsets = coalitions(presence)
        rows = backend.fuse({name: np.repeat(array, 1 << len(names), axis=0) for name, array in inputs.items()}, subsets)
        attribution(names, rows, 0, list(spec.inputs))

    turns = {
        "without": plain,
        **({"why, by a graph for every set": shared} if graphs.shares else {}),
        "why, by a batch of every set": in_a_batch,
    }
    took = {name: list[float]() for name in turns}
    for _ in range(rounds):
        for name, turn in turns.items():
            begun_ns = time.perf_counter_ns()
            turn()
            took[name].append((time.perf_counter_ns() - begun_ns) / 1e3)
    print(f"the network's part of a decision; the graph for every set also decides: {'yes' if graphs.decides else 'no'}")
    tell(took)


def whole(config: str, runs: int, speed: str) -> None:
    """Of the config's own model; reading it, loading the model and the first decision are not counted."""
    took = {"without": list[float](), "why": list[float]()}
    for _ in range(runs):
        for name, values in took.items():
            asked = str(name == "why").lower()
            counter = Counter()
            run_inline(
                build_plan(load_config(config, ["run.runner=inline", f"run.speed={speed}", f"decide.attribution={asked}"])),
                [counter],
                SystemClock(),
            )
            values.append((counter.last_ns - counter.first_ns) / (counter.decisions - 1) / 1e3)
    print(f"whole decisions of {config}, processor time, inline, speed {speed}, {counter.decisions} a run")
    tell(took)


class Counter:
    """A sink that counts, and notes the processor time of this process at its first and its last decision."""

    def __init__(self) -> None:
        self.decisions = self.first_ns = self.last_ns = 0

    def decision(self, decision: Decision) -> None:
        self.last_ns = time.process_time_ns()
        self.first_ns = self.first_ns or self.last_ns
        self.decisions += 1

    def status(self, status: Status) -> None:
        pass

    def close(self) -> None:
        pass


def tell(took: dict[str, list[float]]) -> None:
    """Microseconds. The least: on a machine that others use, the median tells more of them."""
    least = {name: min(values) for name, values in took.items()}
    floor = least["without"]
    for name, value in least.items():
        print(f"  {name:32} {value:7.0f} us, {(value - floor) / floor:+6.1%}   median {statistics.median(took[name]):7.0f} us")


if __name__ == "__main__":
    main()
