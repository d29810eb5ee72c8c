import importlib
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import operators.fusion
from operators.errors import ContractError
from operators.fusion import InputLayout, Layout
from operators.fusion.attention import AttentionHead
from operators.fusion.concat import ConcatHead
from operators.fusion.evidence import EvidenceHead
from operators.fusion.late import LateHead
from operators.fusion.mean import MeanHead
from operators.fusion.product import ProductHead
from operators.fusion.recurrent import BothWays, RecurrentHead
from operators.fusion.steps import Fill, InstantPool, LocalCorrelation
from operators.fusion.tensor import TensorHead
from operators.fusion.weighted import WeightedHead

LAYOUTS = {
    "three": Layout(
        inputs={"video": InputLayout(steps=10, dim=6), "audio": InputLayout(steps=10, dim=5), "text": InputLayout(steps=1, dim=4)},
        labels=3,
        instant=0.8,
    ),
    "two time axes": Layout(
        inputs={"a": InputLayout(steps=4, dim=3), "b": InputLayout(steps=8, dim=3), "c": InputLayout(steps=8, dim=3)}, labels=2, instant=0.5
    ),
    "one sequence": Layout(inputs={"a": InputLayout(steps=4, dim=3)}, labels=2, instant=1.0),
    "one state": Layout(inputs={"a": InputLayout(steps=1, dim=3)}, labels=2, instant=0.0),
}


def heads():
    """Every class called ...Head in operators/fusion; a new file there is tested by being there."""
    modules = [
        importlib.import_module(f"operators.fusion.{path.stem}")
        for path in sorted(Path(operators.fusion.__file__).parent.glob("[a-z]*.py"))
    ]
    return [
        value for module in modules for name, value in vars(module).items() if name.endswith("Head") and value.__module__ == module.__name__
    ]


def pairs():
    """(head, layout) for all heads and the layouts they do not refuse."""
    for head in heads():
        for name, layout in LAYOUTS.items():
            try:
                head(layout)
            except ContractError:
                continue
            yield pytest.param(head, layout, id=f"{head.__name__}-{name}")


def test_the_heads_that_models_name_are_here_and_take_three_streams():
    taken = {case.values[0] for case in pairs() if case.values[1] is LAYOUTS["three"]}
    assert {ConcatHead, AttentionHead, LateHead} <= taken == set(heads())
    assert len(taken) == 17


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.set_num_threads(1)
        yield


def sample(layout, count=5):
    features = {name: torch.randn(count, shape.steps, shape.dim) for name, shape in layout.inputs.items()}
    presence = {name: (torch.rand(count, shape.steps) < 0.7).float() for name, shape in layout.inputs.items()}
    return features, presence


@pytest.mark.parametrize(("head", "layout"), list(pairs()))
class TestEveryHead:
    def test_gives_logits_that_depend_on_their_own_window_alone(self, head, layout):
        made = head(layout, width=16).eval()
        features, presence = sample(layout)
        logits = made(features, presence)
        one = made({name: x[2:3] for name, x in features.items()}, {name: x[2:3] for name, x in presence.items()})
        assert logits.shape == (5, layout.labels)
        assert torch.allclose(one, logits[2:3], atol=1e-5)

    def test_whatever_stands_in_a_missing_step_does_not_matter(self, head, layout):
        made = head(layout, width=16).eval()
        features, presence = sample(layout)
        junk = {name: torch.where(presence[name][..., None] > 0, x, torch.nan) for name, x in features.items()}
        assert torch.equal(made(features, presence), made(junk, presence))

    def test_is_finite_and_trainable_when_everything_is_missing(self, head, layout):
        made = head(layout, width=16)
        features, presence = sample(layout)
        logits = made(features, {name: torch.zeros_like(x) for name, x in presence.items()})
        F.cross_entropy(logits, torch.zeros(5, dtype=torch.long)).backward()
        assert torch.isfinite(logits).all()
        assert all(weight.grad is None or torch.isfinite(weight.grad).all() for weight in made.parameters())

    def test_sees_every_input_and_that_it_is_missing(self, head, layout):
        made = head(layout, width=16).eval()
        features, _ = sample(layout)
        presence = {name: torch.ones(5, shape.steps) for name, shape in layout.inputs.items()}
        logits = made(features, presence)
        for name in layout.inputs:
            assert not torch.allclose(made({**features, name: features[name].flip(0)}, presence), logits)
            assert not torch.allclose(made(features, {**presence, name: torch.zeros_like(presence[name])}), logits)

    def test_gives_every_weight_a_gradient(self, head, layout):
        made = head(layout, width=16, dropout=0.0)
        F.cross_entropy(made(*sample(layout)), torch.tensor([0, 1, 0, 1, 0])).backward()
        assert [name for name, weight in made.named_parameters() if weight.grad is None] == []


