"""Why a decision was made: live, in every sink, and true to what happens when a stream is spoilt."""

import json

import numpy as np
import pytest
import tinytable
import torch
import yaml

from operators.attribution import gaps, shapley
from pipeline.backends import make_backend
from pipeline.cli import main
from pipeline.clock import FakeClock
from pipeline.config import load_config
from pipeline.model import load_model
from pipeline.plan import build_plan
from pipeline.ports import Status
from pipeline.runtime.graphs import Graphs
from pipeline.runtime.inline import run_inline
from pipeline.train import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("why")
    threads = torch.get_num_threads()
    train(tinytable.write(made), progress=False)
    torch.set_num_threads(threads)
    run = {
        "model": "./made",
        "sources": {
            "rows": {
                "use": "pipeline.sources.table:TableRows",
                "path": "rows.arrow",
                "streams": {"a": "a_features", "b": ["b0", "b1", "b2"]},
                "rate_hz": 10,
                "hold_ms": 100,
            }
        },
        "inputs": {"a": "rows.a", "b": "rows.b"},
        "run": {"speed": "max", "runner": "inline", "duration": "3s"},
        "decide": {"attribution": True},
    }
    (made / "run.yaml").write_text(yaml.safe_dump(run))
    return made


class Kept:
    def __init__(self):
        self.decisions = []

    def decision(self, decision):
        self.decisions.append(decision)

    def status(self, status: Status):
        pass

    def close(self):
        pass


def decisions(folder, *sets):
    plan, kept = build_plan(load_config(folder / "run.yaml", sets)), Kept()
    run_inline(plan, [kept], FakeClock())
    return kept.decisions


def test_values_sum_to_the_logit_gap_and_the_decision_is_the_same_as_without(folder):
    asked, plain = decisions(folder), decisions(folder, "decide.attribution=false")
    assert [(a.label, a.scores, a.id) for a in asked] == [(p.label, p.scores, p.id) for p in plain]
    assert all(p.attribution == {} for p in plain)
    model = load_model(folder / "made")
    rows = np.zeros((1, 3, 8), np.float32)
    nothing = make_backend("onnx", model).fuse({"a": rows, "b": rows}, {"a": rows[..., 0], "b": rows[..., 0]})[0]
    for decision in asked:
        label = model.spec.labels.index(decision.label)
        scores = np.array(list(decision.scores.values()))
        gap = model.spec.temperature * np.log(scores[label] / scores[1 - label]) - (nothing[label] - nothing[1 - label])
        assert sum(decision.attribution.values()) == pytest.approx(gap, rel=0.01, abs=1e-4)


def test_a_stream_that_is_not_there_has_no_part_in_it(folder):
    config = yaml.safe_load((folder / "run.yaml").read_text())
    del config["inputs"]["b"]
    (folder / "half.yaml").write_text(yaml.safe_dump(config))
    kept = Kept()
    run_inline(build_plan(load_config(folder / "half.yaml")), [kept], FakeClock())
    assert {decision.attribution["b"] for decision in kept.decisions} == {0.0}
    assert any(decision.attribution["a"] for decision in kept.decisions)


def test_a_stream_that_is_replaced_by_noise_counts_for_less(folder):
    """Of rows whose truth the model knows with clean streams: what stream a says for the truth, clean and as noise."""
    model = load_model(folder / "made")
    backend = make_backend("onnx", model)
    rng = np.random.default_rng(0)
    said = {"clean": [], "noise": []}
    for _ in range(60):
        high = bool(rng.random() < 0.5)
        sign = 1.0 if high else -1.0
        streams = {"a": rng.normal(sign, 1.5, (3, 4)), "b": rng.normal(sign, 2.0, (3, 3))}
        for kind in said:
            given = streams if kind == "clean" else {**streams, "a": rng.normal(0.0, 1.5, (3, 4))}
            said[kind].append(value_of_a(backend, given, int(high)))
    assert np.mean(said["noise"]) < 0.5 * np.mean(said["clean"])


def value_of_a(backend, streams, label):
    inputs = {name: np.repeat(backend.encode(name, rows)[None], 4, axis=0) for name, rows in streams.items()}
    presence = {"a": np.array([0, 1, 0, 1], np.float32), "b": np.array([0, 0, 1, 1], np.float32)}
    logits = backend.fuse(inputs, {name: np.repeat(row[:, None], 3, axis=1) for name, row in presence.items()})
    return shapley(gaps(logits, label))[0]


def test_json_lines_and_console_show_it(folder, capsys):
    assert main(["run", str(folder / "run.yaml"), "--quiet", "--out", str(folder / "out.jsonl")]) == 0
    lines = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert all(set(line["attribution"]) == {"a", "b"} for line in lines)


def test_the_warm_up_also_runs_the_coalitions(folder):
    model = load_model(folder / "made")
    seen = []
    backend = make_backend("onnx", model)

    class Counting:
        name = "counting"

        def encode(self, *given):
            return backend.encode(*given)

        def fuse(self, inputs, presence):
            seen.append(len(presence["a"]))
            return backend.fuse(inputs, presence)

    Graphs(model, Counting(), FakeClock())
    assert seen.count(4) >= 2
