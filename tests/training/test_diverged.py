"""A loss that is no number ends the run with one line; what was good of it can be gone on from."""

import numpy as np
import pytest
import tinyfit
import tinytable
import torch

from operators.errors import ConfigError
from pipeline.train import train
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.config import Training
from pipeline.training.descent import Diverged


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_an_absurd_learning_rate_is_one_line_that_says_what_to_try(tmp_path):
    path = tinytable.write(tmp_path, ", bfloat16: true")
    with pytest.raises(ConfigError) as caught:
        train(path, progress=False, overrides=["loop.learning_rate=1e30"])
    assert str(caught.value) == (
        "--set loop.learning_rate=1e30: loop.learning_rate: the loss was nan at step 2 of 24: training has diverged; "
        "lower it from 1e+30, or set bfloat16: false; no epoch was whole yet"
    )
    assert caught.value.exit_code == 2
    assert not (tmp_path / "made").exists()


def test_the_last_whole_epoch_is_kept_and_another_rate_goes_on_from_it(tmp_path):
    kept = Checkpoints(tmp_path / "kept", "strict", "released")
    with pytest.raises(Diverged, match=r"the loss was nan at step 5 of 6"):
        tinyfit.run(tinyfit.network(), feed=tinyfit.feed_of(spoilt=[2]), checkpoints=kept)
    assert Checkpoints(tmp_path / "kept", "another rate", "released").load() is None
    assert kept.release()
    other = Checkpoints(tmp_path / "kept", "another rate", "released")
    assert all(np.isfinite(tensor.numpy()).all() for tensor in other.load().tensors.values())
    history = tinyfit.run(tinyfit.network(), checkpoints=other, learning_rate=1e-4)
    assert [epoch.number for epoch in history.epochs] == [0, 1, 2]


def test_only_a_rate_and_bfloat16_may_change_then(tmp_path):
    path = tinytable.write(tmp_path)
    released = Training(path).released_digest
    assert Training(path, ["loop.learning_rate=0.5", "loop.bfloat16=true"]).released_digest == released
    assert Training(path, ["loop.batch=4"]).released_digest != released
    assert Training(path).digest != released


def test_weights_that_blow_up_in_the_last_step_of_an_epoch_are_not_kept(tmp_path):
    kept = Checkpoints(tmp_path / "kept", "strict", "released")
    with pytest.raises(Diverged, match=r"the weights were no longer finite after step 1 of 3"):
        tinyfit.run(tinyfit.network(), checkpoints=kept, steps=1, learning_rate=float("inf"), warm_up=0)
    assert kept.load() is None
    assert not kept.release()
