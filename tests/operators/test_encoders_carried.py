"""Encoders that remember: streaming packet by packet is the same as a sequence at once, and the future is never seen."""

import numpy as np
import pytest
import torch
from tiny_model import tiny_spec, write_tiny_model

from operators.encoders_carried import PacketGRU, PacketTransformer
from operators.errors import ContractError
from operators.network import build_network
from operators.packet import Closed, Packet, Series, Watermark
from operators.window import AlignedWindow
from pipeline.backends import make_backend
from pipeline.backends.torch import load_network
from pipeline.clock import FakeClock
from pipeline.evaluate import Encoded
from pipeline.model import load_model
from pipeline.parity import check_parity
from pipeline.runtime.batcher import Work, infer
from pipeline.runtime.graphs import Graphs
from pipeline.runtime.inference import Inference
from pipeline.training.batch import Hops, forward, make_batch
from pipeline.training.network import InTraining
from pipeline.training.segment import Cutter
from pipeline.training.session import LabelledSession, Truth

MS = 1_000_000
ENCODERS = {"gru": "operators.encoders_carried:PacketGRU", "transformer": "operators.encoders_carried:PacketTransformer"}


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def made(kind, dim=16):
    return {"gru": PacketGRU, "transformer": lambda d, s: PacketTransformer(d, s, memory=4)}[kind](dim, (3,)).eval()


def run(encoder, x, dim=16):
    """(L, 3) -> (L, dim), one packet after the other."""
    before, out = torch.zeros(1, dim), []
    with torch.no_grad():
        for row in x:
            before = encoder(row[None], before)
            out.append(before[0])
    return torch.stack(out)


@pytest.mark.parametrize("kind", ENCODERS)
class TestEncoder:
    def test_remembers_what_came_before_and_knows_nothing_of_what_comes_after(self, kind):
        encoder, x = made(kind), torch.randn(9, 3)
        whole, other = run(encoder, x), x.clone()
        other[5] += 1
        changed = (run(encoder, other) - whole).abs().amax(1) > 1e-6
        assert changed.tolist()[:7] == [False] * 5 + [True] * 2

    def test_has_a_gradient_for_every_weight_through_time(self, kind):
        encoder = made(kind)
        before = torch.zeros(2, 16)
        for _ in range(3):
            before = encoder(torch.randn(2, 3), before)
        before.square().sum().backward()
        assert [name for name, weight in encoder.named_parameters() if weight.grad is None] == []

    def test_exports_agrees_with_float64_and_runs_as_it_was_trained(self, kind, tmp_path):
        model = carried_model(tmp_path, kind)
        network = load_network(model)
        report = check_parity(network, model)
        assert report.worst < 1e-5
        segment = cut(model)
        batch = make_batch([segment, segment], 99, Hops(count=2, decided=1), [np.random.default_rng(0)] * 2)
        with torch.no_grad():
            trained = forward(network, batch).softmax(1).numpy()[: len(segment.label)]
        place = batch.place.numpy()[: len(segment.label)]
        scored = Encoded(InTraining(network), [segment]).score(["imu"]).scores
        served = Encoded(make_backend("onnx", model), [segment]).score(["imu"]).scores
        np.testing.assert_allclose(trained, scored[place], atol=1e-5)
        np.testing.assert_allclose(served, scored, atol=1e-5)

    def test_a_live_core_says_what_training_said_and_goes_on_after_a_restart(self, kind, tmp_path):
        model = carried_model(tmp_path, kind)
        segment = cut(model)
        wanted = Encoded(make_backend("onnx", model), [segment]).score(["imu"]).scores
        windows = list(cutter(model)._windows(session(), "wait", 0))
        graphs = Graphs(model, make_backend("onnx", model), FakeClock())
        first, second = Inference(graphs), Inference(graphs)
        said = [softmaxed(inferred(first, window)) for window in windows[:5]]
        second.restore(first.snapshot())
        said += [softmaxed(inferred(second, window)) for window in windows[5:]]
        assert all(isinstance(window, AlignedWindow) for window in windows)
        np.testing.assert_allclose(said, wanted, atol=1e-6)


def inferred(inference, window):
    ((_, made),) = infer([Work(inference=inference, window=window)])
    return made


def carried_model(folder, kind):
    spec = {"use": ENCODERS[kind], "dim": 16, "carry": True, **({"memory": 4} if kind == "transformer" else {})}
    return load_model(write_tiny_model(folder / "tiny", ("imu",), encoders={"imu": spec}, takes={"imu": {"take": "window", "steps": 4}}))


def session():
    rng = np.random.default_rng(3)
    events = []
    for seq in range(25):
        start_ns = seq * 40 * MS
        packet = Packet(stream="imu", seq=seq, start_ns=start_ns, end_ns=start_ns, payload=Series(values=rng.normal(size=3)))
        events += [(start_ns, packet), (start_ns, Watermark(stream="imu", time_ns=start_ns + 1))]
    truth = [Truth(start_ns=0, end_ns=10**9, label="silent")]
    return LabelledSession(name="made", events={"imu": [*events, (10**9, Closed(stream="imu", time_ns=10**9))]}, truth=truth)


def cutter(model):
    return Cutter(model, {"imu": list})


def cut(model):
    return cutter(model).cut(session())


def softmaxed(inferred):
    powers = np.exp(inferred.logits.astype(float) - inferred.logits.max())
    return powers / powers.sum()


def test_the_transformer_forgets_what_lies_beyond_its_memory():
    encoder, x = made("transformer"), torch.randn(9, 3)
    other = x.clone()
    other[2] += 1
    changed = (run(encoder, other) - run(encoder, x)).abs().amax(1) > 1e-6
    assert changed.tolist() == [False] * 2 + [True] * 3 + [False] * 4  # memory 4: this packet and two before it


@pytest.mark.parametrize(("dim", "memory", "heads"), [(16, 2, 1), (15, 4, 1), (16, 4, 3)])
def test_a_transformer_that_does_not_divide_is_refused(dim, memory, heads):
    with pytest.raises(ContractError, match="PacketTransformer wants memory >= 3"):
        PacketTransformer(dim, (3,), memory=memory, heads=heads)


@pytest.mark.parametrize(("use", "carry", "said"), [("PacketGRU", False, "carries, so carry: true"), ("SeriesMLP", True, "carry: false")])
def test_model_yaml_and_encoder_must_agree_on_carrying(use, carry, said):
    spec = tiny_spec(("imu",))
    module = "encoders" if use == "SeriesMLP" else "encoders_carried"
    spec["inputs"]["imu"] = {**spec["inputs"]["imu"], "encoder": {"use": f"operators.{module}:{use}", "dim": 8, "carry": carry}}
    with pytest.raises(ContractError, match=said):
        build_network(spec)
