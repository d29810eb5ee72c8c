"""What every sink in pipeline/sinks must do; a new file there is tested by being there."""

import importlib
import inspect
import io
import json
from dataclasses import replace
from errno import ENOSPC
from pathlib import Path

import pyarrow as pa
import pytest
from decisions import decision, status
from rich.console import Console as Terminal

import pipeline.sinks
from operators.errors import ConfigError
from pipeline.clock import FakeClock
from pipeline.resolve import Part, require
from pipeline.sinks.arrow import ArrowStream
from pipeline.sinks.console import Console
from pipeline.sinks.jsonl import FIELDS, JsonLines
from pipeline.sinks.jsonl import line_of as json_line_of
from pipeline.sinks.plain import PlainLines, clock_text, line_of
from pipeline.sinks.summary import Summary

METHODS = ("decision", "status", "close")
MODULES = [
    importlib.import_module(f"pipeline.sinks.{path.stem}") for path in sorted(Path(pipeline.sinks.__file__).parent.glob("[a-z]*.py"))
]
SINKS = [
    found
    for module in MODULES
    for _, found in inspect.getmembers(module, inspect.isclass)
    if found.__module__ == module.__name__ and all(hasattr(found, name) for name in METHODS)
]


def fail(path, problem, hint):
    return ConfigError("f.yaml", ".".join(map(str, path)), problem, hint)


NEEDED = {
    "path": "out.bin",
    "brokers": "127.0.0.1:9",
    "topic": "decisions",
    "url": "http://127.0.0.1:9/in",
    "secret_env": "TEST_SECRET",
    "spool": "spool",
    "close_s": 0.1,
}
"""What a sink is given where it takes it: nobody listens there."""


@pytest.fixture(params=SINKS, ids=lambda found: found.__name__)
def make_sink(request, tmp_path, monkeypatch):
    """Makes the sink as a config would: options by name."""
    found = request.param
    monkeypatch.setenv("TEST_SECRET", "a-secret-for-tests-only")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    taken = inspect.signature(found).parameters
    options = {name: value for name, value in NEEDED.items() if name in taken}
    if "port" in taken and taken["port"].default is inspect.Parameter.empty:
        options["port"] = 0
    part = Part(f"{found.__module__}:{found.__name__}", options, path=("sinks", 0), folder=tmp_path, fail=fail)
    require(part, METHODS, "sink", ("sinks", 0), fail)
    return part.make


def test_every_file_of_the_folder_has_one_sink():
    assert sorted(sink.__module__ for sink in SINKS) == sorted(module.__name__ for module in MODULES)


def test_it_takes_decisions_and_status_in_any_order(make_sink):
    sink = make_sink()
    sink.status(status(state="starting", end_ms=None))
    sink.decision(decision())
    sink.status(status(events=["a line with \x1b[31mcolour and rtsp://me:secret@cam/"]))
    sink.decision(decision(revision=1, latency_ms=None))
    sink.status(status(final=True))
    sink.close()


def test_it_can_be_closed_before_anything_came(make_sink):
    make_sink().close()


def test_it_does_not_mind_a_model_with_other_labels_and_streams(make_sink):
    sink = make_sink()
    sink.decision(decision(label="none of these", presence=("timeout", "partial", "closed")))
    sink.close()


def test_what_it_shows_of_an_event_has_no_secret_and_no_escape(make_sink, capfd):
    sink = make_sink()
    sink.status(status(events=["lost \x1b[31mrtsp://me:secret@cam/"]))
    sink.status(status(final=True))
    sink.close()
    shown = "".join(capfd.readouterr())
    assert "secret" not in shown
    assert "\x1b[31mrtsp" not in shown


# -- JSON lines


def test_a_json_line_has_the_fields_that_are_promised(tmp_path):
    sink = JsonLines(path=tmp_path / "new" / "out.jsonl")
    sink.decision(decision(window=3))
    line = json.loads((tmp_path / "new" / "out.jsonl").read_text())  # it is there before the sink is closed
    assert tuple(line) == FIELDS
    assert line == {name: decision(window=3).to_json()[name] for name in FIELDS}
    sink.close()


def test_what_a_decision_also_says_stands_in_its_lines(tmp_path):
    told = replace(decision(), also={"word": "blue"})
    assert json.loads(json_line_of(told))["also"] == {"word": "blue"}
    assert "also" not in json.loads(json_line_of(decision()))
    assert line_of(told) == "00:00.000 speaking 0.93 word:blue video=present audio=present text=empty 41ms"
    sink = ArrowStream(path=tmp_path / "out.arrow")
    sink.decision(told)
    sink.close()
    (row,) = pa.ipc.open_stream(tmp_path / "out.arrow").read_all().to_pylist(maps_as_pydicts="strict")
    assert row["also"] == {"word": "blue"}


