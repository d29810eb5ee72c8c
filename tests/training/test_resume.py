"""A training run that is killed goes on after its last epoch and ends with the very weights it would have had."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import tinytable
import torch

from pipeline.train import train
from pipeline.training.checkpoint import STATE_FILE, Checkpoints

HOLD = """
import sys, time
from pathlib import Path
import pipeline.training.loop as loop
from pipeline.train import train
validate = loop.validate
def slow(*given):
    made = validate(*given)
    while (Path(sys.argv[2]) / "state.json").is_file() and '"number": 1' in (Path(sys.argv[2]) / "state.json").read_text():
        time.sleep(0.05)  # held in the third epoch until it is killed
    return made
loop.validate = slow
train(Path(sys.argv[1]), progress=False)
"""


def killed_in_the_third_epoch(config, folder):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(config), str(folder)], env={**os.environ, "PYTHONPATH": ":".join(sys.path)})
    for _ in range(1100):
        if (folder / STATE_FILE).is_file() and len(json.loads((folder / STATE_FILE).read_text())["state"]["epochs"]) == 2:
            break
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_run_that_was_killed_ends_with_the_same_weights(tmp_path, threads):
    config = tinytable.write(tmp_path, ", average: 0.9, augment: {a: {noise: 0.3, spread: true, drop: 0.1}}")
    whole = train(config, out=tmp_path / "whole", progress=False)
    killed_in_the_third_epoch(config, tmp_path / "made.training")
    assert not (tmp_path / "made" / "model.yaml").exists()
    made = train(config, progress=False)
    for name in ("weights.safetensors", "fuse.onnx", "curves.png", "confusion.png"):
        assert (made / name).read_bytes() == (whole / name).read_bytes(), name
    assert not (tmp_path / "made.training").exists()


def test_another_config_does_not_go_on_from_it_and_damage_is_no_checkpoint(tmp_path):
    kept = Checkpoints(tmp_path / "kept", "digest")
    kept.save(1, {"w": torch.arange(3.0)}, {"n": 1})
    kept.save(2, {"w": torch.arange(4.0)}, {"n": 2})
    assert kept.load().state == {"n": 2}
    assert kept.load().tensors["w"].tolist() == [0, 1, 2, 3]
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["epoch-2.safetensors", STATE_FILE]
    assert Checkpoints(tmp_path / "kept", "other").load() is None
    (tmp_path / "kept" / "epoch-2.safetensors").write_bytes(b"\x80\x04pickle")
    assert kept.load() is None
    (tmp_path / "kept" / STATE_FILE).write_text("{")
    assert kept.load() is None
    kept.clear()
    assert not (tmp_path / "kept").exists()


def test_a_checkpoint_that_names_a_file_elsewhere_is_read_from_its_own_folder(tmp_path):
    kept = Checkpoints(tmp_path / "kept", "digest")
    kept.save(1, {"w": torch.zeros(1)}, {})
    told = json.loads((tmp_path / "kept" / STATE_FILE).read_text())
    (tmp_path / "outside.safetensors").write_bytes((tmp_path / "kept" / "epoch-1.safetensors").read_bytes())
    (tmp_path / "kept" / STATE_FILE).write_text(json.dumps({**told, "tensors": "../outside.safetensors"}))
    assert kept.load() is None
