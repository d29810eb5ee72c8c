"""The shipped model `readback` on clips it was not trained on: does what is read follow the prompt?

    python -m benchmarks.readback [--model readback] [--config configs/train/readback.yaml] [--set a.b=c] [--split test] [--json out.json]

GRID clips of the test split (by clip; the one speaker is known to the model), in babble of four voices (other test clips of the same
speaker at once, equally loud) at some level under the speech. Windows are made by the aligner and run through the ONNX graphs.

departs   every clip is read twice, from a prompt with one of its six words exchanged for another that the grammar has there. A word's score
          is the mean of logit(departs) - logit(follows) over the three decisions nearest to its middle; the AUC is of the exchanged words
          against all others.
voice-off every clip is dubbed once: recall of `voice-off` over every third decision in which the other voice sounds. own voice: how many
          of the decisions about words are not called voice-off in the clips above

Which words it names is measured by `benchmarks.words`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.backends.onnx import OnnxBackend
from pipeline.evaluate import Encoded, roc_auc
from pipeline.model import Model, load_model
from pipeline.training.clips import Clip
from pipeline.training.config import Training
from pipeline.training.prompted import PromptedScenes
from pipeline.training.segment import Cutter, Segment
from pipeline.training.session import Split
from pipeline.training.transforms import chains

LEVELS: dict[str, float | None] = {"clean": None, "5 dB": 5.0, "0 dB": 0.0, "-5 dB": -5.0}
NEAREST = 3
HOP_NS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What is measured, and with what."""

    model: Model
    scenes: PromptedScenes
    cutter: Cutter
    engine: OnnxBackend
    split: Split

    @property
    def clips(self) -> Sequence[Clip]:
        return self.scenes.casts[self.split].clips

    @property
    def hop_ns(self) -> int:
        return self.model.spec.window.hop_ms * HOP_NS

    def encoded(self, segments: Sequence[Segment]) -> Encoded:
        return Encoded(self.engine, segments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="readback", help="a shipped model's name or a model directory")
    parser.add_argument("--config", type=Path, default=Path("configs/train/readback.yaml"), help="names the data")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="overrides of the config")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    bench = ready(options.model, Training(options.config, options.set), options.split)
    made: dict[str, Any] = {"model": bench.model.digest, "split": options.split, "clips": len(bench.clips)}
    made["departs"] = departs(bench)
    print(departs_table(made["departs"]))
    if options.json:
        options.json.write_text(json.dumps(made, indent=1) + "\n", "utf-8")


def ready(name: str, training: Training, split: Split) -> Bench:
    model = load_model(name)
    cutter = Cutter(model, chains(model.spec, str(model.folder), model.folder))
    scenes = next(dataset for dataset in training.mix().datasets if isinstance(dataset, PromptedScenes))
    return Bench(model=model, scenes=scenes, cutter=cutter, engine=OnnxBackend(model, threads=1), split=split)


def departs(bench: Bench) -> list[dict[str, Any]]:
    """One row for each level of noise and pattern of presence."""
    rows = []
    for level, snr_db in LEVELS.items():
        read = [
            bench.cutter.cut(bench.scenes.reading(bench.split, clip, "altered", place=(number + turn) % 6, snr_db=snr_db))
            for number, clip in enumerate(bench.clips)
            for turn in (0, 3)
        ]
        places = [(number + turn) % 6 for number in range(len(bench.clips)) for turn in (0, 3)]
        dubbed = [bench.cutter.cut(bench.scenes.reading(bench.split, clip, "dubbed", snr_db=snr_db)) for clip in bench.clips]
        patterns = {"all": ("video", "audio", "text"), "without text": ("video", "audio")}
        if level in ("clean", "0 dB"):
            patterns |= {"without video": ("audio", "text"), "without audio": ("video", "text")}
        encoded, off = bench.encoded(read), bench.encoded(dubbed)
        for pattern, keep in patterns.items():
            rows.append({"noise": level, "streams": pattern, **judged(bench, encoded, places, keep), **heard_off(bench, off, keep)})
    return rows


def judged(bench: Bench, encoded: Encoded, places: Sequence[int], keep: Sequence[str]) -> dict[str, Any]:
    """AUC by word, and how often the label is right by decision and by word."""
    labels = list(bench.model.spec.labels)
    follows, off, wrong = (labels.index(name) for name in ("follows", "voice-off", "departs"))
    score, positive, own, right = [], [], [], []
    for (segment, _, outputs, chosen), place in zip(by_word(bench, encoded, keep), places, strict=True):
        logits = outputs[..., : len(labels)]  # (words, NEAREST, labels)
        means = logits.mean(1)
        score += (means[:, wrong] - means[:, follows]).tolist()
        truth = np.arange(len(means)) == place
        positive += truth.tolist()
        right += ((means[:, wrong] > means[:, follows]) == truth).tolist()
        own += (logits.argmax(2) != off)[segment.label[chosen] > 0].tolist()
    departed = np.array(positive)
    return {
        "auc": roc_auc(np.array(score), departed),
        "words": len(departed),
        "departs found": float(np.mean(np.array(right)[departed])),
        "follows kept": float(np.mean(np.array(right)[~departed])),
        "own voice": float(np.mean(own)),
    }


def heard_off(bench: Bench, encoded: Encoded, keep: Sequence[str]) -> dict[str, float]:
    off = list(bench.model.spec.labels).index("voice-off")

    def heard(segment: Segment) -> NDArray[np.bool_]:
        return (segment.label == off) & (np.arange(len(segment.label)) % 3 == 0)

    said = [outputs[:, : len(bench.model.spec.labels)].argmax(1) == off for _, outputs in encoded.outputs(keep, heard)]
    return {"voice-off": float(np.mean(np.concatenate(said)))}


def nearest(segment: Segment, clip: Clip, hop_ns: int) -> NDArray[np.int64]:
    """(words, NEAREST): the decisions nearest to the middle of each word."""
    middle_ns = np.array([(word.start_s + word.end_s) / 2 * 1e9 for word in clip.words])
    away = np.abs(segment.start_ns + hop_ns / 2 - middle_ns[:, None])  # (words, decisions)
    return np.argsort(away, axis=1, kind="stable")[:, :NEAREST]


def by_word(bench: Bench, encoded: Encoded, keep: Sequence[str]) -> Iterator[tuple[Segment, Clip, NDArray[np.float64], NDArray[np.int64]]]:
    """Each reading, its clip, the raw outputs of the decisions about each of its words, (words, NEAREST, outputs), and which they are."""
    clips = {clip.name: clip for clip in bench.clips}

    def wanted(segment: Segment) -> NDArray[np.bool_]:
        there = np.zeros(len(segment.label), np.bool_)
        there[nearest(segment, clips[segment.name.split()[1]], bench.hop_ns)] = True
        return there

    for segment, outputs in encoded.outputs(keep, wanted):
        clip = clips[segment.name.split()[1]]
        chosen = nearest(segment, clip, bench.hop_ns)
        yield segment, clip, outputs[np.searchsorted(np.flatnonzero(wanted(segment)), chosen)].astype(np.float64), chosen


DEPARTS = ("auc", "departs found", "follows kept", "own voice", "voice-off")


def departs_table(rows: Sequence[dict[str, Any]]) -> str:
    return table(("noise", "streams"), DEPARTS, rows)


def table(names: Sequence[str], figures: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    lines = ["| " + " | ".join([*names, *figures]) + " |", "|" + "---|" * len(names) + "---:|" * len(figures)]
    for row in rows:
        lines.append("| " + " | ".join([*(row[name] for name in names), *(f"{row[name]:.3f}" for name in figures)]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