def dubbed(count, generator, steps=12, dim=8):
    """Lips always move; label 1: the voice follows them at a delay of -1..1 steps, label 0: it follows something else."""
    lips, other = (torch.randn(count, steps + 2, 3, generator=generator) for _ in range(2))
    label = torch.randint(0, 2, (count,), generator=generator)
    index = torch.arange(steps) + torch.randint(0, 3, (count, 1), generator=generator)
    source = torch.where(label[:, None, None] == 1, lips, other)
    voice = source.gather(1, index[..., None].expand(-1, -1, 3))
    mix = torch.randn(2, 3, dim, generator=torch.Generator().manual_seed(7))
    return (
        {"video": torch.tanh(lips[:, 1:-1] @ mix[0]), "audio": torch.tanh(voice @ mix[1])},
        {name: torch.ones(count, steps) for name in ("video", "audio")},
        label,
    )


def accuracy_on_dubbed(head):
    generator = torch.Generator().manual_seed(1)
    layout = Layout(inputs={"video": InputLayout(steps=12, dim=8), "audio": InputLayout(steps=12, dim=8)}, labels=2, instant=0.8)
    made = head(layout, width=32, dropout=0.0)
    optimiser = torch.optim.AdamW(made.parameters(), 3e-3)
    for _ in range(150):
        features, presence, label = dubbed(64, generator)
        optimiser.zero_grad()
        F.cross_entropy(made(features, presence), label).backward()
        optimiser.step()
    features, presence, label = dubbed(400, generator)
    return (made.eval()(features, presence).argmax(1) == label).float().mean().item()


@pytest.mark.parametrize("head", [ConcatHead, AttentionHead])
def test_a_head_that_sees_both_streams_learns_to_tell_a_dubbed_voice(head):
    assert accuracy_on_dubbed(head) > 0.85


@pytest.mark.parametrize("head", [LateHead, ProductHead])
def test_a_head_that_joins_verdicts_cannot_tell_a_dubbed_voice(head):
    assert accuracy_on_dubbed(head) < 0.65


def test_a_product_of_too_many_streams_is_refused_before_it_is_built():
    inputs = {f"s{number}": InputLayout(steps=1, dim=2) for number in range(6)}
    with pytest.raises(ContractError, match="6 streams of rank 12 make a product of 4826809 entries, 65536 are allowed"):
        TensorHead(Layout(inputs=inputs, labels=2, instant=0.5))


@pytest.mark.parametrize("head", [MeanHead, WeightedHead, ProductHead])
def test_a_stream_that_is_missing_has_no_vote(head):
    layout = LAYOUTS["three"]
    made = head(layout, width=16).eval()
    features, presence = sample(layout)
    presence["text"] = torch.zeros(5, 1)
    before = made(features, presence)
    with torch.no_grad():
        made.opinions["text"].classify[-1].bias += 100 * torch.randn(3)
    assert torch.allclose(made(features, presence), before)


def test_the_mean_of_streams_that_agree_is_their_verdict():
    made = MeanHead(LAYOUTS["three"], width=16).eval()
    for opinion in made.opinions.values():
        torch.nn.init.zeros_(opinion.classify[-1].weight)
        opinion.classify[-1].bias.data = torch.tensor([0.5, 0.3, 0.2]).log()
    features, _ = sample(LAYOUTS["three"])
    logits = made(features, {name: torch.ones(5, shape.steps) for name, shape in LAYOUTS["three"].inputs.items()})
    assert torch.allclose(torch.softmax(logits, 1), torch.tensor([0.5, 0.3, 0.2]), atol=1e-3)


def test_correlation_is_highest_at_the_delay_between_the_streams():
    correlate = LocalCorrelation(6, lags=2, views=1, dim=6)
    correlate.right.load_state_dict(correlate.left.state_dict())
    a = torch.randn(1, 20, 6)
    b = a.roll(1, dims=1)  # b[t + 1] == a[t]
    out = correlate(a, b, torch.ones(1, 20), torch.ones(1, 20))  # lags -2, -1, 0, 1, 2
    assert out.shape == (1, 20, 5)
    assert out[0, 2:-2].mean(0).argmax() == 3
    assert torch.allclose(out[0, 2:-2, 3], torch.ones(16), atol=1e-3)


