"""Which word is said, its boundaries given: what sound, lips and both are worth, clean and in babble, late and with packets lost.

    python -m benchmarks.words --model FOLDER [--config configs/train/words.yaml] [--set a.b=c] [--split test] [--json out.json]
    python -m benchmarks.words --model readback --config configs/train/readback.yaml

GRID clips of the test split (by clip; the one speaker is known to the model), in babble of four voices (other test clips of the same
speaker at once, equally loud) at some level under the speech. Windows are made by the aligner and run through the ONNX graphs. A word is
the one of 51 whose mean log-probability over the decisions inside its boundaries is greatest. A model with a `cue` always has it.

late      the stream arrives 200 ms later than the windows wait: its last 200 ms are missing from every window
lost      30 % of the packets, at random, of that stream alone or of both
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.readback import LEVELS, Bench, ready, table
from operators.packet import Packet
from pipeline.evaluate import Encoded, softmax
from pipeline.training.clips import Clip
from pipeline.training.config import Training
from pipeline.training.segment import Segment
from pipeline.training.session import LabelledSession
from pipeline.training.spoken import SpokenWords

LATE_NS = 200_000_000
LOST = 0.3
AV = ("audio", "video")
KEPT = {"audio": ("audio",), "video": ("video",), "audio + video": AV}
FIGURES = (*KEPT, "audio late", "video late", "audio, lost", "video, lost", "both, lost")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="readback", help="a shipped model's name or a model directory")
    parser.add_argument("--config", type=Path, default=Path("configs/train/words.yaml"), help="names the data")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="overrides of the config")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    bench = ready(options.model, Training(options.config, options.set), options.split)
    rows = [row(bench, level, snr_db) for level, snr_db in LEVELS.items()]
    words = sum(len(clip.words) for clip in bench.clips)
    print(f"{words} words of {len(bench.clips)} clips, {options.split} split, {bench.model.name}@{bench.model.digest[:12]}")
    print(table(("noise",), FIGURES, rows))
    if options.json:
        options.json.write_text(json.dumps({"model": bench.model.digest, "rows": rows}, indent=1) + "\n", "utf-8")


def row(bench: Bench, level: str, snr_db: float | None) -> dict[str, Any]:
    """Accuracy by what streams there are and what happens to them."""
    read = [spoken(bench, clip, snr_db) for clip in bench.clips]
    whole = bench.encoded([bench.cutter.cut(session) for session in read])
    made: dict[str, Any] = {"noise": level, **{name: named(bench, whole, keep) for name, keep in KEPT.items()}}
    for stream in AV:
        late = bench.encoded([bench.cutter.cut(delayed(session, stream), mode="deadline") for session in read])
        made[f"{stream} late"] = named(bench, late, AV)
    rng = np.random.default_rng(3)
    lossy = bench.encoded([bench.cutter.cut(dropped(session, rng)) for session in read])
    for name, keep in {"audio, lost": ("audio",), "video, lost": ("video",), "both, lost": AV}.items():
        made[name] = named(bench, lossy, keep)
    return made


def spoken(bench: Bench, clip: Clip, snr_db: float | None) -> LabelledSession:
    if isinstance(bench.scenes, SpokenWords):
        return bench.scenes.spoken(bench.split, clip, snr_db=snr_db)
    return bench.scenes.reading(bench.split, clip, "kept", snr_db=snr_db)


def named(bench: Bench, encoded: Encoded, keep: Sequence[str]) -> float:
    """Share of the words that are named rightly, their boundaries given."""
    kept = [*keep, *(name for name in bench.model.spec.inputs if name == "cue")]
    right = [said == word for clip, words in by_word(bench, encoded, kept) for said, word in zip(words, said_in(clip), strict=True)]
    return float(np.mean(right))


def said_in(clip: Clip) -> list[str]:
    return [word.text for word in clip.words]


def by_word(bench: Bench, encoded: Encoded, keep: Sequence[str]) -> Iterator[tuple[Clip, list[str]]]:
    """Each clip and what its words are taken for."""
    clips = {clip.name: clip for clip in bench.clips}
    answers, first = known(bench)
    inside = {name: places(bench, clip) for name, clip in clips.items()}

    def wanted(segment: Segment) -> NDArray[np.bool_]:
        return inside[segment.name.split()[1]](segment).any(0)

    for segment, outputs in encoded.outputs(keep, wanted):
        clip = clips[segment.name.split()[1]]
        chosen = inside[clip.name](segment)[:, wanted(segment)]  # (words, decisions)
        logs = np.log(softmax(outputs[:, first : first + len(answers)].astype(np.float64)))  # (decisions, 51)
        yield clip, [answers[index] for index in (chosen @ logs / chosen.sum(1, keepdims=True)).argmax(1)]


def known(bench: Bench) -> tuple[list[str], int]:
    """The words that the model can say, and where among its outputs they begin."""
    spec = bench.model.spec
    if "word" in spec.also:
        return list(spec.also["word"])[1:], len(spec.labels) + 1  # the first answer is that there is no word
    return list(spec.labels), 0


def places(bench: Bench, clip: Clip) -> Callable[[Segment], NDArray[np.bool_]]:
    """Segment -> (words, decisions): those whose middle lies in the word, and the one nearest to the word's middle."""

    def chosen(segment: Segment) -> NDArray[np.bool_]:
        middle_s = (segment.start_ns + bench.hop_ns / 2) / 1e9
        spans = np.array([(word.start_s, word.end_s) for word in clip.words])
        made = (middle_s >= spans[:, :1]) & (middle_s < spans[:, 1:])
        made[np.arange(len(spans)), np.abs(middle_s - spans.mean(1, keepdims=True)).argmin(1)] = True
        return np.asarray(made, np.bool_)

    return chosen


def delayed(session: LabelledSession, stream: str) -> LabelledSession:
    events = [(due_ns + LATE_NS, event) for due_ns, event in session.events[stream]]
    return replace(session, events={**session.events, stream: events})


def dropped(session: LabelledSession, rng: np.random.Generator) -> LabelledSession:
    def lossy(name: str) -> Callable[[tuple[int, object]], bool]:
        return lambda timed: name not in AV or not isinstance(timed[1], Packet) or rng.random() >= LOST

    return replace(session, events={name: list(filter(lossy(name), events)) for name, events in session.events.items()})


if __name__ == "__main__":
    main()
