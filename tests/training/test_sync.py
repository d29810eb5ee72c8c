"""The loss that teaches streams to find each other, and the batches it reads."""

import numpy as np
import pytest
import torch

from operators.fusion import InputLayout, Layout
from operators.fusion.sync import SyncHead
from operators.network import FusionNetwork
from pipeline.training.batch import Batch, Hops, make_batch
from pipeline.training.segment import UNLABELLED, Segment
from pipeline.training.sync import SyncLoss

STEPS, HOPS, DIM = 8, 4, 6
LAYOUT = Layout(inputs={name: InputLayout(steps=STEPS, dim=DIM) for name in ("a", "b")}, labels=2, instant=0.5)


def segment(labels):
    count = len(labels)
    return Segment(
        name="made",
        packets={"a": np.arange(count, dtype=np.float32)[:, None]},
        table={"a": np.arange(count)[:, None]},
        label=np.array(labels),
        condition=[""] * count,
        start_ns=np.arange(count),
    )


def batch_of(around, place):
    windows = len(around)
    return Batch(packets={}, table={}, label=torch.ones(windows, dtype=torch.long), around=torch.tensor(around), place=torch.tensor(place))


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield FusionNetwork({}, SyncHead(LAYOUT, width=16, blocks=1, lags=2))


def run(network, batch, *, present=1.0, label=1):
    """The sync loss of random features, the same at every call."""
    loss = SyncLoss(network, label=label)
    noise = torch.Generator().manual_seed(1)
    features = {name: torch.randn(9, STEPS, DIM, generator=noise)[: len(batch.label)] for name in LAYOUT.inputs}
    network.fuse(features, {name: torch.full((len(batch.label), STEPS), present) for name in LAYOUT.inputs})
    made = loss(batch)
    loss.close()
    return made


class TestBatch:
    def test_tells_the_label_of_every_hop_of_a_window(self):
        batch = make_batch([segment([0, 1, 0, 1, 1])], 5, Hops(count=4, decided=2), [np.random.default_rng(0)])
        by_place = dict(zip(batch.place.tolist(), batch.around.tolist(), strict=True))
        assert by_place == {
            0: [UNLABELLED, UNLABELLED, 0, 1],
            1: [UNLABELLED, 0, 1, 0],
            2: [0, 1, 0, 1],
            3: [1, 0, 1, 1],
            4: [0, 1, 1, UNLABELLED],
        }

    def test_the_decided_hop_has_the_windows_own_label(self):
        batch = make_batch([segment([0, 1, 0]), segment([1, 1, 0])], 3, Hops(count=5, decided=3), [np.random.default_rng(0)] * 2)
        assert batch.around[:, 3].tolist() == batch.label.tolist()

    def test_windows_of_two_sessions_are_never_neighbours(self):
        places = make_batch([segment([0, 1]), segment([1, 0])], 2, Hops(count=4, decided=2), [np.random.default_rng(0)] * 2).place
        assert (places[:2, None] - places[None, 2:]).abs().min() > 1000


class TestSyncLoss:
    def test_is_nothing_where_no_hop_has_the_label_or_nothing_is_present(self, network):
        assert run(network, batch_of([[0] * HOPS], [0])) == 0
        assert run(network, batch_of([[1] * HOPS], [0]), present=0.0) == 0
        assert run(network, batch_of([[1] * HOPS], [0])) > 0

    def test_other_windows_make_it_harder_unless_they_show_the_same_moments(self, network):
        network.eval()
        alone = run(network, batch_of([[1] * HOPS], [0]))
        far = run(network, batch_of([[1] * HOPS, [0] * HOPS], [0, 1000]))
        same = run(network, batch_of([[1] * HOPS, [0] * HOPS], [0, 0]))
        assert far > same
        assert far > alone

    def test_descending_it_brings_together_what_belongs_together(self, network):
        loss, noise = SyncLoss(network, label=1), torch.Generator().manual_seed(2)
        optimiser = torch.optim.Adam([*network.parameters(), *loss.parameters()], lr=0.01)
        batch = batch_of([[1] * HOPS] * 6, [1000 * number for number in range(6)])
        there = {name: torch.ones(6, STEPS) for name in LAYOUT.inputs}
        first = last = None
        for _ in range(60):
            shared = torch.randn(6, STEPS, DIM, generator=noise)
            network.fuse({"a": shared, "b": -shared}, there)
            last = loss(batch)
            first = last.item() if first is None else first
            optimiser.zero_grad()
            last.backward()
            optimiser.step()
        assert last.item() < 0.5 * first

    def test_lets_go_of_the_network(self, network):
        assert run(network, batch_of([[1] * HOPS], [0])) > 0
        assert not any(module._forward_hooks for module in network.modules())
