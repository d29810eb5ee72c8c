"""Decisions against the truth."""

import pytest
from decisions import decision

from operators.errors import ConfigError
from pipeline.score import Score, TrueSpan, read_truth


def span(start_ms, end_ms, label):
    return TrueSpan(start_ns=start_ms * 1_000_000, end_ns=end_ms * 1_000_000, label=label)


def test_a_decision_is_judged_at_the_middle_of_its_span():
    #  truth     |--a--|--b--|
    #  decision     [====)       its middle is where b begins
    score = Score([span(0, 100, "a"), span(100, 200, "b")])
    score.add(decision(window=0, start_ms=50, end_ms=150, label="b"))
    assert score.accuracy() == 1.0


def test_a_decision_outside_of_the_truth_is_not_judged():
    score = Score([span(0, 100, "a"), span(200, 300, "a")])
    for window, start_ms in enumerate([0, 100, 300]):
        score.add(decision(window=window, start_ms=start_ms, end_ms=start_ms + 100, label="a"))
    assert (score.count, score.outside) == (1, 2)


def test_a_revision_replaces_the_decision_that_it_corrects():
    score = Score([span(0, 100, "a")])
    score.add(decision(window=0, start_ms=0, end_ms=100, label="b"))
    score.add(decision(window=0, start_ms=0, end_ms=100, label="a", revision=1))
    assert (score.count, score.accuracy()) == (1, 1.0)


def test_precision_and_recall_by_label():
    score = Score([span(0, 300, "a"), span(300, 400, "b")])
    for window, label in enumerate(["a", "b", "a", "b"]):
        score.add(decision(window=window, start_ms=window * 100, end_ms=window * 100 + 100, label=label))
    by_label = {row.label: (row.support, row.precision, row.recall) for row in score.by_label()}
    assert by_label == {"a": (3, 1.0, pytest.approx(2 / 3)), "b": (1, 0.5, 1.0)}
    assert score.accuracy() == 0.75
    assert score.confusion() == {("a", "a"): 2, ("a", "b"): 1, ("b", "b"): 1}


def test_a_label_that_was_never_said_or_never_true_has_nothing_to_divide_by():
    score = Score([span(0, 100, "a")])
    score.add(decision(window=0, start_ms=0, end_ms=100, label="b"))
    assert [(row.precision, row.recall) for row in score.by_label()] == [(None, 0.0), (0.0, None)]


def test_truth_may_be_in_milliseconds_or_nanoseconds(tmp_path):
    path = tmp_path / "truth.jsonl"
    path.write_text('{"start_ms": 5, "end_ms": 9, "label": "b"}\n\n{"start_ns": 0, "end_ns": 5000000, "label": "a", "note": 1}\n')
    assert read_truth(path) == [span(0, 5, "a"), span(5, 9, "b")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("speaking", "is not JSON"),
        ('{"start_ms": 5, "end_ms": 5, "label": "a"}', "wants whole start_ms < end_ms"),
        ('{"start_ms": 0, "end_ms": 1.5, "label": "a"}', "wants whole start_ms < end_ms"),
        ('{"start_ms": 0, "end_ms": 5}', "wants whole start_ms < end_ms"),
        ("[]", "wants whole start_ms < end_ms"),
        ('{"start_ms": 0, "end_ms": 5, "label": "a"}\n{"start_ms": 4, "end_ms": 6, "label": "b"}', "has two labels at 4000000 ns"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_a_truth_file_that_is_none_says_why(tmp_path, text, problem):
    path = tmp_path / "truth.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_truth(path)
    assert problem in caught.value.problem
