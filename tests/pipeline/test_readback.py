"""The shipped model `readback` on clips it was not trained on, through the real decode path, with the prompt in a file beside each."""

import json
import shutil
from pathlib import Path

import pytest
from data import recording

from pipeline.clock import FakeClock
from pipeline.config import load_config
from pipeline.plan import build_plan
from pipeline.runtime.inline import run_inline
from pipeline.training.clips import read_words, split_of
from pipeline.training.prompted import GRAMMAR

CONFIGS = Path(__file__).parents[2] / "configs"
CLIPS = ("bbaf2n", "lgiz5a", "swwjzp")
WRONG = 3
"""The letter is exchanged for another."""


class Kept:
    def __init__(self):
        self.decisions = []

    def decision(self, decision):
        self.decisions.append(decision)

    def status(self, status):
        pass

    def close(self):
        pass


@pytest.fixture(scope="module")
def readings(tmp_path_factory):
    """(words with their times, the decisions about them when the prompt is right, ... when one word of it is wrong), by clip."""
    grid, folder = recording("grid_s1_dev"), tmp_path_factory.mktemp("readback")
    made = []
    for name in CLIPS:
        words = read_words(grid / f"{name}.align")
        texts = [word.text for word in words]
        letters = GRAMMAR[WRONG]
        wrong = [*texts[:WRONG], letters[(letters.index(texts[WRONG]) + 9) % len(letters)], *texts[WRONG + 1 :]]
        made.append((words, *(read(grid, folder / f"{name}{number}", name, prompt) for number, prompt in enumerate((texts, wrong)))))
    return made


def read(grid, folder, name, prompt):
    folder.mkdir()
    shutil.copy(grid / f"{name}.mp4", folder)
    (folder / f"{name}.jsonl").write_text(json.dumps({"start_ms": 0, "end_ms": 4000, "text": " ".join(prompt)}) + "\n")
    config = load_config(CONFIGS / "readback.yaml", ["run.speed=max", f"sources.media.path={folder / name}.mp4"])
    kept = Kept()
    run_inline(build_plan(config), [kept], FakeClock())
    return kept.decisions


def during(decisions, word):
    """The decisions about the middle of a word, where it is plain."""
    span_s = word.end_s - word.start_s
    first_s, last_s = word.start_s + 0.25 * span_s, word.end_s - 0.25 * span_s
    return [one for one in decisions if first_s * 1e9 < (one.start_ns + one.end_ns) / 2 < last_s * 1e9] or [
        min(decisions, key=lambda one: abs(one.start_ns - word.start_s * 1e9))
    ]


def test_the_clips_were_not_trained_on():
    assert {split_of(name) for name in CLIPS} == {"test"}


def test_every_stream_is_there_and_a_reading_follows_its_prompt(readings):
    labels = [one.label for words, right, _ in readings for word in words for one in during(right, word)]
    assert labels.count("follows") > 0.85 * len(labels)
    assert {word for _, right, _ in readings for word in right[40].presence.values()} == {"present"}


def test_a_wrong_letter_departs_and_the_other_words_follow(readings):
    wrong = [one.label for words, _, decisions in readings for one in during(decisions, words[WRONG])]
    others = [
        one.label for words, _, decisions in readings for n, word in enumerate(words) if n != WRONG for one in during(decisions, word)
    ]
    assert wrong.count("departs") > 0.6 * len(wrong)
    assert others.count("follows") > 0.85 * len(others)


def test_the_word_that_is_said_is_named_in_the_decision(readings):
    named = [one.also["word"] == word.text for words, right, _ in readings for word in words for one in during(right, word)]
    assert sum(named) > 0.85 * len(named)


def test_nothing_is_said_where_nobody_speaks(readings):
    quiet = [one for words, right, _ in readings for one in right if one.end_ns < words[0].start_s * 1e9 - 120_000_000]
    assert [(one.label, one.also["word"]) for one in quiet] == [("silent", "-")] * len(quiet)
