"""Somebody's own network: trained by name, exported as a graph, and never imported by who runs the model."""

import subprocess
import sys
import textwrap

import pytest
from tiny_model import tiny_spec

from operators.errors import ContractError, EngineMismatch
from operators.network import build_network
from pipeline.backends import make_backend
from pipeline.export import save_model
from pipeline.model import load_model, parse_spec
from pipeline.training.own import own_class


@pytest.fixture
def mine(tmp_path, monkeypatch):
    code = """
        import torch
        from torch import nn
        class Net(nn.Module):
            def __init__(self, dim, shape, *, gain=1.0):
                super().__init__()
                self.layer, self.gain = nn.Linear(shape[0], dim), gain
            def forward(self, x):
                return self.gain * self.layer(x.to(self.layer.weight.dtype))
        class Mean(nn.Module):
            def __init__(self, layout):
                super().__init__()
                self.layer = nn.Linear(layout.inputs["imu"].dim, layout.labels)
            def forward(self, features, presence):
                return self.layer((features["imu"] * presence["imu"][..., None]).mean(1))
        thing = 3
    """
    (tmp_path / "my_own_nets.py").write_text(textwrap.dedent(code))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("my_own_nets", None)


def spec(**encoder):
    content = tiny_spec(("imu",))
    content["inputs"]["imu"] = {**content["inputs"]["imu"], "encoder": {"use": "operators.own:OwnModule", "dim": 8, **encoder}}
    return parse_spec({**content, "head": {"use": "operators.own:OwnModule", "of": "my_own_nets:Mean"}}, "mine")


def test_it_trains_by_name_and_its_model_runs_without_it(mine, tmp_path):
    content = spec(of="my_own_nets:Net", gain=2.0)
    network = build_network(content, own_class)
    assert network.encoders["imu"].gain == 2.0
    model, report = save_model(network, content, {}, "Mine.", tmp_path / "made")
    assert report.worst < 1e-5
    code = (
        "import sys, numpy as np\nfrom pipeline.backends import make_backend\nfrom pipeline.model import load_model\n"
        f"made = make_backend('auto', load_model({str(model.folder)!r})).encode('imu', np.ones((1, 3)))\n"
        "print(made.shape, 'my_own_nets' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env={"PYTHONPATH": str(mine)})
    assert ran.stdout.strip() == "(1, 8) False", ran.stderr


def test_who_runs_the_model_on_torch_is_told_to_use_the_graphs(mine, tmp_path):
    content = spec(of="my_own_nets:Net")
    save_model(build_network(content, own_class), content, {}, "Mine.", tmp_path / "made")
    with pytest.raises(EngineMismatch, match=r"my_own_nets:Net is its trainer's own network.*run the model with the onnx backend"):
        make_backend("torch", load_model(tmp_path / "made"))


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ("my_own_nets:Nett", "is no torch.nn.Module"),
        ("my_own_nets:thing", "is no torch.nn.Module"),
        ("nowhere.nets:Net", "is its folder on PYTHONPATH"),
        ("", "wants of: module:Class"),
    ],
)
def test_a_name_that_leads_nowhere_is_told(mine, of, said):
    with pytest.raises(ContractError, match=said):
        build_network(spec(of=of), own_class)


def test_an_option_it_does_not_take_is_told_with_those_it_does(mine):
    with pytest.raises(ContractError, match=r"unexpected keyword argument 'gian'; it takes .*gain"):
        build_network(spec(of="my_own_nets:Net", gian=2.0), own_class)


def test_weights_of_both_parts_are_in_the_network(mine):
    names = set(build_network(spec(of="my_own_nets:Net"), own_class).state_dict())
    assert names == {"encoders.imu.layer.weight", "encoders.imu.layer.bias", "head.layer.weight", "head.layer.bias"}
