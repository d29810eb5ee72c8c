"""What can be asked of a running session, without one."""

import json
import threading

import pytest
import yaml
from tiny_model import write_tiny_model

from operators.errors import ConfigError
from pipeline.clock import FakeClock, SystemClock
from pipeline.config import validate
from pipeline.plan import build_plan
from pipeline.runtime.changes import changed
from pipeline.runtime.requests import Refused, answer, ask, asked


def test_a_question_is_given_once_and_its_answer_reaches_who_asked(tmp_path):
    heard = []

    def serve():
        while not heard:
            for path, request in asked(tmp_path):
                heard.append(request)
                answer(path, done="attached door")

    server = threading.Thread(target=serve)
    server.start()
    assert ask(tmp_path, {"detach": ["door"]}, SystemClock()) == "attached door"
    server.join()
    assert heard == [{"detach": ["door"]}]
    assert list(tmp_path.iterdir()) == []


def test_a_question_is_for_nobody_else_to_read(tmp_path):
    with pytest.raises(Refused, match="does not answer"):
        ask(tmp_path, {}, Peeking(tmp_path))
    assert list(tmp_path.iterdir()) == []


class Peeking(FakeClock):
    """Looks at the question whenever somebody waits."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def sleep_until(self, time_ns):
        super().sleep_until(time_ns)
        assert [path.stat().st_mode & 0o777 for path in self.folder.glob("ask-*")] == [0o600]


@pytest.mark.parametrize("content", ["", "{", "[1]", '"x"', "null"])
def test_what_is_no_question_is_answered_as_such(tmp_path, content):
    (tmp_path / "ask-1.json").write_text(content)
    assert list(asked(tmp_path)) == []
    assert json.loads((tmp_path / "ask-1.answer").read_text()) == {"refused": "this is no request"}


DESK = """
model: tiny
sources:
  cam: {use: "livebeat:LiveBeat", control: control}
  talk: {use: "livebeat:LiveBeat", control: control, streams: text}
inputs: {video: cam.video, text: talk.text}
"""
MIC = {"sources": {"mic": {"use": "livebeat:LiveBeat", "control": "control", "streams": "audio"}}, "inputs": {"audio": "mic.audio"}}


@pytest.fixture
def plan(tmp_path):
    write_tiny_model(tmp_path / "tiny")
    return build_plan(validate(yaml.safe_load(DESK), {}, origin=str(tmp_path / "desk.yaml")))


def test_a_source_is_attached_and_detached_and_decisions_keep_their_names(plan):
    after, done = changed(plan, {"attach": MIC}, recorded=False)
    assert done == "attached mic"
    assert after.config.inputs == {"video": "cam.video", "text": "talk.text", "audio": "mic.audio"}
    assert after.digest == plan.digest
    again, done = changed(after, {"detach": ["mic", "talk"]}, recorded=False)
    assert done == "detached mic, talk"
    assert again.config.inputs == {"video": "cam.video"}
    assert plan.config.inputs == {"video": "cam.video", "text": "talk.text"}


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ({"attach": {**MIC, "inputs": {"video": "mic.audio"}}}, "inputs.video is there already"),
        ({"attach": {"sources": {}, "inputs": {}}}, "are what can be attached"),
        ({"attach": {**MIC, "model": "other"}}, "not model"),
        ({"attach": {"sources": {"clip": {"use": "beatsource:Beat"}}, "inputs": {"audio": "clip.audio"}}}, "clip is not live"),
        ({"detach": ["cam", "talk"]}, "leave no source"),
        ({"detach": ["nobody"]}, "there are cam, talk"),
        ({"other": 1}, "no request"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(plan, request_, why):
    with pytest.raises(Refused, match=why):
        changed(plan, request_, recorded=False)


def test_mistakes_in_what_is_attached_are_told_as_in_a_config(plan):
    wrong = {"sources": {"mic": {"use": "livebeat:LiveBeat", "control": "control", "steams": "audio"}}, "inputs": {"audio": "mic.audio"}}
    with pytest.raises(ConfigError, match=r"sources.mic.steams.*streams"):
        changed(plan, {"attach": wrong}, recorded=False)


def test_a_recorded_session_is_not_changed(plan):
    with pytest.raises(Refused, match="recorded"):
        changed(plan, {"attach": MIC}, recorded=True)


def test_a_session_of_files_is_not_changed(tmp_path):
    write_tiny_model(tmp_path / "tiny")
    values = {"model": "tiny", "sources": {"av": {"use": "beatsource:Beat"}}, "inputs": {"video": "av.video"}}
    with pytest.raises(Refused, match="live sources"):
        changed(build_plan(validate(values, {}, origin=str(tmp_path / "x.yaml"))), {"attach": MIC}, recorded=False)
