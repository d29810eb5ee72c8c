"""`sensorium explain`: what it says adds up, and the picture is a picture."""

import cv2
import numpy as np
import pytest
import yaml
from tiny_model import write_tiny_model
from tinymedia import clicks, write_media

from pipeline.cli import main
from pipeline.config import load_config
from pipeline.explain import explain
from pipeline.explain_picture import WIDTH, picture_of
from pipeline.plan import build_plan


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    write_tiny_model(folder / "tiny", ("video", "audio", "text"))
    write_media(
        folder / "clip.mkv", stamps_ms=list(range(0, 1000, 40)), sound=clicks(1.0, 16000, [0.3, 0.5]), cues=[(100, 900, "the lamp is red")]
    )
    size = {"use": "operators.video:Resize", "width": 16, "height": 16}
    content = {
        "model": "./tiny",
        "sources": {"media": {"use": "pipeline.sources.file:MediaFile", "path": "clip.mkv"}},
        "inputs": {name: f"media.{name}" for name in ("video", "audio", "text")},
        "transforms": {"video": [size]},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(content))
    return folder / "run.yaml"


@pytest.fixture(scope="module")
def made(config):
    return explain(build_plan(load_config(config)), 500_000_000)


def test_it_is_about_the_decision_of_that_time(made):
    assert made.start_ns <= 500_000_000 < made.end_ns
    assert made.label == max(made.scores, key=made.scores.get) != made.rival


def test_streams_sum_to_the_gap_and_gradients_to_what_rose_from_the_baseline(made):
    assert sum(made.streams.values()) == pytest.approx(made.gap - made.gap_of_nothing, abs=1e-9)
    assert made.unexplained < 0.05
    assert {name: rows.shape for name, rows in made.saliency.items()} == {"video": (4, 16, 16), "audio": (4, 4, 40)}


def test_every_word_of_the_caption_has_its_weight(made):
    assert [word for word, _ in made.words] == ["the", "lamp", "is", "red"]
    assert any(value for _, value in made.words)


def test_the_picture_has_all_parts(made):
    picture = picture_of(made)
    assert picture.shape[1] == WIDTH
    assert picture.shape[0] > 600
    assert picture.dtype == np.uint8


def test_the_command_writes_it_and_says_what_counts(config, tmp_path, capsys):
    assert main(["explain", str(config), "--at", "0.5", "--out", str(tmp_path / "e.png")]) == 0
    said = capsys.readouterr().out
    assert "streams: video " in said
    assert "words: the " in said
    assert cv2.imread(str(tmp_path / "e.png")).shape[1] == WIDTH


@pytest.mark.parametrize(("at", "problem"), [("90", "no decision is about that time"), ("soon", "is no time")])
def test_a_time_that_is_not_there_is_told(config, at, problem, tmp_path, capsys):
    assert main(["explain", str(config), "--at", at, "--out", str(tmp_path / "e.png")]) == 2
    assert problem in capsys.readouterr().err
