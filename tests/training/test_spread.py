"""One run in several processes: torchrun starts two that train a tiny model on a table, on the CPU."""

import json
import os
import subprocess
import sys

import pytest
import safetensors.torch
import tinytable
import torch

from operators.errors import BackendError
from pipeline.train import train
from pipeline.training.spread import Spread, _others

# Plain descent: Adam makes whole steps of gradients that are nothing but rounding.
SETS = [
    "loop.batch=4",
    "loop.deadline_share=0.3",
    "loop.average=0.8",
    "loop.drop=0.3",
    "loop.optimiser=sgd",
    "loop.epochs=2",
    "loop.learning_rate=0.2",
    "model.head.dropout=0",
    "model.inputs.a.encoder.dropout=0",
]

# Notes what each process has at the end of each epoch, before anything could have made it the same.
PROCESS = """
import hashlib, json, os, sys
from pathlib import Path
import torch
import pipeline.train as made
import pipeline.training.loop as loop
from pipeline.commands.train import train_config
config, out, notes, stop, *sets = sys.argv[1:]
rank, epochs = int(os.environ["RANK"]), []

def digest(tensors):
    return hashlib.sha256(b"".join(tensor.detach().contiguous().numpy().tobytes() for tensor in tensors)).hexdigest()

class Noted(loop.Descent):
    def run(self, segments, steps, **options):
        if len(epochs) == int(stop):
            os._exit(9)
        taken = list(segments)
        losses = super().run(iter(taken), steps, **options)
        epochs.append({"weights": digest(self._parameters), "statistics": digest(self._network.buffers()), "losses": losses, "segments": [digest(map(torch.from_numpy, s.packets.values())) for s in taken]})
        return losses

def settled(spread):
    norm = torch.nn.BatchNorm1d(2)
    norm.running_mean.fill_(rank)
    norm.other = torch.nn.Buffer(torch.tensor([rank + 5]))
    spread.settle(norm)
    here, nowhere = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(1))
    both = torch.nn.Parameter(torch.ones(1, 2, 2, 2).to(memory_format=torch.channels_last))
    both.grad = torch.full_like(both, rank + 1.0)
    if rank == 1:
        here.grad = torch.tensor([3.0, 4.0])
    losses = spread.sum_gradients([here, nowhere, both], torch.tensor([0.25, rank]))
    return {
        "mean": norm.running_mean.tolist(), "other": norm.other.tolist(), "losses": losses.tolist(),
        "share": spread.share(torch.tensor([rank + 1.0, 0.0])).tolist(), "agreed": spread.agreed(rank == 0),
        "grads": [here.grad.tolist(), nowhere.grad, both.grad.flatten().unique().tolist()],
        "laid out": both.grad.is_contiguous(memory_format=torch.channels_last),
    }

def fit(network, *given, spread, **named):
    made_of = settled(spread)
    history = plain(network, *given, spread=spread, **named)
    told = {"epochs": epochs, "end": digest(network.state_dict().values()), "told": len(history.epochs), "settled": made_of}
    Path(f"{notes}-{rank}.json").write_text(json.dumps(told))
    return history

loop.Descent, plain, made.fit = Noted, made.fit, fit
train_config(config, sets, out, False)
assert not torch.distributed.is_initialized()
# A thread of gloo that is left could abort the process when Python ends.
assert "pt_gloo_runloop" not in [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
"""


def launched(config, out, notes, stop=99):
    """The ended launcher of two processes. stop: the epoch that they are killed before."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    words = [sys.executable, "-c", PROCESS, str(config), str(out), str(notes), str(stop), *SETS]
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.run([*launcher, *words], env=environment, capture_output=True, text=True, timeout=110)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return tinytable.write(tmp_path_factory.mktemp("spread"), ", balance: 0.7")


@pytest.fixture(scope="module")
def two(config):
    """The launcher's end, and what each process noted."""
    folder = config.parent
    ended = launched(config, folder / "two", folder / "noted")
    assert ended.returncode == 0, ended.stderr
    return ended, [json.loads((folder / f"noted-{rank}.json").read_text()) for rank in range(2)]


def weights(folder):
    return safetensors.torch.load_file(folder / "weights.safetensors")


def test_two_processes_make_one_model_and_one_tells_of_it(config, two):
    ended, noted = two
    assert ended.stdout == f"{config.parent / 'two'}\n"
    assert "Traceback" not in ended.stderr
    assert (config.parent / "two" / "model.yaml").is_file()
    assert not (config.parent / "two.training").exists()
    assert [process["told"] for process in noted] == [2, 0]
    assert json.loads((config.parent / "two" / "metrics.json").read_text())["training"]["processes"] == 2
    assert ", 2 processes; seed 3" in (config.parent / "two" / "README.md").read_text()


def test_both_have_the_same_weights_after_every_epoch(two):
    first, second = (process["epochs"] for process in two[1])
    assert len(first) == len(second) == 2
    for here, there in zip(first, second, strict=True):
        assert here["weights"] == there["weights"]
        assert here["statistics"] == there["statistics"]
        assert here["losses"] == there["losses"]
        assert len(here["segments"]) == len(there["segments"]) == 12  # 6 steps of 4, shared
        assert here["segments"] != there["segments"]
    assert two[1][0]["end"] == two[1][1]["end"]


def test_they_make_the_weights_of_one_process_with_the_whole_batch(config, two, monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    one = weights(train(config, out=config.parent / "one", progress=False, overrides=SETS))
    for name, tensor in weights(config.parent / "two").items():
        torch.testing.assert_close(tensor, one[name], rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_a_run_of_two_that_was_killed_goes_on_to_the_same_weights(config, two):
    folder = config.parent
    assert launched(config, folder / "again", folder / "cut", stop=1).returncode != 0
    assert (folder / "again.training" / "state.json").is_file()
    assert not (folder / "again").exists()
    assert launched(config, folder / "again", folder / "again-noted").returncode == 0
    assert (folder / "again" / "weights.safetensors").read_bytes() == (folder / "two" / "weights.safetensors").read_bytes()


def test_what_passes_between_them(two):
    for rank, process in enumerate(two[1]):
        made = process["settled"]
        assert made["mean"] == [0.5, 0.5]
        assert made["other"] == [5]
        assert made["losses"] == [0.5, 1.0]
        assert made["share"] == pytest.approx([(rank + 1) / 3, 0.0])
        assert made["agreed"] is True
        assert made["grads"] == [[3.0, 4.0], None, [3.0]]
        assert made["laid out"] is True


def test_sessions_are_dealt_out():
    shares = [[number for number in range(6) if Spread(rank=rank, processes=3).takes(number)] for rank in range(3)]
    assert shares == [[0, 3], [1, 4], [2, 5]]


def test_another_process_that_is_gone_is_said_in_one_line():
    with (
        pytest.raises(BackendError, match="another process of this training has ended, and its own line says why \\(Connection closed"),
        _others(),
    ):
        raise RuntimeError("Connection closed by peer\nGLHF")