def test_a_run_begins_its_file_anew(tmp_path):
    for _ in range(2):
        sink = JsonLines(path=tmp_path / "out.jsonl")
        sink.decision(decision())
        sink.close()
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("sink", [JsonLines, ArrowStream])
def test_a_file_of_something_else_is_not_overwritten(tmp_path, sink):
    path = tmp_path / "holiday.mp4"
    path.write_bytes(b"\0\0\0\x1cftypisom")
    with pytest.raises(FileExistsError, match="something else than decisions"):
        sink(path=path)
    assert path.read_bytes() == b"\0\0\0\x1cftypisom"


@pytest.mark.parametrize("sink", [JsonLines, ArrowStream])
def test_two_sessions_do_not_write_to_one_file(tmp_path, sink):
    first = sink(path=tmp_path / "out")
    first.decision(decision())
    with pytest.raises(OSError, match="another session writes its decisions to it"):
        sink(path=tmp_path / "out")
    first.close()
    assert (tmp_path / "out").stat().st_size > 0
    sink(path=tmp_path / "out").close()


def test_a_json_file_of_something_else_is_not_overwritten(tmp_path):
    path = tmp_path / "package.json"
    path.write_text('{"name": "mine"}')
    with pytest.raises(FileExistsError):
        JsonLines(path=path)
    assert path.read_text() == '{"name": "mine"}'


def test_a_revision_is_a_line_of_its_own(tmp_path):
    sink = JsonLines(path=tmp_path / "out.jsonl")
    sink.decision(decision(window=3))
    sink.decision(decision(window=3, revision=1))
    sink.close()
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(line["window"], line["revision"]) for line in lines] == [(3, 0), (3, 1)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full: Linux has one")
def test_a_full_disk_is_told_with_the_name_of_the_file():
    sink = JsonLines(path=Path("/dev/full"))
    for step in (lambda: sink.decision(decision()), sink.close):
        with pytest.raises(OSError, match="cannot be written") as caught:
            step()
        assert caught.value.filename == "/dev/full"


def test_an_arrow_stream_on_a_full_disk_says_which_file(tmp_path):
    class Full:
        def write_batch(self, batch):
            raise OSError(ENOSPC, "No space left on device")

        def close(self):
            pass

    sink = ArrowStream(path=tmp_path / "out.arrow", rows=1)
    sink._writer = Full()
    with pytest.raises(OSError, match="cannot be written") as caught:
        sink.decision(decision())
    assert caught.value.filename == str(tmp_path / "out.arrow")
    sink.close()


@pytest.mark.parametrize("found", [JsonLines, ArrowStream])
@pytest.mark.parametrize("place", ["file/out", "folder"])
def test_a_path_that_cannot_be_written_is_an_error_of_the_config(tmp_path, found, place):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    part = Part(f"{found.__module__}:{found.__name__}", {"path": place}, path=("sinks", 0), folder=tmp_path, fail=fail)
    with pytest.raises(ConfigError, match="check that the path exists and may be used"):
        part.make()


# -- Arrow


def test_an_arrow_stream_gives_the_decisions_back(tmp_path):
    sink = ArrowStream(path=tmp_path / "out.arrow", rows=2)
    made = [decision(window=index, start_ms=index * 80, end_ms=index * 80 + 80) for index in range(5)]
    for one in made:
        sink.decision(one)
    sink.close()
    rows = pa.ipc.open_stream(tmp_path / "out.arrow").read_all().to_pylist(maps_as_pydicts="strict")
    assert rows == [{name: one.to_json()[name] for name in (*FIELDS, "attribution", "also")} for one in made]


def test_an_arrow_stream_that_was_killed_can_be_read_up_to_its_last_batch(tmp_path):
    sink = ArrowStream(path=tmp_path / "out.arrow", rows=2)
    for index in range(5):
        sink.decision(decision(window=index))
    killed = (tmp_path / "out.arrow").read_bytes()  # never closed
    batches = []
    with pa.ipc.open_stream(killed) as reader:
        for batch in reader:
            batches.append(batch)
    assert sum(batch.num_rows for batch in batches) == 4
    sink.close()


def test_a_status_puts_what_waits_into_an_arrow_stream(tmp_path):
    sink = ArrowStream(path=tmp_path / "out.arrow")
    sink.decision(decision())
    sink.status(status())
    assert pa.ipc.open_stream((tmp_path / "out.arrow").read_bytes()).read_next_batch().num_rows == 1
    sink.close()


# -- lines


def test_a_plain_line_says_when_what_how_sure_and_how_late():
    made = decision(start_ms=1280, end_ms=1360)
    assert line_of(made) == "00:01.280 speaking 0.93 video=present audio=present text=empty 41ms"


def test_a_plain_line_of_an_unpaced_run_has_no_latency_and_a_revision_says_so():
    assert line_of(decision(latency_ms=None)) == "00:00.000 speaking 0.93 video=present audio=present text=empty"
    assert line_of(decision(revision=1)).endswith(" 41ms revised")


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "00:00.000"),
        (59_999_999_999, "00:59.999"),
        (3_599_999_999_999, "59:59.999"),
        (3_600_000_000_000, "1:00:00.000"),
        (-80_000_000, "-00:00.080"),
    ],
)
def test_a_time_is_written_as_on_a_clock(time_ns, text):
    assert clock_text(time_ns) == text


