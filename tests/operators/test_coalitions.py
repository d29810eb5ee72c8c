"""Every set of inputs fused at once: row by row what the head and the network say when the others are taken away."""

from itertools import product

import pytest
import torch

from operators.errors import ContractError
from operators.fusion import InputLayout, Layout
from operators.fusion.concat import ConcatHead
from operators.fusion.sync import SyncHead
from operators.network import FusionNetwork

T, W = 6, 8


def layout(**steps):
    return Layout(inputs={name: InputLayout(steps=count, dim=3 + count % 3) for name, count in steps.items()}, labels=2, instant=0.6)


LAYOUTS = {
    "two timed, one single": layout(video=T, audio=T, text=1),
    "singles among the timed": layout(text=1, video=T, note=1, audio=T),
    "three timed": layout(c=T, a=T, b=T),
    "one timed": layout(a=T),
}
KINDS = ("there", "gone", "holes")


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(0)
        torch.set_num_threads(1)
        yield


def sync(of):
    head = SyncHead(of, width=W, blocks=2, lags=2).eval()
    for norm in head.modules():
        if isinstance(norm, torch.nn.BatchNorm1d):  # as after a training
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2.0)
    return head.double()


def sample(of, kinds, count):
    features = {name: torch.randn(count, shape.steps, shape.dim).double() for name, shape in of.inputs.items()}
    made = {"there": torch.ones, "gone": torch.zeros, "holes": lambda *shape: (torch.rand(*shape) < 0.6).float()}
    return features, {name: made[kind](count, of.inputs[name].steps).double() for name, kind in zip(of.inputs, kinds, strict=True)}


def row_by_row(fuse, features, presence):
    rows = [
        fuse(features, {name: there * (row >> bit & 1) for bit, (name, there) in enumerate(presence.items())})
        for row in range(1 << len(presence))
    ]
    return torch.stack(rows, dim=1)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("of", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_row_is_what_the_head_says_of_that_set(of, count):
    head = sync(of)
    for kinds in product(KINDS, repeat=len(of.inputs)):
        features, presence = sample(of, kinds, count)
        wanted = row_by_row(head, features, presence)
        made = head.coalitions(features, presence)
        assert made.shape == (count, 1 << len(of.inputs), 2)
        torch.testing.assert_close(made, wanted, rtol=1e-9, atol=1e-11)
        if set(kinds) == {"there"}:  # no two sets say the same, so none can stand for another
            assert len({tuple(row) for row in made[0].tolist()}) == 1 << len(of.inputs)


def test_what_stands_in_a_step_that_is_not_there_matters_in_no_row():
    of = LAYOUTS["two timed, one single"]
    head = sync(of)
    features, presence = sample(of, ("holes", "holes", "gone"), 3)
    clean = head.coalitions(features, presence)
    spoilt = {name: torch.where(presence[name].unsqueeze(-1) > 0, x, torch.nan) for name, x in features.items()}
    assert torch.equal(head.coalitions(spoilt, presence), clean)


@pytest.mark.parametrize("offsets", [True, False])
@pytest.mark.parametrize("kinds", list(product(KINDS, repeat=3)))
def test_each_row_has_the_offsets_of_the_inputs_that_are_there_in_it(kinds, offsets):
    of = LAYOUTS["two timed, one single"]  # not in the order of their names, which is that of the offsets
    network = FusionNetwork({name: torch.nn.Identity() for name in of.inputs}, sync(of)).double()
    if offsets:
        network.set_offsets({("audio",): [3.0, 0.0], ("text", "video"): [0.0, 5.0], ("audio", "video"): [7.0, 1.0], (): [0.5, 0.0]}, 2)
        network.double()
    features, presence = sample(of, kinds, 2)
    torch.testing.assert_close(network.coalitions(features, presence), row_by_row(network.fuse, features, presence), rtol=1e-9, atol=1e-11)


def test_a_head_that_cannot_share_says_so():
    of = LAYOUTS["one timed"]
    network = FusionNetwork({"a": torch.nn.Identity()}, ConcatHead(of))
    with pytest.raises(ContractError, match=r"ConcatHead has no coalitions\(\)"):
        network.coalitions(*sample(of, ("there",), 1))
