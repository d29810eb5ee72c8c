"""All of the captured network but the capturing, on the CPU: a fake capture calls the work again instead of replaying it.

The same on a GPU, by its own capture: tests/contracts/test_backends.py and the tests marked `gpu` here.
"""

import copy
import gc
import weakref

import numpy as np
import pytest
import torch
from headgraphs import head_names, head_network
from tiny_model import write_tiny_model

from operators.errors import EngineMismatch
from pipeline.backends.torch import eager, graphed, load_network
from pipeline.engines.cuda_graphs import Bucketed, Call, Captured, capture, network_calls
from pipeline.engines.packing import BUCKETS
from pipeline.model import load_model
from pipeline.parity import relative_error

EDGES = [1, 2, 7, 8, 9, 31, 32, 33, 127, 128, 129, 255, 256, 257, 264, 265, 300]
GRU = {"audio": {"use": "operators.encoders_carried:PacketGRU", "dim": 8, "carry": True}}


class FakeCapture:
    """Counts what is captured and which of it is replayed, by number."""

    def __init__(self):
        self.captured, self.replayed = 0, []

    def __call__(self, work):
        number = self.captured
        self.captured += 1

        def replay():
            self.replayed.append(BUCKETS[number % len(BUCKETS)])
            work()

        return replay


SUMS = Call(inputs={"a": ((3,), "int64"), "b": ((), "float32")}, width=2, run=lambda given: sums(given["a"], given["b"]))


def sums(a, b):
    return torch.stack([a.sum(1).float(), b], dim=1)


def rows(count, seed=0):
    rng = np.random.default_rng(seed)
    return {"a": rng.integers(0, 1000, (count, 3)), "b": rng.integers(1, 1000, count).astype(np.float32)}


@pytest.fixture(scope="module")
def bucketed():
    return Bucketed(SUMS, device="cpu", capture=FakeCapture())


@pytest.mark.parametrize("count", EDGES)
def test_every_row_gets_its_own_result_whatever_the_batch(bucketed, count):
    feed = rows(count, seed=count)
    out = bucketed(feed)
    assert out.dtype == np.float32
    assert np.array_equal(out, np.stack([feed["a"].sum(1), feed["b"]], axis=1))


@pytest.mark.parametrize(
    ("count", "replayed"),
    [(1, [1]), (2, [8]), (9, [32]), (33, [128]), (129, [256]), (257, [256, 1]), (300, [256, 128]), (513, [256, 256, 1])],
)
def test_each_bucket_is_captured_once_and_a_batch_replays_the_one_that_holds_it(count, replayed):
    fake = FakeCapture()
    call = Bucketed(SUMS, device="cpu", capture=fake)
    assert fake.captured == len(BUCKETS)
    call(rows(count))
    assert fake.replayed == replayed
    assert fake.captured == len(BUCKETS)


def test_what_it_gave_is_not_overwritten_by_the_next_batch(bucketed):
    first = bucketed(rows(5, seed=1))
    kept = first.copy()
    bucketed(rows(5, seed=2))
    assert np.array_equal(first, kept)


def test_an_output_that_is_never_written_is_not_a_number_instead_of_the_one_before():
    works = iter([True, False])
    call = Captured(SUMS, 8, device="cpu", capture=lambda work: lambda: work() if next(works) else None)
    assert np.isfinite(call(rows(3))).all()
    assert np.isnan(call(rows(3))).all()


def test_a_smaller_batch_is_not_told_what_was_in_the_larger_one_before_it():
    """Not even by a network that looks across rows, as none may."""
    across = Call(inputs=SUMS.inputs, width=2, run=lambda given: sums(given["a"], given["b"]) + given["a"].sum())
    call = Captured(across, 8, device="cpu", capture=lambda work: work)
    alone = call(rows(2))
    call(rows(8, seed=1))
    assert np.array_equal(call(rows(2)), alone)


def test_weights_that_a_graph_knows_only_by_address_stay_where_they_are():
    weights = torch.nn.Linear(3, 2)
    there = weakref.ref(weights)
    call = Call(inputs={"x": ((3,), "float32")}, width=2, run=lambda given, weights=weights: weights(given["x"]))
    captured = Captured(call, 8, device="cpu", capture=lambda work: lambda: None)
    del weights, call
    gc.collect()
    assert there() is not None
    del captured


@pytest.fixture(scope="module", params=["plain", "carried"])
def model(request, tmp_path_factory):
    encoders = GRU if request.param == "carried" else None
    folder = tmp_path_factory.mktemp(request.param) / "tiny"
    return load_model(write_tiny_model(folder, ("video", "audio", "text", "imu"), encoders=encoders))


def feed_of(call, count, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.integers(0, 60, (count, *shape)).astype(dtype) for name, (shape, dtype) in call.inputs.items()}


@pytest.fixture(scope="module")
def runs(model):
    return graphed(model, device="cpu", capture=FakeCapture())


@pytest.mark.parametrize("count", [1, 2, 8, 9, 33, 129, 257])
def test_the_captured_network_says_what_the_network_in_float64_says(model, runs, count):
    exact = network_calls(load_network(model).double(), model.spec)
    for file, call in network_calls(load_network(model), model.spec).items():
        feed = feed_of(call, count, seed=count)
        wide = {name: given.astype(np.float64) if given.dtype == np.float32 else given for name, given in feed.items()}
        assert relative_error(runs[file](feed), eager(exact[file])(wide)) < 1e-5


def test_a_network_that_cannot_be_captured_is_a_mismatch_on_one_line(model):
    def refuse(work):
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    with pytest.raises(EngineMismatch, match=r"^model tiny: .* as CUDA graphs: operation not permitted when stream is capturing$"):
        graphed(model, device="cpu", capture=refuse)


@pytest.mark.parametrize("head", head_names())
def test_no_head_leaves_the_device_of_its_input_nor_asks_for_a_value_of_it(head):
    """On the device `meta` tensors have no values, and mixing devices is an error, as it is while a CUDA graph is captured."""
    network, spec = head_network(head)
    for call in network_calls(copy.deepcopy(network).to("meta"), spec).values():
        given = {name: torch.empty((8, *shape), dtype=getattr(torch, dtype), device="meta") for name, (shape, dtype) in call.inputs.items()}
        assert call.run(given).shape == (8, call.width)


NO_CUDA = not torch.cuda.is_available()


@pytest.mark.gpu
@pytest.mark.skipif(NO_CUDA, reason="no GPU that PyTorch can use")
@pytest.mark.parametrize("count", EDGES)
def test_on_a_gpu_the_replayed_graph_says_what_the_network_in_float64_says(model, count, on_the_gpu):
    exact = network_calls(load_network(model).double(), model.spec)
    for file, call in network_calls(load_network(model), model.spec).items():
        feed = feed_of(call, count, seed=count)
        wide = {name: given.astype(np.float64) if given.dtype == np.float32 else given for name, given in feed.items()}
        assert relative_error(on_the_gpu[file](feed), eager(exact[file])(wide)) < 1e-5


@pytest.fixture(scope="module")
def on_the_gpu(model):
    return graphed(model, device="cuda", capture=capture)


@pytest.mark.gpu
@pytest.mark.skipif(NO_CUDA, reason="no GPU that PyTorch can use")
def test_on_a_gpu_rows_have_the_same_bits_whoever_they_share_a_bucket_with(model, on_the_gpu):
    for file, call in network_calls(load_network(model), model.spec).items():
        full, few = feed_of(call, 32), {name: given[:9] for name, given in feed_of(call, 32).items()}
        assert on_the_gpu[file](full)[:9].tobytes() == on_the_gpu[file](few).tobytes()
