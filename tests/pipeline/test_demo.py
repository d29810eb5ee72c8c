"""The shipped model on the shipped scene, through the real decode path: what `make demo` shows."""

from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.clock import FakeClock
from pipeline.config import load_config
from pipeline.plan import build_plan
from pipeline.runtime.inline import run_inline
from pipeline.score import Score, read_truth

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


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
def decisions():
    kept = Kept()
    run_inline(build_plan(load_config(CONFIGS / "demo.yaml")), [kept], FakeClock())
    return kept.decisions


def test_decisions_tile_the_clip_with_every_stream_there(decisions):
    assert decisions[0].start_ns == 0
    assert all(before.end_ns == after.start_ns for before, after in pairwise(decisions))
    assert {decision.presence["video"] for decision in decisions[:-10]} == {"present"}
    assert {decision.presence["audio"] for decision in decisions[:-10]} == {"present"}


def test_most_of_the_clip_is_judged_rightly_and_no_label_is_lost(decisions):
    score = Score(read_truth(CONFIGS / "demo" / "truth.jsonl"))
    for decision in decisions:
        score.add(decision)
    assert score.outside == 0
    assert score.accuracy() > 0.85
    assert all(label.recall > 0.75 for label in score.by_label())
