"""A config becomes a plan, or says why not; nothing is opened or started for it."""

import shutil

import pytest
import yaml
from tiny_model import write_tiny_model
from tinymedia import clicks, write_media

from operators.errors import ConfigError
from pipeline.check import check_plan
from pipeline.config import Config, load_config
from pipeline.plan import build_plan
from pipeline.ports import Wanted, both

MS = 1_000_000
FILE = "pipeline.sources.file:MediaFile"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    write_tiny_model(folder / "tiny")
    config = {
        "model": "tiny",
        "sources": {"media": {"use": FILE, "path": "clip.mkv"}},
        "inputs": {"video": "media.video", "audio": "media.audio", "text": "media.text"},
    }
    (folder / "desk.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture
def plan(folder):
    return lambda *overrides: build_plan(load_config(folder / "desk.yaml", overrides))


@pytest.fixture
def error_of(plan):
    def error(*overrides):
        with pytest.raises(ConfigError) as caught:
            plan(*overrides)
        return caught.value

    return error


def test_the_plan_is_the_same_when_it_is_built_again_from_json(plan):
    first = plan("align.deadline_ms=70")
    again = build_plan(Config.model_validate_json(first.config.model_dump_json()))
    assert (again.digest, again.align, again.edges) == (first.digest, first.align, first.edges)


def test_a_plan_of_a_file_that_is_not_there_can_be_built(plan):
    assert plan().make_source("media").live is False


@pytest.mark.parametrize(
    "override", ["run.runner=inline", "session=other", "sinks.0={use: 'pipeline.sinks.jsonl:JsonLines', path: x}", "run.duration=5"]
)
def test_the_digest_leaves_out_what_no_decision_depends_on(plan, override):
    assert plan(override).digest == plan().digest


@pytest.mark.parametrize(
    "override",
    ["align.deadline_ms=10", "run.speed=max", "decide.hold=2", "sources.media.path=b.mkv", "transforms.text.0.use=operators.text:Clean"],
)
def test_the_digest_covers_what_decisions_depend_on(plan, override):
    assert plan(override).digest != plan().digest


def test_the_digest_does_not_depend_on_where_the_config_lies(plan, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "moved")
    assert build_plan(load_config(tmp_path / "moved" / "desk.yaml")).digest == plan().digest


def test_at_full_speed_nothing_is_dropped_and_every_window_waits(plan):
    fast = plan("run.speed=max", "edges.video.policy=latest")
    assert fast.align.mode == "wait"
    assert {edge.policy for edge in fast.edges.values()} == {"lossless"}


def test_as_live_a_window_goes_out_at_its_deadline(plan):
    align = plan("align.deadline_ms=70", "align.revise_ms=500").align
    assert (align.mode, align.deadline_ns, align.revise_ns) == ("deadline", 70 * MS, 500 * MS)


def test_an_edge_keeps_the_bounds_that_are_not_given(plan):
    edges = plan("edges.video.max_packets=3", "edges.audio={policy: throttle, per_second: 5}").edges
    assert (edges["video"].max_packets, edges["video"].max_bytes, edges["video"].policy) == (3, 8 << 20, "drop_oldest")
    assert (edges["audio"].policy, edges["audio"].per_second) == ("throttle", 5)


def test_streams_are_renamed_to_the_inputs_that_they_feed(plan):
    renamed = plan("inputs={video: media.picture, text: media.text}")
    assert renamed.source_inputs("media") == {"video": "picture", "text": "text"}
    assert renamed.wanted("media")["picture"].pixels == "gray"


def test_an_input_that_nothing_feeds_is_noted(plan):
    assert plan("inputs={video: media.video}").notes == (
        "nothing feeds audio: it is masked in every decision",
        "nothing feeds text: it is masked in every decision",
    )


def test_a_deadline_at_full_speed_is_noted(plan):
    assert "align.deadline_ms has no effect at speed max" in plan("run.speed=max", "align.deadline_ms=20").notes[0]


def test_own_transforms_come_before_those_of_the_model(plan):
    chain = plan("transforms.text.0.use=operators.text:Clean").make_transforms("text")
    assert [type(operator).__name__ for operator in chain] == ["Clean", "Clean", "HashTokens"]


@pytest.mark.parametrize(
    ("override", "key", "problem", "hint"),
    [
        ("model=tyny", "model", "there is no model 'tyny'", "shipped models"),
        ("inputs.vidoe=media.video", "inputs.vidoe", "the model tiny has no such input", "did you mean 'video'?"),
        ("inputs.video=medai.video", "inputs.video", "there is no source 'medai'", "did you mean 'media'?"),
        ("offset_ms.smell=3", "offset_ms.smell", "the model tiny has no such input", "inputs of tiny"),
        ("edges.vid.max_packets=3", "edges.vid", "the model tiny has no such input", "video"),
        ("transforms.sound=[]", "transforms.sound", "the model tiny has no such input", "inputs of tiny: audio, text, video"),
        ("sources.extra={use: 'pipeline.sources.file:MediaFile', path: x}", "sources.extra", "feeds no input", "remove it"),
        ("sources.media.use=pipeline.sources.file:SUFFIXES", "sources.media.use", "there is no SUFFIXES", "it has: MediaFile"),
        ("sources.media.use=pipeline.sinks.jsonl:JsonLines", "sources.media.use", "is no source: it has no open()", "pipeline/sources/"),
        ("sinks.0.use=pipeline.sources.synthetic:Scene", "sinks.0.use", "is no sink: it has no decision()", "pipeline/sinks/"),
        ("edges.video={policy: latest, per_second: 3}", "edges.video", "per_second > 0 goes with throttle", "correct"),
    ],
)
def test_a_mistake_names_its_key(error_of, override, key, problem, hint):
    error = error_of(override)
    assert error.key == key
    assert problem in error.problem
    assert hint in error.hint


def test_a_truth_is_looked_for_beside_the_config(plan, folder):
    assert plan("truth=sub/truth.jsonl").truth == folder / "sub" / "truth.jsonl"


def test_one_stream_may_feed_two_inputs_one_of_them_through_a_recogniser(plan, folder):
    write_media(folder / "there.mkv", sound=clicks(1, 16000, [0.5]), cues=[(100, 350, "one")])
    (folder / "yes.jsgf").write_text("#JSGF V1.0; grammar g; public <s> = yes | no;")
    heard = plan(
        "sources.media.path=there.mkv",
        "inputs={audio: media.audio, text: media.audio}",
        "transforms.text.0={use: 'operators.sphinx:Sphinx', grammar: yes.jsgf}",
    )
    assert heard.source_inputs("media") == {"audio": "audio", "text": "audio"}
    assert (heard.kind_wanted("text"), heard.kind_wanted("audio")) == ("audio", "audio")
    assert [feed.spec.kind for feed in check_plan(heard, engines=False).feeds if feed.input == "text"] == ["audio"]


def test_without_a_recogniser_sound_is_no_text(plan, folder):
    write_media(folder / "there.mkv", sound=clicks(1, 16000, [0.5]), cues=[(100, 350, "one")])
    with pytest.raises(ConfigError, match=r"media.audio is audio, but the model wants text; use media.text"):
        check_plan(plan("sources.media.path=there.mkv", "inputs.text=media.audio"), engines=False)


def test_what_serves_two_inputs_is_the_richer_of_each():
    small, large = Wanted(pixels="gray", max_width=96, rate_hz=16_000), Wanted(pixels="rgb", max_width=None, channels=1)
    assert both(small, large) == Wanted(pixels="rgb", max_width=None, rate_hz=16_000, channels=1)
    assert both(small, Wanted(pixels="gray", max_width=640)).max_width == 640


def test_an_offset_is_part_of_what_decisions_depend_on(plan):
    assert plan("offset_ms.audio=84").offset_ns("audio") == 84_000_000
    assert plan().offset_ns("audio") == 0
    assert plan("offset_ms.audio=84").digest != plan().digest
