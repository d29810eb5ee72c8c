"""Where a run computes, and how its pictures lie in memory: neither shows in what it leaves."""

import pytest
import safetensors.torch
import tinyfit
import torch

from operators.errors import ConfigError
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.config import Training
from pipeline.training.spread import CPU, Spread, device_of, spread_out

NO_CUDA = not torch.cuda.is_available()


def refused(path, problem, hint):
    return ConfigError("train.yaml:7", ".".join(path), problem, hint)


@pytest.mark.skipif(not NO_CUDA, reason="this machine has a GPU that torch finds")
class TestWithoutCuda:
    def test_auto_is_the_cpu(self):
        assert device_of("auto", 0, refused) == CPU

    def test_asking_for_it_is_a_mistake_in_the_config(self):
        with pytest.raises(
            ConfigError, match=r"train.yaml:7: loop.device: is cuda, and torch finds no CUDA device here; write auto or cpu"
        ):
            device_of("cuda", 0, refused)


def test_one_process_is_the_whole_run():
    with spread_out("cpu", 3, refused) as spread:
        assert spread == Spread()
        assert all(spread.takes(number) for number in range(7))


def test_a_batch_that_the_processes_cannot_share_is_a_mistake_in_the_config(monkeypatch):
    for name, value in {"RANK": 1, "LOCAL_RANK": 1, "WORLD_SIZE": 3, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    with (
        pytest.raises(ConfigError, match=r"loop.batch: is 4, which 3 processes cannot share evenly; make it a multiple"),
        spread_out("cpu", 4, refused),
    ):
        pass


def layout(network):
    return network.encoders["video"].layers[2][0].weight.is_contiguous(memory_format=torch.channels_last)


def test_pictures_lie_as_convolutions_like_them_during_training_and_as_files_want_them_after():
    network, during = tinyfit.network(), []
    before = {name: tensor.stride() for name, tensor in network.state_dict().items()}
    tinyfit.run(network, tell=lambda epoch: during.append(layout(network)))
    assert during == [True] * 3
    assert {name: tensor.stride() for name, tensor in network.state_dict().items()} == before
    safetensors.torch.save(network.state_dict())


@pytest.mark.parametrize("bfloat16", [False, True])
def test_pictures_too_go_on_to_the_same_weights(tmp_path, bfloat16):
    whole, cut = tinyfit.network(), tinyfit.network()
    tinyfit.run(whole, bfloat16=bfloat16)
    kept = Checkpoints(tmp_path / "kept", "digest")

    def stop(epoch):
        if epoch.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tinyfit.run(cut, bfloat16=bfloat16, checkpoints=kept, tell=stop)
    assert kept.load().state["descent"] == {"done": 4, "averaged": 4}
    again = tinyfit.network()
    tinyfit.run(again, bfloat16=bfloat16, checkpoints=kept)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_the_mean_of_a_bfloat16_run_is_near_that_of_a_float32_run():
    means = [tinyfit.run(tinyfit.network(), bfloat16=bfloat16).epochs[0].loss for bfloat16 in (False, True)]
    assert means[0] != means[1]
    assert means[0] == pytest.approx(means[1], rel=0.1)


def test_a_run_goes_on_on_another_device_and_with_as_many_processes_as_there_are(tmp_path):
    import tinytable

    path = tinytable.write(tmp_path)
    assert Training(path).digest == Training(path, ["loop.device=cuda"]).digest
    assert Training(path).digest != Training(path, ["loop.learning_rate=0.5"]).digest


@pytest.mark.gpu
@pytest.mark.skipif(NO_CUDA, reason="torch finds no CUDA device")
@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_gpu_makes_nearly_the_weights_of_a_cpu_and_keeps_them_for_any(tmp_path, bfloat16):
    here, there = tinyfit.network(), tinyfit.network()
    kept = Checkpoints(tmp_path / "kept", "digest")
    options = {"optimiser": "sgd", "bfloat16": bfloat16}
    first = tinyfit.run(here, **options)
    second = tinyfit.run(there, spread=Spread(device=torch.device("cuda")), checkpoints=kept, **options)
    assert there.device().type == "cuda"
    assert second.epochs[0].loss == pytest.approx(first.epochs[0].loss, rel=0.2)  # dropout is drawn anew on a GPU
    assert all(tensor.device == CPU for tensor in kept.load().tensors.values())
    tinyfit.run(tinyfit.network(), checkpoints=kept, epochs=4, **options)