def test_correlation_is_zero_where_either_step_is_missing_or_outside():
    correlate = LocalCorrelation(4, lags=1, views=2)
    a_presence, b_presence = torch.ones(1, 5), torch.ones(1, 5)
    a_presence[0, 1] = b_presence[0, 3] = 0
    out = correlate(torch.randn(1, 5, 4), torch.randn(1, 5, 4), a_presence, b_presence).reshape(5, 3, 2)
    zero = {(step, lag - 1) for step in range(5) for lag in range(3) if not out[step, lag].any()}
    assert zero == {(0, -1), (4, 1), (1, -1), (1, 0), (1, 1), (2, 1), (3, 0), (4, -1)}


def test_fill_puts_the_null_vector_into_missing_steps():
    fill = Fill(3, 4)
    out = fill(torch.randn(1, 2, 3), torch.tensor([[1.0, 0.0]]))
    assert torch.equal(out[0, 1], fill.null)
    assert not torch.equal(out[0, 0], fill.null)


def test_the_pool_starts_out_centred_on_the_decided_step():
    pool = InstantPool(4, 9, 6)
    torch.nn.init.zeros_(pool.score.weight)
    weights = [pool(torch.eye(9)[step].reshape(1, 9, 1).expand(-1, -1, 4))[0, 4].item() for step in range(9)]
    assert weights.index(max(weights)) == 6
    assert sum(weights) == pytest.approx(1.0)


@pytest.mark.parametrize(("instant", "steps", "expected"), [(0.85, 40, 34), (1.0, 40, 39), (0.0, 40, 0), (0.5, 1, 0)])
def test_the_decided_instant_lies_in_a_step(instant, steps, expected):
    layout = Layout(inputs={"a": InputLayout(steps=steps, dim=1)}, labels=2, instant=instant)
    assert layout.instant_step(steps) == expected


def test_evidence_counts_in_full_at_the_decided_step_and_around_it_by_the_mean_of_the_steps_that_are_there():
    made = EvidenceHead(Layout(inputs={"a": InputLayout(steps=4, dim=2)}, labels=2, instant=0.5), around=0.5).eval()
    made.streams["a"].tell[-1].weight.data = torch.eye(2)
    torch.nn.init.zeros_(made.streams["a"].tell[-1].bias)
    x = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [0.0, 8.0], [5.0, 0.0]]])
    assert made({"a": x}, {"a": torch.tensor([[1.0, 0.0, 1.0, 1.0]])}).tolist() == [[0.5 * (1 + 5) / 2, 8.0]]
    assert made({"a": x}, {"a": torch.tensor([[0.0, 0.0, 1.0, 0.0]])}).tolist() == [[0.0, 8.0]]
    assert made({"a": x}, {"a": torch.tensor([[1.0, 0.0, 0.0, 0.0]])}).tolist() == [[0.5, 0.0]]


def test_reading_both_ways_is_a_recurrent_unit_forwards_and_one_backwards():
    made, wanted = BothWays(5), torch.nn.GRU(5, 5, bidirectional=True, batch_first=True)
    for way, suffix in enumerate(("", "_reverse")):
        getattr(wanted, f"weight_ih_l0{suffix}").data = made.new[way].T
        getattr(wanted, f"weight_hh_l0{suffix}").data = made.old[way].T
        getattr(wanted, f"bias_ih_l0{suffix}").data = made.new_bias[way, 0]
        getattr(wanted, f"bias_hh_l0{suffix}").data = made.old_bias[way, 0]
    x = torch.randn(3, 7, 5)
    torch.testing.assert_close(made(x), wanted(x)[0])


def test_a_recurrent_head_hears_of_the_steps_before_and_after_the_decided_one():
    made = RecurrentHead(LAYOUTS["one sequence"], width=8).eval()
    x, there = torch.randn(1, 4, 3), {"a": torch.ones(1, 4)}
    before = made({"a": x}, there)
    for step in range(4):
        assert not torch.allclose(made({"a": x + torch.nn.functional.one_hot(torch.tensor(step), 4)[None, :, None]}, there), before)


def test_inputs_on_two_time_axes_cannot_be_read_step_by_step():
    with pytest.raises(ContractError, match=r"RecurrentHead wants inputs on one time axis, got step counts \[4, 8\]"):
        RecurrentHead(LAYOUTS["two time axes"])
