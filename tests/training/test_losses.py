from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pipeline.training.augment import Augment, augmented
from pipeline.training.batch import Batch
from pipeline.training.losses import Loss, LossTerm
from pipeline.training.optimise import make_optimiser, share_of_rate

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 3.0], [1.0, 0.0, 0.0]])
LABEL = torch.tensor([0, 1, 2, 2])
WEIGHT = torch.tensor([1.0, 2.0, 0.5])


def loss(*terms, smoothing=0.0, weight=WEIGHT):
    return Loss([LossTerm.model_validate(term) for term in terms], ["low", "mid", "high"], weight, smoothing)


def test_cross_entropy_weighs_the_classes():
    wanted = F.cross_entropy(LOGITS, LABEL, weight=WEIGHT)
    assert loss({"kind": "cross_entropy"})(LOGITS, LABEL) == pytest.approx(wanted.item())


def test_focal_without_gamma_is_cross_entropy_and_with_it_counts_the_easy_ones_less():
    plain, focal = loss({"kind": "focal", "gamma": 0})(LOGITS, LABEL), loss({"kind": "focal", "gamma": 2})(LOGITS, LABEL)
    assert plain == pytest.approx(F.cross_entropy(LOGITS, LABEL, weight=WEIGHT).item())
    easy, hard = torch.tensor([[5.0, 0.0, 0.0]]), torch.tensor([[-1.0, 0.0, 0.0]])
    first = torch.tensor([0])
    by_gamma = [loss({"kind": "focal", "gamma": gamma}) for gamma in (0, 2)]
    kept = [(made(easy, first) / made(hard, first)).item() for made in by_gamma]
    assert kept[1] < 0.01 * kept[0]
    assert focal < plain


def test_regression_is_the_squared_error_of_the_expected_value():
    made = loss({"kind": "regression", "values": {"low": 0.0, "mid": 1.0, "high": 4.0}})
    sure = torch.tensor([[50.0, 0.0, 0.0], [0.0, 50.0, 0.0]])
    assert made(sure, torch.tensor([1, 2])) == pytest.approx((1 + 9) / 2)


def test_a_regression_without_a_value_for_every_label_is_refused():
    with pytest.raises(ValueError, match=r"wants a value for each of low, mid, high, got \['low'\]"):
        loss({"kind": "regression", "values": {"low": 1.0}})


def test_several_losses_are_a_weighted_sum():
    terms = [{"kind": "cross_entropy", "weight": 2.0}, {"kind": "focal", "weight": 0.5}]
    assert loss(*terms)(LOGITS, LABEL) == pytest.approx(
        (2 * loss(terms[0] | {"weight": 1.0})(LOGITS, LABEL) + loss(terms[1])(LOGITS, LABEL)).item()
    )


def also(*terms):
    return Loss([LossTerm.model_validate(term) for term in terms], ["low", "mid", "high"], WEIGHT, 0.0, {"side": 2, "word": 3})


def test_a_further_question_is_judged_on_its_own_outputs_where_its_answer_is_known():
    outputs = torch.cat([LOGITS, torch.randn(4, 2), LOGITS.flip(1)], dim=1)
    word = torch.tensor([2, -1, 0, 1])
    made = also({"kind": "also", "of": "word", "weight": 0.5})(outputs, LABEL, {"word": word})
    assert made == pytest.approx(0.5 * F.cross_entropy(LOGITS.flip(1)[[0, 2, 3]], word[[0, 2, 3]]).item())


def test_decisions_without_a_label_are_passed_over_even_if_none_has_one():
    terms = [{"kind": "cross_entropy"}, {"kind": "also", "of": "side"}]
    outputs, side = torch.randn(4, 8), torch.tensor([0, 1, 1, -1])
    known = torch.tensor([0, -1, 2, -1])
    wanted = F.cross_entropy(outputs[[0, 2], :3], torch.tensor([0, 2]), weight=WEIGHT) + F.cross_entropy(outputs[:3, 3:5], side[:3])
    assert also(*terms)(outputs, known, {"side": side}) == pytest.approx(wanted.item())
    nothing = torch.full((4,), -1)
    assert also(*terms)(outputs, nothing, {"side": nothing}) == 0.0


