"""The YAML a user writes: read strictly, overridden exactly, wrong in one clear line."""

import json
from contextlib import suppress
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from operators.errors import ConfigError
from pipeline.commands.check import schema_text
from pipeline.config import Config, find_config, load_config, parse_duration, validate
from pipeline.mask import mask, printable
from pipeline.yamltext import Override, parse_yaml

CONFIGS = Path(__file__).parents[2] / "configs"
MINIMAL = "model: speaking\nsources: {cam: {use: 'a:B'}}\ninputs: {video: cam.video}\n"


@pytest.fixture
def config_file(tmp_path):
    def write(text=MINIMAL, name="desk.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def error_of(path, *overrides):
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return caught.value


def test_the_session_is_named_after_the_file_unless_the_config_names_it(config_file):
    assert load_config(config_file(name="my desk.yaml")).session == "my-desk"
    assert load_config(config_file(MINIMAL + "session: other\n")).session == "other"


def test_a_config_survives_its_journey_as_json(config_file):
    config = load_config(config_file(), ["sinks.0={use: 'a:C', path: out.jsonl}"])
    assert Config.model_validate_json(config.model_dump_json()).model_dump() == config.model_dump()


def test_an_override_replaces_a_value_and_leaves_the_rest(config_file):
    config = load_config(config_file(), ["align.deadline_ms=20", "run.speed=max"])
    assert (config.align.deadline_ms, config.align.revise_ms, config.run.speed) == (20, 0, "max")


def test_an_override_reaches_into_lists_and_adds_to_their_end(config_file):
    path = config_file(MINIMAL + "sinks: [{use: 'a:C', path: one}]\n")
    config = load_config(path, ["sinks.0.path=two", "sinks.1={use: 'a:D'}"])
    assert [(sink.use, sink.options) for sink in config.sinks] == [("a:C", {"path": "two"}), ("a:D", {})]


def test_an_override_begins_a_list_that_is_not_there(config_file):
    config = load_config(config_file(), ["transforms.video.0.use=a:T", "transforms.video.0.size=4"])
    assert config.transforms["video"][0].options == {"size": 4}


def test_the_last_override_wins(config_file):
    assert load_config(config_file(), ["decide.hold=2", "decide.hold=3"]).decide.hold == 3


def test_an_error_in_an_override_names_the_override(config_file):
    assert error_of(config_file(), "align.deadline_ms=soon").file == "--set align.deadline_ms=soon"
    assert error_of(config_file(), Override("run.speed", "fast", "--speed fast")).file == "--speed fast"


def test_an_error_in_the_file_names_its_line(config_file):
    error = error_of(config_file(MINIMAL + "align:\n  deadline_ms: -1\n"))
    assert error.file.endswith("desk.yaml:5")
    assert error.key == "align.deadline_ms"


def test_an_unknown_key_is_shown_before_the_missing_one_that_it_was_meant_for(config_file):
    error = error_of(config_file(MINIMAL.replace("model:", "modle:")))
    assert error.key == "modle"
    assert "did you mean 'model'?" in error.hint


def test_the_file_cannot_set_what_only_the_program_sets(config_file):
    assert error_of(config_file(MINIMAL + "origin: /etc\n")).key == "origin"


def test_a_secret_in_a_url_is_not_shown(config_file):
    error = error_of(config_file(), "sources.cam=rtsp://me:hunter2@cam/1?token=abc")
    assert "hunter2" not in error.problem
    assert "abc" not in error.problem


def test_masking_leaves_the_rest_of_the_line():
    text = "rtsp://me:p@ss@cam/1?token=abc&x=1 and http://plain/"
    assert mask(text) == "rtsp://***@cam/1?token=***&x=1 and http://plain/"


def test_a_file_name_cannot_drive_the_terminal():
    assert printable("a\x1b[2Jb\nc") == "a�[2Jb�c"


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30.0), ("1.5m", 90.0), ("250ms", 0.25), ("1:30", 90.0), ("1:00:01", 3601.0), ("7", 7.0), ("2h", 7200.0)]
)
def test_durations_are_written_as_people_write_them(text, seconds):
    assert parse_duration(text) == seconds


