import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.decide import Decider, softmax
from operators.errors import ContractError

LOGITS = {"a": np.array([2.0, 0.0, 0.0]), "b": np.array([0.0, 2.0, 0.0]), "c": np.array([0.0, 0.0, 2.0])}


def labels(decider, leaders):
    return "".join(decider.decide(LOGITS[leader])[0] for leader in leaders)


@pytest.mark.parametrize(
    ("hold", "leaders", "expected"),
    [
        (1, "abcba", "abcba"),
        (2, "aabaabba", "aaaaaabb"),
        (3, "abbbcca", "aaabbbb"),
        (2, "abcbcb", "aaaaaa"),  # two others in turn: neither stays
        (2, "b", "b"),  # the first decision has nothing to hold on to
    ],
)
def test_the_label_changes_once_another_has_led_hold_times_in_a_row(hold, leaders, expected):
    assert labels(Decider("abc", hold=hold), leaders) == expected


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(1, 4), st.integers(0, 30))
def test_a_restored_decider_goes_on_as_if_nothing_had_happened(leaders, hold, cut):
    whole, first, second = (Decider("abc", hold=hold) for _ in range(3))
    before = labels(first, leaders[:cut])
    second.restore(first.snapshot())
    assert before + labels(second, leaders[cut:]) == labels(whole, leaders)


def test_scores_are_never_held_back():
    decider = Decider("abc", hold=3)
    decider.decide(LOGITS["a"])
    label, scores = decider.decide(LOGITS["b"])
    assert label == "a"
    assert max(scores, key=scores.get) == "b"
    assert list(scores) == ["a", "b", "c"]
    assert sum(scores.values()) == pytest.approx(1.0)


def test_a_revision_says_who_leads_and_moves_nothing():
    decider = Decider("abc", hold=2)
    assert labels(decider, "ab") == "aa"
    assert decider.decide(LOGITS["c"], revision=1)[0] == "c"
    assert labels(decider, "b") == "b"


def test_a_higher_temperature_is_less_sure_and_of_the_same_mind():
    cold, warm = softmax(LOGITS["b"]), softmax(LOGITS["b"], 3.0)
    assert cold.argmax() == warm.argmax() == 1
    assert warm.max() < cold.max()


@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=8))
def test_probabilities_sum_to_one_however_large_the_logits(logits):
    assert softmax(np.array(logits)).sum() == pytest.approx(1.0)


@pytest.mark.parametrize("logits", [np.zeros(2), np.zeros((1, 3)), np.array([0.0, np.nan, 0.0]), np.array([0.0, np.inf, 0.0])])
def test_logits_of_another_shape_or_not_finite_are_refused(logits):
    with pytest.raises(ContractError, match="3 finite logits wanted"):
        Decider("abc").decide(logits)


@pytest.mark.parametrize("wrong", [{"labels": "a"}, {"labels": "aa"}, {"hold": 0}, {"temperature": 0.0}, {"temperature": float("nan")}])
def test_an_impossible_decider_is_refused(wrong):
    with pytest.raises(ContractError):
        Decider(**{"labels": "ab", **wrong})


def test_what_the_model_also_says_stands_behind_the_labels_and_is_not_held():
    decider = Decider("ab", hold=3, also={"word": ["-", "bin", "lay"], "loud": ["no", "yes"]})
    first, second = np.array([2.0, 0, 0, 9, 0, 1, 0]), np.array([0, 2.0, 0, 0, 9, 0, 1])
    assert decider.decide(first) == ("a", dict(zip("ab", softmax(first[:2]).tolist(), strict=True)))
    assert decider.answers(first) == {"word": "bin", "loud": "no"}
    assert decider.decide(second)[0] == "a"
    assert decider.answers(second) == {"word": "lay", "loud": "yes"}


def test_logits_without_the_further_answers_are_refused():
    with pytest.raises(ContractError, match="4 finite logits wanted"):
        Decider("ab", also={"word": ["-", "bin"]}).decide(np.zeros(2))
