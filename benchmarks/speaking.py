"""The shipped model `speaking` on speech and scenes it was not trained on: what every stream is worth, clean and in noise.

    python -m benchmarks.speaking [--model speaking] [--config configs/train/speaking.yaml] [--set a.b=c] [--sessions 35] [--json out.json]

GRID clips of the test split (by clip; the one speaker is known to the model), composed into three suites of sessions: `plain`,
`mixed-in` (somebody else is heard while the face is silent, or beside it) and `dubbed` (the face talks, but another sentence is
heard); babble from a part of its recording that training never heard. Below them drawn scenes of unseen seeds. Windows are made
by the aligner in waiting mode and run through the shipped ONNX graphs, in batches; a stream that is removed never existed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from pipeline.backends.onnx import OnnxBackend
from pipeline.evaluate import Encoded, Scored, accuracy, average_precision, presence_patterns, recall
from pipeline.model import Model, load_model
from pipeline.training.config import Training
from pipeline.training.drawn import DrawnScenes
from pipeline.training.grid import SUITES, GridScenes
from pipeline.training.segment import Cutter, Segment
from pipeline.training.transforms import chains

LEVELS: dict[str, float | None] = {"clean": None, "5 dB": 5.0, "0 dB": 0.0, "-5 dB": -5.0}
SPEAKING, VOICE_OFF = "speaking", "voice-off"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="speaking", help="a shipped model's name or a model directory")
    parser.add_argument("--config", type=Path, default=Path("configs/train/speaking.yaml"), help="names the data")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="overrides of the config")
    parser.add_argument("--sessions", type=int, default=35, help="sessions of about 12 s in each suite")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    rows = measure(options.model, Training(options.config, options.set), options.sessions)
    print(table(rows))
    print()
    print(verdict(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


def measure(name: str, training: Training, sessions: int) -> list[dict[str, Any]]:
    """One row for each level of noise and pattern of presence."""
    model = load_model(name)
    cutter = Cutter(model, chains(model.spec, str(model.folder), model.folder))
    datasets = training.mix().datasets
    grid = next(dataset for dataset in datasets if isinstance(dataset, GridScenes))
    rows = []
    for level, snr_db in LEVELS.items():
        segments = [cutter.cut(made) for suite in SUITES for made in grid.suite("test", suite, count=sessions, snr_db=snr_db)]
        rows += _rows("GRID", level, model, segments)
    drawn = next((dataset for dataset in datasets if isinstance(dataset, DrawnScenes)), None)
    if drawn is not None:
        scenes = [cutter.cut(made) for made in drawn.sessions("test", np.random.default_rng(0))]
        rows += _rows("drawn", "as drawn", model, scenes)
    return rows


def _rows(what: str, level: str, model: Model, segments: Sequence[Segment]) -> list[dict[str, Any]]:
    encoded = Encoded(OnnxBackend(model, threads=1), segments)
    speaking, off = (model.spec.labels.index(label) for label in (SPEAKING, VOICE_OFF))
    rows = []
    for pattern, keep in presence_patterns(list(model.spec.inputs)).items():
        scored = encoded.score(keep, model.spec.temperature)
        row: dict[str, Any] = {
            "data": what,
            "noise": level,
            "streams": pattern,
            "decisions": len(scored.label),
            "accuracy": accuracy(scored),
        }
        row["AP speaking"] = _ap(scored, speaking)
        for condition in sorted(set(scored.condition.tolist())):
            part = scored.of_condition(condition)
            row[f"AP {condition}"] = _ap(part, speaking)
            row[f"accuracy {condition}"] = accuracy(part)
            row[f"voice-off recall {condition}"] = recall(part, off)
        row["voice-off recall"] = recall(scored, off)
        rows.append(row)
    return rows


def _ap(scored: Scored, label: int) -> float:
    return average_precision(scored.scores[:, label], scored.label == label)


COLUMNS = {
    "accuracy": "accuracy",
    "AP speaking": "AP speaking",
    "AP plain": "plain",
    "AP mixed-in": "mixed-in",
    "AP dubbed": "dubbed",
    "voice-off recall": "voice-off recall",
    "voice-off recall mixed-in": "mixed-in",
    "voice-off recall dubbed": "dubbed",
}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: AP of `speaking` in all and by suite, recall of `voice-off` in all and by suite."""
    heads = ["data", "noise", "streams", *COLUMNS.values()]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        lines.append("| " + " | ".join([row["data"], row["noise"], row["streams"], *(_shown(row.get(name)) for name in COLUMNS)]) + " |")
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.3f}"


def verdict(rows: Sequence[dict[str, Any]]) -> str:
    """Is fusion of what is there ever below the best of its streams alone? One line a level of noise, in points of accuracy and AP."""
    lines = ["Fusion less its best single stream, the worst over all streams and each removed (points; below -1 is a failure):"]
    for what, level in dict.fromkeys((row["data"], row["noise"]) for row in rows):
        at = {row["streams"]: row for row in rows if (row["data"], row["noise"]) == (what, level)}
        alone = {name.removesuffix(" alone"): row for name, row in at.items() if name.endswith(" alone")}
        worst = {figure: min(_margins(at, alone, figure)) for figure in ("accuracy", "AP speaking")}
        lines.append(f"- {what}, {level}: " + ", ".join(f"{figure} {100 * margin:+.1f}" for figure, margin in worst.items()))
    return "\n".join(lines)


def _margins(at: dict[str, dict[str, Any]], alone: dict[str, dict[str, Any]], figure: str) -> list[float]:
    margins = []
    for name, row in at.items():
        if name == "all" or name.startswith("without "):
            kept = [part[figure] for stream, part in alone.items() if name != f"without {stream}"]
            margins.append(cast(float, row[figure]) - max(kept))
    return margins


if __name__ == "__main__":
    main()
