import subprocess
import sys

import pytest
import torch
from tiny_model import tiny_spec

from operators.errors import ContractError
from operators.network import build_network, layout_of


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def with_encoder(**encoder):
    spec = tiny_spec(("video",))
    return {**spec, "inputs": {"video": {**spec["inputs"]["video"], "encoder": {"dim": 8, **encoder}}}}


def test_forward_is_encode_then_fuse():
    spec = tiny_spec(("video", "audio", "text", "imu"))
    network = build_network(spec).eval()
    inputs = {
        "video": torch.randint(0, 256, (2, 4, 16, 16), dtype=torch.uint8),
        "audio": torch.randn(2, 4, 4, 40),
        "text": torch.randint(0, 64, (2, 1, 8)),
        "imu": torch.randn(2, 1, 3, dtype=torch.float64),
    }
    presence = {name: torch.ones(x.shape[:2]) for name, x in inputs.items()}
    embeddings = {name: torch.stack([network.encode(name, window) for window in x]) for name, x in inputs.items()}
    logits = network(inputs, presence)
    assert logits.shape == (2, 3)
    assert torch.allclose(network.fuse(embeddings, presence), logits, atol=1e-5)


def test_the_head_knows_the_decided_instant_from_the_window():
    layout = layout_of({**tiny_spec(), "window": {"length_ms": 1600, "hop_ms": 80, "lag_ms": 200}})
    assert layout.instant == (1600 - 200 - 40) / 1600
    assert {name: (part.steps, part.dim) for name, part in layout.inputs.items()} == {"video": (4, 8), "audio": (4, 8), "text": (1, 8)}


def test_a_head_from_elsewhere_is_not_even_imported(tmp_path):
    (tmp_path / "canary.py").write_text("print('sung')")
    code = "from operators.network import build_network\nfrom tiny_model import tiny_spec\nbuild_network({**tiny_spec(), 'head': {'use': 'canary:Head'}})"
    path = f"{tmp_path}:{':'.join(sys.path)}"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": path}, check=False)
    assert "only modules under operators. may be named, got 'canary:Head'" in ran.stderr
    assert "sung" not in ran.stdout


@pytest.mark.parametrize(
    ("encoder", "problem"),
    [
        ({"use": "operators.nowhere:CNN"}, "no module operators.nowhere"),
        ({"use": "operators.encoders:Nothing"}, "not a network of this project"),
        ({"use": "operators.encoders:ContractError"}, "not a network of this project"),
        ({"use": "operators.encoders:_convolve"}, "not a network of this project"),
        ({"use": "operators.fusion.steps:F"}, "not a network of this project"),
        ({"use": "operators.encoders:FrameCNN", "widht": 4}, "unexpected keyword argument 'widht'; it takes"),
        ({"use": "operators.encoders:TokenBag"}, "TokenBag wants shape"),
    ],
)
def test_what_cannot_be_built_is_named(encoder, problem):
    with pytest.raises(ContractError, match=problem):
        build_network(with_encoder(**encoder))


def test_an_input_named_like_a_part_of_torch_is_refused():
    spec = tiny_spec(("video",))
    with pytest.raises(ContractError, match="cannot be called 'half'"):
        build_network({**spec, "inputs": {"half": spec["inputs"]["video"]}})