def test_dates_and_references_are_plain_text_and_plain_values():
    value, places = parse_yaml("a: 2026-01-02\nb: &x [1, 2]\nc: *x\n", "f")
    assert value == {"a": "2026-01-02", "b": [1, 2], "c": [1, 2]}
    assert places["c",] == "f:3"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", "is given twice (first at f:1)"),
        ("a: &x [*x]\n", "refers to itself"),
        ("a: !!python/object:os.system x\n", "has the tag"),
        ("a: !!binary aGk=\n", "has the tag"),
        ("<<: {a: 1}\n", "has a key that is not plain text"),
        ("? [1]\n: 2\n", "has a key that is not plain text"),
        ("[" * 5000, "is nested too deeply"),
        ("a: " + "[" * 70 + "]" * 70, "is nested too deeply"),
        ("a: [1\n", "is not valid YAML"),
        ("a: \t- b", "is not valid YAML"),
        ("--- 1\n--- 2\n", "is not valid YAML"),
        ("a: \x07", "is not valid YAML"),
        ("a: &a [1,2]\nb: &b [" + ",".join(["*a"] * 200) + "]\nc: [" + ",".join(["*b"] * 200) + "]\n", "holds more than"),
    ],
)
def test_what_is_not_plain_data_is_refused(text, problem):
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "f")
    assert problem in caught.value.problem


def test_a_shipped_config_is_found_by_its_name_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("demo").samefile(CONFIGS / "demo.yaml")
    assert find_config("configs/file.yaml").samefile(CONFIGS / "file.yaml")


def test_a_file_of_ones_own_goes_before_a_shipped_one(tmp_path, monkeypatch, config_file):
    monkeypatch.chdir(tmp_path)
    config_file(name="demo.yaml")
    assert find_config("demo.yaml") == Path("demo.yaml")


def test_the_schema_beside_the_configs_is_the_one_that_is_printed():
    assert (CONFIGS / "schema.json").read_text() == schema_text()


@pytest.mark.parametrize("name", ["demo.yaml", "file.yaml"])
def test_the_shipped_configs_fit_the_schema_and_name_it(name):
    text = (CONFIGS / name).read_text()
    jsonschema.validate(yaml.safe_load(text), json.loads(schema_text()))
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")


def test_the_schema_refuses_what_the_reader_refuses():
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**yaml.safe_load(MINIMAL), "algin": {}}, json.loads(schema_text()))


# -- whatever is written in it, a config is read or refused

DEMO = (CONFIGS / "demo.yaml").read_text()
SCRAPS = ["", " ", "  ", "\n", "\t", ":", ": ", "- ", "?", "[", "]", "{", "}", "&a", "*a", "!!int", "!x", "|", ">", "'", '"', "#", "%", "---", "...",
          "<<: ", "null", "~", ".nan", ".inf", "1e999", "-1", "0x10", "1_0", "12:30:45", "2026-01-02", "yes", "\ufeff", "\0", "\x85", "\ud800",
          "origin: x", "model: 5", "run:", "align: []", "sinks: {}", "edges:", "truth: 1"]  # fmt: skip
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
SECTIONS = ["session", "model", "sources", "inputs", "transforms", "align", "run", "edges", "decide", "sinks", "truth", "origin", "other"]


@st.composite
def mutations(draw):
    """demo.yaml with stretches cut out, moved or replaced by what YAML takes for signs."""
    text = DEMO
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(text)))
        stop = min(len(text), start + draw(st.integers(0, 40)))
        other = draw(st.integers(0, len(text)))
        text = text[:start] + draw(st.sampled_from([*SCRAPS, text[other : other + 20]]) | st.text(max_size=4)) + text[stop:]
    return text


def read_or_refused(read):
    with suppress(ConfigError):  # anything else fails the test
        read()


@given(mutations())
def test_a_config_that_was_written_anyhow_is_read_or_refused(text):
    def read():
        values, places = parse_yaml(text, "demo.yaml")
        if isinstance(values, dict):
            validate(values, places, origin="/somewhere/demo.yaml")

    read_or_refused(read)


@given(st.lists(st.tuples(st.sampled_from(SECTIONS), PLAIN), max_size=4))
def test_plain_values_of_any_shape_are_a_config_or_refused(replaced):
    values = {**yaml.safe_load(DEMO), **dict(replaced)}
    read_or_refused(lambda: validate(values, {}, origin="/somewhere/demo.yaml"))


@given(st.lists(st.sampled_from([*SECTIONS, "media", "path", "video", "0", "1", "use"]), min_size=1, max_size=4), PLAIN)
def test_any_override_is_taken_or_refused(keys, value):
    read_or_refused(lambda: load_config(CONFIGS / "demo.yaml", [Override(".".join(keys), value, "--set")]))
