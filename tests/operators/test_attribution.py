"""Shapley values: against the definition over all orders, and what must hold for any game."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.attribution import attribution, coalitions, gaps, rows_of, shapley
from operators.errors import ContractError

GAMES = st.integers(0, 4).flatmap(lambda n: st.lists(st.floats(-50, 50), min_size=1 << n, max_size=1 << n))


def by_orders(worth):
    """The mean gain of each player over all orders in which they may come."""
    count = len(worth).bit_length() - 1
    values = np.zeros(count)
    orders = list(permutations(range(count)))
    for order in orders:
        row = 0
        for player in order:
            values[player] += worth[row | 1 << player] - worth[row]
            row |= 1 << player
    return values / len(orders)


@given(GAMES)
def test_they_are_the_mean_gain_over_all_orders_and_sum_to_the_whole_gain(worth):
    worth = np.array(worth)
    values = shapley(worth)
    np.testing.assert_allclose(values, by_orders(worth), atol=1e-9)
    assert values.sum() == pytest.approx(worth[-1] - worth[0], abs=1e-9)


def test_who_changes_nothing_gets_nothing_and_equals_get_the_same():
    worth = np.array([0.0, 2.0, 2.0, 5.0] * 2)  # player 2 changes nothing, 0 and 1 are alike
    assert shapley(worth).tolist() == [2.5, 2.5, 0.0]


def test_the_gap_is_to_the_rival_that_comes_closest_when_all_are_there():
    logits = np.array([[9.0, 0.0, 0.0], [1.0, 5.0, 3.0]], np.float32)
    assert gaps(logits, 1).tolist() == [0.0, 2.0]
    assert gaps(logits, 0).tolist() == [9.0, -4.0]


def test_rows_are_all_subsets_of_the_streams_that_are_there():
    presence = {"a": np.array([[1, 0, 1]], np.float32), "b": np.zeros((1, 2), np.float32), "c": np.ones((1, 1), np.float32)}
    names, made = coalitions(presence)
    assert names == ["a", "c"]
    assert made["a"].tolist() == [[0, 0, 0], [1, 0, 1], [0, 0, 0], [1, 0, 1]]
    assert made["c"].tolist() == [[0], [0], [1], [1]]
    assert made["b"].tolist() == [[0, 0]] * 4


def test_with_no_stream_at_all_every_value_is_0():
    names, made = coalitions({"a": np.zeros((1, 2), np.float32)})
    assert (names, len(made["a"])) == ([], 1)
    assert attribution(names, np.zeros((1, 2), np.float32), 0, ["a"]) == {"a": 0.0}


def test_too_many_streams_and_a_game_that_is_not_whole_are_refused():
    with pytest.raises(ContractError, match="at most 8 streams at once, got 9"):
        coalitions({str(n): np.ones((1, 1), np.float32) for n in range(9)})
    with pytest.raises(ContractError, match="all 2 \\*\\* n coalitions, got 3"):
        shapley(np.zeros(3))


def test_the_rows_of_the_streams_that_are_there_are_found_among_those_of_all_sets():
    assert rows_of(("a", "b", "c"), ("a", "b", "c")).tolist() == list(range(8))
    assert rows_of(("a", "c"), ("a", "b", "c")).tolist() == [0, 1, 4, 5]
    assert rows_of((), ("a", "b")).tolist() == [0]