def test_a_question_that_the_model_does_not_answer_is_refused():
    with pytest.raises(ValueError, match=r"one of \['side', 'word'\], got 'smell'"):
        also({"kind": "also", "of": "smell"})


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "steps"])
def test_every_schedule_warms_up_and_never_rises_after(schedule):
    shares = [share_of_rate(schedule, step / 100, 0.1) for step in range(101)]
    assert shares[0] < 0.02
    assert shares[10] == pytest.approx(1.0)
    assert all(a >= b - 1e-12 for a, b in pairwise(shares[10:]))
    assert shares[-1] == pytest.approx({"cosine": 0, "linear": 0, "constant": 1, "steps": 1e-3}[schedule], abs=1e-9)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "rmsprop"])
def test_every_optimiser_descends(name):
    weight = torch.nn.Parameter(torch.tensor([3.0]))
    made = make_optimiser(name, [weight], 0.05, 0.0)
    for _ in range(50):
        made.zero_grad()
        weight.square().sum().backward()
        made.step()
    assert abs(weight.item()) < 2.0


def batch():
    packets = {"a": torch.arange(12.0).reshape(4, 3), "t": torch.arange(4)[:, None], "p": torch.full((4, 2, 2), 100, dtype=torch.uint8)}
    packets["p"][0] = 250
    table = {name: torch.arange(4)[:, None] for name in packets}
    ends = torch.zeros(4, dtype=torch.long)
    return Batch(packets=packets, table=table, label=ends, around=ends[:, None], place=ends, lengths=dict.fromkeys(packets, (2, 2)))


def test_noise_is_in_deviations_of_each_number_and_leaves_tokens_and_the_given_batch_alone():
    given = batch()
    rules = {name: Augment.model_validate({"noise": 0.5}) for name in given.packets}
    made = augmented(given, rules, np.random.default_rng(0))
    assert torch.equal(made.packets["t"], given.packets["t"])
    assert torch.equal(given.packets["a"], batch().packets["a"])
    moved = (made.packets["a"] - given.packets["a"]) / given.packets["a"].std(0, correction=0)
    assert 0.2 < moved.std() < 0.8
    assert made.packets["p"].dtype == torch.uint8
    assert made.packets["p"].float().std() > 0


def test_dropped_steps_are_missing_steps():
    made = augmented(batch(), {"a": Augment.model_validate({"drop": 0.5})}, np.random.default_rng(1))
    assert 0 < (made.table["a"] == -1).sum() < 4
    assert (made.table["t"] >= 0).all()


def test_inputs_are_taken_away_from_whole_windows_but_never_all_of_them():
    made = augmented(batch(), {name: Augment.model_validate({"gone": 0.9}) for name in ("a", "t", "p")}, np.random.default_rng(1))
    left = torch.stack([(rows >= 0).all(1) for rows in made.table.values()])
    assert (left.sum(0) >= 1).all()
    assert (left.sum(0) < 3).any()


def test_the_parts_of_a_batch_make_up_the_loss_of_the_whole():
    kinds = [{"kind": "cross_entropy"}, {"kind": "focal"}, {"kind": "regression", "values": {"low": 0, "mid": 1, "high": 4}}]
    terms = [LossTerm.model_validate(term) for term in [*kinds, {"kind": "also", "of": "side"}, {"kind": "alone"}]]
    outputs, side = torch.cat([LOGITS, torch.randn(4, 2)], dim=1), torch.tensor([0, 1, -1, -1])
    label = torch.tensor([0, -1, 2, 1])
    counted = []

    def made(share, rows):
        loss = Loss(terms, ["low", "mid", "high"], WEIGHT, 0.1, {"side": 2}, share)
        known = label[rows][label[rows] >= 0]
        return loss(outputs[rows], label[rows], {"side": side[rows]}), loss.plain([LOGITS[rows][label[rows] >= 0]], known)

    whole = made(lambda counts: counted.append(counts) or torch.ones_like(counts), slice(None))
    for cut in range(5):
        parts = []
        for rows in (slice(cut), slice(cut, None)):
            every = iter(counted)
            parts.append(made(lambda counts, every=every: counts / next(every).clamp_min(1e-9), rows))
        for of_whole, *of_parts in zip(whole, *parts, strict=True):
            assert sum(of_parts).item() == pytest.approx(of_whole.item(), rel=1e-5)
