"""Every fusion head on the same data, several seeds each, every pattern of presence: the MOSI table of docs/models.md.

    python -m benchmarks.zoo configs/train/mosi.yaml --data FOLDER --out zoo.jsonl --seeds 1 2 3 4 5
    python -m benchmarks.zoo --table zoo.jsonl

A line of the file is one training run; a run that is there already is not repeated. The epoch is chosen on validation videos. Nothing is
chosen on the test split: all heads share one config, and every run that was made is in the table.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import operators.fusion
from pipeline.clock import SystemClock
from pipeline.evaluate import Encoded, accuracy, presence_patterns
from pipeline.model import Model
from pipeline.train import feed_of, hops_of, new_network, split_of
from pipeline.training.card import machine
from pipeline.training.config import DATA_VARIABLE, Training
from pipeline.training.loop import fit
from pipeline.training.network import InTraining, normalise
from pipeline.training.segment import Cutter
from pipeline.training.transforms import chains


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, nargs="?")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--name", default="", help="what this variant of the config is called in the table")
    parser.add_argument("--heads", nargs="*", default=[])
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--out", type=Path, default=Path("zoo.jsonl"))
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    if options.table is not None:
        print(table(_lines(options.table)))
        return
    if options.data is not None:
        os.environ[DATA_VARIABLE] = str(options.data.absolute())
    done = {(line["name"], line["head"], line["seed"]) for line in _lines(options.out)} if options.out.exists() else set()
    for seed in options.seeds:  # so that a file that was cut off has as many seeds of every head as can be
        for head in options.heads or heads():
            if (options.name, head.rpartition(":")[2], seed) not in done:
                line = {"name": options.name, **run(options.config, [*options.set, f"model.head.use={head}", f"loop.seed={seed}"])}
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")


def heads() -> list[str]:
    """`operators.fusion.x:XHead` of every head."""
    found = []
    for path in sorted(Path(str(operators.fusion.__file__)).parent.glob("[a-z]*.py")):
        module = importlib.import_module(f"operators.fusion.{path.stem}")
        own = {name for name, made in vars(module).items() if name.endswith("Head") and made.__module__ == module.__name__}
        found += [f"{module.__name__}:{name}" for name in sorted(own)]
    return found


def run(config: Path, sets: Sequence[str]) -> dict[str, Any]:
    """One training run and its figures on validation and test."""
    clock = SystemClock()
    begun_ns = clock.now_ns()
    training = Training(config, sets)
    spec, loop = training.config.model, training.config.loop
    torch.manual_seed(loop.seed)
    torch.set_num_threads(loop.threads)
    mix, cutter = training.mix(), Cutter(Model(training.folder, spec, ""), chains(spec, training.file, training.folder))
    network, feed = new_network(training), feed_of(mix, cutter, loop)
    with feed(-2, loop.sample) as segments:
        sample = list(segments)
    normalise(network, sample)
    parts = {split: split_of(mix, cutter, split, training) for split in ("validation", "test")}
    history = fit(network, loop, feed, parts["validation"], sample=sample, labels=list(spec.labels), hops=hops_of(spec))
    patterns = presence_patterns(list(spec.inputs))
    encoded = {split: Encoded(InTraining(network), segments) for split, segments in parts.items()}
    figures = {split: {name: round(accuracy(made.score(keep)), 4) for name, keep in patterns.items()} for split, made in encoded.items()}
    return {
        "head": spec.head.use.rpartition(":")[2],
        "seed": loop.seed,
        "epoch": history.best.number + 1,
        "parameters": sum(part.numel() for part in network.parameters()),
        "minutes": round((clock.now_ns() - begun_ns) / 60e9, 2),
        "machine": machine(),
        **figures,
    }


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Markdown: mean and standard deviation over seeds of the test accuracy, by head and pattern."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for line in lines:
        groups.setdefault((line["name"], line["head"]), []).append(line)
    patterns = list(lines[0]["test"])
    columns = ["data", "head", "seeds", *patterns, "validation", "minutes"]
    rows = ["| " + " | ".join(columns) + " |", "|---|---|" + "---:|" * (len(columns) - 2)]
    for (name, head), runs in sorted(groups.items()):
        cells = [_cell([run["test"][pattern] for run in runs]) for pattern in patterns]
        minutes = f"{statistics.mean(run['minutes'] for run in runs):.1f}"
        rows.append(f"| {name} | {head} | {len(runs)} | " + " | ".join(cells) + f" | {_mean(runs, 'validation', 'all'):.3f} | {minutes} |")
    return "\n".join(rows)


def _mean(runs: Sequence[dict[str, Any]], split: str, pattern: str) -> float:
    return statistics.mean(run[split][pattern] for run in runs)


def _cell(values: Sequence[float]) -> str:
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


if __name__ == "__main__":
    main()
