"""What saying why costs: a decision of a shipped model with and without Shapley values, in turns, one thread, the least of all rounds.

    python -m benchmarks.attribution [--model speaking] [--rounds 200]

Every set of streams goes through the graph that the model has for it (attribute.onnx), and beside it through the fusion graph as a batch,
which is what a model without one does. Both with all that attribution takes, in the same turns.

Not counted in a decision: decoding, face search, sound transforms and alignment, which cost more than the network.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import numpy as np

from operators.attribution import attribution, coalitions, rows_of
from pipeline.backends.onnx import OnnxBackend
from pipeline.clock import SystemClock
from pipeline.model import load_model
from pipeline.ports import Attributing
from pipeline.training.card import machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="speaking")
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    model = load_model(options.model)
    backend, rng, spec = OnnxBackend(model), np.random.default_rng(0), model.spec
    packets = {name: np.zeros((1, *part.shape), part.dtype) for name, part in spec.inputs.items()}
    inputs = {name: rng.normal(size=(1, part.steps, part.encoder.dim)).astype(np.float32) for name, part in spec.inputs.items()}
    presence = {name: np.ones((1, part.steps), np.float32) for name, part in spec.inputs.items()}
    per_hop = {name: 2 if part.steps > 1 else 0 for name, part in spec.inputs.items()}  # 25 packets a second, a decision each 80 ms

    def decide() -> None:
        for name, count in per_hop.items():
            for _ in range(count):
                backend.encode(name, packets[name])
        backend.fuse(inputs, presence)

    def attribute() -> None:
        names = [name for name, there in presence.items() if there.any()]
        rows = backend.coalitions(inputs, presence)[0]
        attribution(names, rows[rows_of(names, list(presence))], 0, list(spec.inputs))

    def attribute_in_a_batch() -> None:
        names, subsets = coalitions(presence)
        rows = backend.fuse({name: np.repeat(array, 1 << len(names), axis=0) for name, array in inputs.items()}, subsets)
        attribution(names, rows, 0, list(spec.inputs))

    turns = [decide, *[attribute] * isinstance(backend, Attributing), attribute_in_a_batch]
    took = {what.__name__: [] for what in turns}  # type: dict[str, list[float]]
    for _ in range(options.rounds):
        for what in turns:
            took[what.__name__].append(_microseconds(what))
    # The least: on a machine that others use, the median tells more of them.
    least = {name: min(values) for name, values in took.items()}
    sets = 1 << len(spec.inputs)
    said = {
        "decide": "decide (encode what a hop brings, fuse)",
        "attribute": f"attribute ({sets} sets, a graph of their own)",
        "attribute_in_a_batch": f"attribute ({sets} sets, a batch of fuse)",
    }
    print(f"{model.name}@{model.digest[:12]}, {options.rounds} rounds, {machine()}")
    for name, value in least.items():
        times, share = value / least["decide"], value / spec.window.hop_ms / 10
        print(f"{said[name]:45} {value:7.0f} us, {times:4.1f} x a decision of the network, {share:5.2f} % of the time between two")
    if "attribute" in least:
        print(f"the graph takes {least['attribute'] / least['attribute_in_a_batch']:.2f} of what the batch takes")
    print(f"medians, us: {', '.join(f'{name} {statistics.median(values):.0f}' for name, values in took.items())}")


def _microseconds(what: Callable[[], None]) -> float:
    clock = SystemClock()
    begun_ns = clock.now_ns()
    what()
    return (clock.now_ns() - begun_ns) / 1e3


if __name__ == "__main__":
    main()
