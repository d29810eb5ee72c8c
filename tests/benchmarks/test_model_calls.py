"""The benchmarks of engines: who cannot run says why and takes no turn, and what is no number is no small error."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from tiny_model import write_tiny_model

from benchmarks.model_calls import WARM_UPS, cell, first_answer, made, random_feed, timed
from benchmarks.model_gpu import compare, largest_error, on_device
from operators.errors import BackendUnavailable
from pipeline.backends import make_backend
from pipeline.backends.torch import Runs, load_network
from pipeline.engines.cuda_graphs import network_calls
from pipeline.engines.packing import row_count
from pipeline.export_report import cases_of
from pipeline.model import load_model
from pipeline.parity import relative_error


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(write_tiny_model(tmp_path_factory.mktemp("model") / "tiny", ("video", "audio", "text")))


@pytest.fixture(scope="module")
def cases(model):
    return list(cases_of(model, load_network(model).double()))


def test_engines_take_turns_and_what_they_do_to_warm_up_does_not_count():
    turns, ticks = [], itertools.count(0, 2000)
    calls = {"a": lambda: turns.append("a"), "b": "refuses", "c": lambda: turns.append("c")}
    found = timed(calls, 4, lambda: next(ticks))
    assert turns == ["a", "c"] * (WARM_UPS + 4)
    assert found["b"] == "refuses"


def test_figures_are_of_the_rounds_behind_the_warm_up():
    now = itertools.chain([0] * WARM_UPS, itertools.chain.from_iterable((at, at + 3000) for at in (10, 20, 30)))
    assert timed({"a": lambda: None}, 3, lambda: next(now)) == {"a": {"p50": 3.0, "p99": 3.0}}
    assert cell({"p50": 3.4, "p99": 12.6}) == "3 (13)"


def refuse():
    raise BackendUnavailable("no engine\nhere")


def test_an_engine_that_is_not_there_leaves_its_reason_in_its_cell(model):
    assert made(refuse) == "no engine here"
    assert first_answer("no engine here", model, "fuse.onnx", {}) == "no engine here"
    assert cell("a | b" + "c" * 200) == "a / b" + "c" * 115


def test_an_engine_that_fails_at_its_first_call_too(model):
    def fail(feed):
        raise RuntimeError("No working C++ compiler found")

    feed = random_feed(network_calls(load_network(model), model.spec)["encode_text.onnx"], 2)
    assert first_answer(Runs(model.spec, {"encode_text.onnx": fail}), model, "encode_text.onnx", feed) == "No working C++ compiler found"


@pytest.mark.parametrize("file", ["encode_video.onnx", "encode_text.onnx", "fuse.onnx"])
@pytest.mark.parametrize("batch", [1, 8])
def test_engines_are_compared_with_float64_in_the_same_calls_that_are_timed(model, cases, file, batch):
    call = network_calls(load_network(model), model.spec)[file]
    mine = [case for case in cases if case.file == file and row_count(case.feed) == batch]
    engines = {"none": "not installed", "onnx": make_backend("onnx", model), "eager": on_device(model, file, call, batch, "cpu")["eager"]}
    found = compare(model, call, engines, mine, batch, 2)
    assert found["none"] == {"us": "not installed", "error": None}
    for name in ("onnx", "eager"):
        assert 0 < found[name]["error"] < 1e-5
        assert found[name]["us"]["p50"] > 0


def test_one_number_that_was_never_written_is_an_infinite_error(model, cases):
    mine = [case for case in cases if case.file == "encode_text.onnx" and row_count(case.feed) == 8]
    wanted = mine[-1].wanted.copy()
    wanted[3, 1] = np.nan
    assert relative_error(wanted, mine[-1].wanted) == float("inf")
    assert largest_error(Runs(model.spec, {"encode_text.onnx": lambda feed: wanted}), model, mine) == float("inf")


def test_without_a_gpu_it_ends_with_one_line_that_says_so_and_the_engines_exit_code():
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run([sys.executable, "-m", "benchmarks.model_gpu"], capture_output=True, text=True, env=hidden, check=False)
    assert (ran.returncode, ran.stdout) == (BackendUnavailable.exit_code, "")
    (line,) = ran.stderr.splitlines()
    assert line.startswith("model_gpu needs an NVIDIA GPU")
    assert line.endswith("nothing was measured")