def test_decisions_go_to_stdout_and_mishaps_to_stderr(capsys):
    sink = PlainLines()
    sink.decision(decision())
    sink.status(status(events=["source cam is lost: gone"]))
    sink.close()
    shown = capsys.readouterr()
    assert shown.out.count("\n") == 1
    assert shown.err == "sensorium: source cam is lost: gone\n"


def test_a_quiet_view_still_tells_mishaps(capsys):
    sink = PlainLines(decisions=False)
    sink.decision(decision())
    sink.status(status(events=["source cam is lost: gone"]))
    assert capsys.readouterr() == ("", "sensorium: source cam is lost: gone\n")


# -- the live view


def screen(width, clock=None):
    return Console(
        terminal=Terminal(file=io.StringIO(), force_terminal=True, width=width, height=40, color_system=None), clock=clock or FakeClock()
    )


def shown(sink, width):
    terminal = Terminal(file=io.StringIO(), width=width)
    terminal.print(sink.view())
    return terminal.file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_live_view_fits_the_terminal_and_says_all_that_matters(width):
    sink = screen(width)
    sink.status(status(events=["actor restarted"]))
    sink.decision(decision(start_ms=1280, end_ms=1360))
    text = shown(sink, width)
    sink.close()
    assert max(map(len, text.splitlines())) <= width
    for word in ["SPEAKING", "voice-off", "0.93", "present", "lost", "waiting", "1 missed deadlines", "actor restarted", "p99", "running"]:
        assert word in text
    if width >= 80:
        assert "3 overflow" in text
        assert "00:01.280 / 00:05.000" in text


def test_the_live_view_shows_what_a_decision_also_says():
    sink = screen(80)
    sink.status(status())
    sink.decision(replace(decision(), also={"word": "blue"}))
    assert "word blue" in shown(sink, 80)


def test_the_live_view_of_a_stream_without_a_known_drift_shows_a_dash():
    sink = screen(80)
    sink.status(status())
    rows = {line.split()[0]: line for line in shown(sink, 80).splitlines() if line.strip()}
    sink.close()
    assert "-3 ppm" in rows["video"]
    assert "ppm" not in rows["audio"]


def test_the_live_view_says_what_each_stream_did_for_the_label_where_a_decision_does():
    sink = screen(120)
    sink.status(status())
    sink.decision(replace(decision(), attribution={"video": 1.234, "audio": -0.5, "text": 0.0}))
    rows = {line.split()[0]: line for line in shown(sink, 120).splitlines() if line.strip()}
    sink.close()
    assert "+1.23" in rows["video"]
    assert "-0.50" in rows["audio"]


def test_the_live_view_draws_at_most_ten_times_a_second():
    clock = FakeClock()
    sink = screen(80, clock)
    sink.status(status())
    drawn = sink._terminal.file
    before = drawn.tell()
    for window in range(50):
        sink.decision(decision(window=window))
    assert drawn.tell() == before
    clock.sleep_until(100_000_000)
    sink.decision(decision(window=50))
    assert drawn.tell() > before
    sink.close()


def test_a_live_view_without_a_terminal_is_plain_lines(capsys):
    sink = Console()
    sink.decision(decision())
    sink.close()
    assert capsys.readouterr().out == line_of(decision()) + "\n"


# -- the summary


def test_the_summary_scores_counts_and_measures(tmp_path, capsys):
    truth = tmp_path / "truth.jsonl"
    truth.write_text('{"start_ms": 0, "end_ms": 160, "label": "speaking"}\n')
    clock = FakeClock()
    sink = Summary(truth=truth, clock=clock)
    clock.sleep_until(2_500_000_000)
    sink.decision(decision(window=0))
    sink.decision(decision(window=1, start_ms=80, end_ms=160, label="silent", latency_ms=43))
    sink.status(status(final=True))
    sink.close()
    text = capsys.readouterr().err
    assert "2 decisions (silent 1, speaking 1), the first after 2.5 s" in text
    assert "accuracy 0.500" in text
    assert "1 missed deadlines, 0 skipped, 0 revised" in text
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    assert [float(figure) for figure in rows["total"][1::2]] == pytest.approx([41, 43, 43], rel=0.006)
    assert rows["video"] == ["video", "33", "30", "0", "3", "overflow", "-", "2"]
    assert rows["speaking"] == ["speaking", "2", "1.000", "0.500", "1", "1"]


def test_a_run_that_never_ran_has_no_summary(capsys):
    Summary().close()
    assert capsys.readouterr().err == ""
