"""Where a model draws the line between labels: fitted on validation, written into the last layer."""

import numpy as np
import pytest
import torch

from operators.fusion import InputLayout, Layout
from operators.fusion.concat import ConcatHead
from operators.fusion.late import LateHead
from operators.fusion.sync import SyncHead
from operators.network import FusionNetwork
from pipeline.training.card import fit_offsets
from pipeline.training.network import shift_logits
from pipeline.training.segment import Segment

LAYOUT = Layout(inputs={name: InputLayout(steps=8, dim=6) for name in ("a", "b")}, labels=3, instant=0.5)


class Shy:
    """Knows the label that a packet names, but says 1 too seldom: by `shy` in its logits."""

    def __init__(self, shy):
        self.shy = shy

    def encode(self, stream, batch):
        return batch

    def fuse(self, inputs, presence):
        known = inputs["a"][:, 0]
        return known - np.array([0, self.shy, 0], np.float32)


def segment(rng, count=300):
    label = rng.integers(0, 3, count)
    evidence = rng.standard_normal((count, 3)).astype(np.float32) * 0.3
    evidence[np.arange(count), label] += 1.0
    return Segment(
        name="made",
        packets={"a": evidence},
        table={"a": np.arange(count)[:, None]},
        label=label,
        condition=[""] * count,
        start_ns=np.arange(count),
    )


def recalls(shy, offsets, part):
    decided = (Shy(shy).fuse({"a": part.packets["a"][:, None]}, {}) + offsets).argmax(1)
    return np.array([np.mean(decided[part.label == label] == label) for label in range(3)])


@pytest.mark.parametrize("shy", [0.8, -0.6])
def test_the_offsets_bring_back_a_label_that_is_said_too_seldom_or_too_often(shy):
    offsets = fit_offsets(Shy(shy), [segment(np.random.default_rng(0)) for _ in range(8)])
    unseen = segment(np.random.default_rng(1), 5000)
    fair, wrong = recalls(0, [0, 0, 0], unseen), recalls(shy, [0, 0, 0], unseen)
    assert abs(wrong - fair).max() > 0.1
    assert recalls(shy, offsets, unseen).mean() > fair.mean() - 0.005
    assert abs(recalls(shy, offsets, unseen) - fair).max() < 0.06


def test_a_model_that_draws_the_line_well_keeps_it():
    offsets = fit_offsets(Shy(0), [segment(np.random.default_rng(0)) for _ in range(8)])
    assert np.abs(offsets).max() <= 0.1


@pytest.mark.parametrize("head", [ConcatHead, SyncHead])
def test_the_last_layer_takes_the_offsets_whatever_is_there(head):
    network = FusionNetwork({}, head(LAYOUT, width=16)).eval()
    features = {name: torch.randn(5, 8, 6) for name in LAYOUT.inputs}
    for there in (1.0, 0.0):
        presence = {name: torch.full((5, 8), there) for name in LAYOUT.inputs}
        with torch.inference_mode():
            before = network.fuse(features, presence)
        assert shift_logits(network, [0.0, 0.5, -0.25])
        with torch.inference_mode():
            after = network.fuse(features, presence)
        assert torch.allclose(after - before, torch.tensor([0.0, 0.5, -0.25]), atol=1e-5)


def test_a_head_that_mixes_what_its_streams_say_is_left_as_it_is():
    network = FusionNetwork({}, LateHead(LAYOUT, width=16))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert not shift_logits(network, [0.0, 0.5, -0.25])
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
