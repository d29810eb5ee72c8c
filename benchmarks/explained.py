"""Attribution against the truth: a stream that tells nothing about the decision any more must lose its share of it.

    python -m benchmarks.explained [--model speaking] [--config configs/train/speaking.yaml] [--set a.b=c] [--sessions 35] [--json out.json]

Sessions of the test split in which one person speaks (the suite `plain` of GridScenes), all streams there; every decision whose truth is
`speaking` gets exact Shapley values for that label, through the shipped graphs. Then the packets of one stream are replaced, and nothing
else: by noise (its log energies in no order; grey levels at random; random tokens), or by those of another session.

drop      share of the decisions in which the replaced stream's value is lower than it was
sum off   the values' sum against the logit gap they must add up to, the largest error, as a share of the gap's mean size
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.attribution import gaps, shapley
from pipeline.backends.onnx import OnnxBackend
from pipeline.evaluate import Encoded
from pipeline.model import Model, load_model
from pipeline.training.config import Training
from pipeline.training.grid import GridScenes
from pipeline.training.segment import Cutter, Segment
from pipeline.training.transforms import chains

LABEL = "speaking"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="speaking", help="a shipped model's name or a model directory")
    parser.add_argument("--config", type=Path, default=Path("configs/train/speaking.yaml"), help="names the data")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="overrides of the config")
    parser.add_argument("--sessions", type=int, default=35)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    model = load_model(options.model)
    grid = next(dataset for dataset in Training(options.config, options.set).mix().datasets if isinstance(dataset, GridScenes))
    cutter = Cutter(model, chains(model.spec, str(model.folder), model.folder))
    segments = [cutter.cut(made) for made in grid.suite("test", "plain", count=options.sessions)]
    rows = measure(model, segments)
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps({"model": model.digest, "rows": rows}, indent=1) + "\n", "utf-8")


def measure(model: Model, segments: Sequence[Segment]) -> list[dict[str, Any]]:
    """One row for what was replaced by what."""
    engine, streams = OnnxBackend(model), list(model.spec.inputs)
    label = list(model.spec.labels).index(LABEL)
    before, _ = values(engine, segments, streams, label)
    rng, rows = np.random.default_rng(0), []
    for at, stream in enumerate(streams):
        for by, made in {"noise": [noisy(one, stream, rng) for one in segments], "another session": swapped(segments, stream)}.items():
            after, gap = values(engine, made, streams, label)
            rows.append(
                {
                    "replaced": f"{stream} by {by}",
                    "before": float(before[:, at].mean()),
                    "after": float(after[:, at].mean()),
                    "drop": float((after[:, at] < before[:, at]).mean()),
                    "others before": float(np.delete(before, at, 1).sum(1).mean()),
                    "others after": float(np.delete(after, at, 1).sum(1).mean()),
                    "sum off": float(np.abs(after.sum(1) - gap).max() / np.abs(gap).mean()),
                    "decisions": len(after),
                }
            )
    return rows


def values(
    engine: OnnxBackend, segments: Sequence[Segment], streams: Sequence[str], label: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(decisions, streams) Shapley values for `label`, and (decisions,) the gap that they must sum to."""

    def spoken(segment: Segment) -> NDArray[np.bool_]:
        there = [(segment.table[name] >= 0).any(1) for name in streams]
        return np.asarray((segment.label == label) & np.logical_and.reduce(there))

    encoded, logits = Encoded(engine, segments), []
    for number in range(1 << len(streams)):
        keep = [name for bit, name in enumerate(streams) if number >> bit & 1]
        logits.append(np.concatenate([outputs for _, outputs in encoded.outputs(keep, spoken)]))
    worth = np.stack([gaps(rows, label) for rows in np.stack(logits, axis=1)])  # (decisions, coalitions)
    return np.stack([shapley(one) for one in worth]), worth[:, -1] - worth[:, 0]


def noisy(segment: Segment, stream: str, rng: np.random.Generator) -> Segment:
    """Numbers of the same size and spread as the stream's own, in no order."""
    packets = segment.packets[stream]
    if packets.dtype == np.int64:
        made: NDArray[Any] = rng.integers(1, 4096, packets.shape)
    elif packets.dtype == np.uint8:
        made = rng.integers(0, 256, packets.shape).astype(np.uint8)
    else:
        made = rng.permuted(packets.reshape(-1, packets.shape[-1]), axis=0).reshape(packets.shape)  # log energies, band by band
    return replace(segment, packets={**segment.packets, stream: made})


def swapped(segments: Sequence[Segment], stream: str) -> list[Segment]:
    """Each with the packets of the next one, over and over if they are fewer."""
    made = []
    for segment, other in pairwise([*segments, segments[0]]):
        given = other.packets[stream]
        packets = given[np.arange(len(segment.packets[stream])) % len(given)] if len(given) else segment.packets[stream]
        made.append(replace(segment, packets={**segment.packets, stream: packets}))
    return made


COLUMNS = ("before", "after", "drop", "others before", "others after", "sum off", "decisions")


def table(rows: Sequence[dict[str, Any]]) -> str:
    lines = ["| " + " | ".join(("replaced", *COLUMNS)) + " |", "|---|" + "---:|" * len(COLUMNS)]
    lines += ["| " + " | ".join([made["replaced"], *(f"{made[name]:.3g}" for name in COLUMNS)]) + " |" for made in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
