"""`sensorium calibrate`: from a config's sources to the line that puts sound and picture together."""

import shutil

import pytest
import yaml

from operators.avoffset import AvOffset
from operators.errors import ConfigError
from pipeline.calibrate import CannotSay, measure
from pipeline.commands.calibrate import offset_line, written
from pipeline.config import SHIPPED, load_config
from pipeline.plan import build_plan

CONFIGS = SHIPPED.parent.parent / "configs"


@pytest.fixture
def plan():
    return build_plan(load_config(CONFIGS / "demo.yaml"))


def found(audio_ms, spread_ms=6.0):
    return AvOffset(audio_ms=audio_ms, spread_ms=spread_ms, correlation=0.5, voiced_s=9)


def test_the_drawn_scene_is_in_step(plan):
    assert abs(measure(plan, 20).audio_ms) < 40


def test_five_seconds_of_it_are_too_little_and_that_is_said(plan):
    with pytest.raises(CannotSay, match="nothing can be said"):
        measure(plan, 2.5)


def test_a_config_without_a_picture_is_told(tmp_path):
    plan = build_plan(load_config(CONFIGS / "demo.yaml", ["inputs={audio: media.audio}", "sources.media.path=/nowhere.mp4"]))
    with pytest.raises(CannotSay, match="no input of kind video"):
        measure(plan, 6)


def test_a_microphone_that_leads_is_moved_back(plan):
    assert offset_line(plan, found(-84.3)) == "offset_ms: {audio: 84}"
    assert offset_line(plan, found(120.0)) == "offset_ms: {audio: -120}"


def test_what_the_measurement_cannot_tell_from_nothing_is_not_set(plan):
    assert offset_line(plan, found(20.0)) is None
    assert offset_line(plan, found(35.0, spread_ms=38.0)) is None


def test_the_line_is_written_into_the_config_and_its_comments_stay(tmp_path):
    path = tmp_path / "desk.yaml"
    shutil.copy(CONFIGS / "demo.yaml", path)
    written(load_config(path), "offset_ms: {audio: 84}")
    assert "# at every tick: silent" in path.read_text()
    assert load_config(path).offset_ms == {"audio": 84}
    assert yaml.safe_load(path.read_text())["offset_ms"] == {"audio": 84}
    with pytest.raises(ConfigError, match="set already"):
        written(load_config(path), "offset_ms: {audio: 85}")
