"""`sensorium evaluate`: figures that can be worked out by hand, and a whole run on a tiny model."""

import json

import numpy as np
import pytest
import tinytable
import torch

from pipeline.cli import main
from pipeline.evaluate import (
    Encoded,
    Scored,
    accuracy_of,
    balanced_of,
    best_temperature,
    calibration_error,
    confusion,
    interval,
    roc_auc,
    softmax,
    tempered,
)
from pipeline.report import noisy
from pipeline.train import train
from pipeline.training.segment import Segment


def scored(rows, label, session=None):
    label = np.array(label)
    session = np.zeros(len(label), np.int64) if session is None else np.array(session)
    return Scored(scores=np.array(rows, float), label=label, condition=np.full(len(label), "c"), session=session)


def test_scores_that_are_as_often_right_as_they_say_have_no_calibration_error():
    rows = [[0.8, 0.2]] * 10
    assert calibration_error(scored(rows, [0] * 8 + [1] * 2)) == pytest.approx(0.0)
    assert calibration_error(scored(rows, [1] * 10)) == pytest.approx(0.8)
    assert calibration_error(scored([[1.0, 0.0]] * 4, [0, 0, 1, 1])) == pytest.approx(0.5)


def test_the_area_under_the_curve_is_how_often_a_positive_is_above_a_negative():
    score, positive = np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, True, False, True])
    assert roc_auc(score, positive) == pytest.approx(3.5 / 4)  # one tie of four pairs
    assert roc_auc(-score, positive) == pytest.approx(0.5 / 4)
    assert np.isnan(roc_auc(score, np.ones(4, bool)))


class Told:
    """An engine whose outputs are the packets themselves."""

    def encode(self, stream, batch, before=None):
        return batch

    def fuse(self, inputs, presence):
        return inputs["a"][:, 0]


def test_further_answers_are_counted_where_they_are_known_and_labels_only_see_their_own_outputs():
    outputs = np.array([[2, 0, 0, 9, 0], [2, 0, 9, 0, 0], [0, 2, 0, 0, 9], [0, 2, 0, 0, 9]], np.float32)  # two labels, three answers
    made = Segment(
        name="s", packets={"a": outputs}, table={"a": np.arange(4)[:, None]}, label=np.array([0, 0, 1, -1]), condition=[""] * 4,
        start_ns=np.zeros(4, np.int64), also={"word": np.array([1, 1, 2, -1])},
    )  # fmt: skip
    encoded = Encoded(Told(), [made], labels=2, also={"word": 3})
    assert encoded.score(["a"]).scores.argmax(1).tolist() == [0, 0, 1]
    assert encoded.answered(["a"]) == {"word": pytest.approx(2 / 3)}


def test_the_temperature_takes_back_what_was_put_on():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 3))
    label = np.array([rng.choice(3, p=p) for p in softmax(logits)])
    assert best_temperature(scored(softmax(logits * 2), label)) == pytest.approx(2.0, abs=0.15)
    assert calibration_error(tempered(scored(softmax(logits * 2), label), 2.0)) < 0.02


def test_an_interval_is_of_sessions_not_of_decisions():
    right = [[1.0, 0.0]] * 100
    alike = scored(right, [0] * 50 + [1] * 50, [0] * 50 + [1] * 50)  # one session all right, one all wrong
    spread = scored(right, [0, 1] * 50, list(range(50)) * 2)
    low, high = interval(alike, accuracy_of)
    assert (low, high) == (0.0, 1.0)
    low, high = interval(spread, accuracy_of)
    assert 0.3 < low < 0.5 < high < 0.7
    assert interval(spread, accuracy_of) == interval(spread, accuracy_of)


def test_balanced_accuracy_counts_labels_alike_and_passes_over_those_that_do_not_occur():
    counts = np.array([[8.0, 2.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert balanced_of(counts) == pytest.approx((0.8 + 0.5) / 2)
    assert accuracy_of(counts) == pytest.approx(9 / 12)


def test_noise_leaves_padding_alone_and_pictures_in_their_range():
    packets = {"t": np.array([[3, 0], [4, 0], [5, 0], [6, 0]]), "p": np.full((4, 2, 2), 250, np.uint8), "x": np.ones((4, 3))}
    made = noisy(
        Segment(name="s", packets=packets, table={}, label=np.zeros(0, int), condition=[], start_ns=np.zeros(0, int)),
        {"t": np.zeros(1), "p": np.array([30.0]), "x": np.array([0.0, 1.0, 2.0])},
        2.0,
        np.random.default_rng(0),
    )
    assert (made.packets["t"][:, 1] == 0).all()
    assert made.packets["p"].dtype == np.uint8
    assert (made.packets["x"][:, 0] == 1).all()
    assert made.packets["x"][:, 2].std() > made.packets["x"][:, 1].std() > 0


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    threads = torch.get_num_threads()
    train(tinytable.write(folder), progress=False)
    yield folder
    torch.set_num_threads(threads)


def test_a_whole_run_prints_a_table_and_writes_every_figure(made, capsys):
    code = main(["evaluate", str(made / "made"), str(made / "train.yaml"), "--noise", "0", "--noise", "4", "--out", str(made / "f.json")])
    shown = capsys.readouterr().out
    assert code == 0
    assert "calibration error" in shown
    told = json.loads((made / "f.json").read_text())
    clean, loud = (part["by_presence"] for part in told["noise"])
    assert set(clean) == {"all", "a alone", "b alone"}
    assert clean["all"]["decisions"] == sum(map(sum, told["confusion"])) == 40
    assert clean["all"]["sessions"] == 2
    low, high = clean["all"]["accuracy_95"]
    assert low <= clean["all"]["accuracy"] <= high
    assert loud["all"]["accuracy"] < clean["all"]["accuracy"]
    assert confusion(scored([[1, 0]], [0])).sum() == 1


def test_a_config_of_another_model_is_told(made, tmp_path, capsys):
    text = (made / "train.yaml").read_text().replace("labels: [low, high]", "labels: [high, low]")
    (made / "other.yaml").write_text(text)
    assert main(["evaluate", str(made / "made"), str(made / "other.yaml")]) == 2
    assert "its data are for other inputs or labels than those of tiny" in capsys.readouterr().err
