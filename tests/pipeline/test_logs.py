"""Log lines: one form for people, one for programs, no secret in either, and the newest kept for `sensorium logs`."""

import json
import logging
import stat
import sys

import pytest

from pipeline import logs

SECRET = "rtsp://me:hunter2@cam/1?token=hunter3"


@pytest.fixture
def quiet():
    """What the root logger had before."""
    root, ours = logging.getLogger(), logging.getLogger("sensorium")
    before = (root.level, list(root.handlers), ours.level)
    yield
    for handler in root.handlers:
        if handler not in before[1]:
            handler.close()
    root.level, root.handlers, ours.level = before


@pytest.fixture
def record():
    def made(text="an actor was started again", *args, **extra):
        return logging.getLogger("sensorium.engine").makeRecord("sensorium.engine", logging.WARNING, "f", 1, text, args, None, extra=extra)

    return made


def values(made):
    return json.loads(logs.AsJson("engine").format(made))


def test_a_line_for_programs_has_when_how_bad_where_and_what(record):
    made = record("%s of %d", "one", 3, session="desk", facts={"source": "cam", "attempt": 2})
    made.created = 1_700_000_000.25
    assert values(made) == {
        "utc": "2023-11-14T22:13:20.250+00:00", "level": "warning", "where": "engine", "session": "desk", "line": "one of 3", "source": "cam", "attempt": 2,
    }  # fmt: skip


def test_the_same_line_for_people(record):
    made = record(session="desk", facts={"source": "cam", "attempt": 2})
    made.created = 1_700_000_000.25
    assert logs.AsText("engine").format(made) == "22:13:20.250 engine warning desk: an actor was started again  source=cam attempt=2"
    assert logs.as_text(values(made)) == logs.AsText("engine").format(made)


@pytest.mark.parametrize("form", [logs.AsJson, logs.AsText])
def test_no_secret_is_in_a_line_its_facts_or_its_trace(record, form):
    made = record("lost %s", SECRET, facts={"address": SECRET, "password": "hunter4", "cam.token": 7, "other": [SECRET]})
    try:
        raise ValueError(f"cannot open {SECRET}")
    except ValueError:
        made.exc_info = sys.exc_info()
    text = form("engine").format(made)
    assert "hunter" not in text
    assert "ValueError: cannot open rtsp://***@cam/1?token=***" in text.replace("\\n", "\n")


def test_a_name_cannot_drive_the_terminal_nor_forge_a_line(record):
    made = record("no such file: a\x1b[2Jb\nengine forged", session="x\ny", facts={"file": "c\rd"})
    text = logs.AsText("engine").format(made)
    assert not [letter for letter in text if not letter.isprintable()]


def test_what_a_fact_is_called_does_not_hide_what_every_line_has(record):
    assert values(record(facts={"level": "fine", "line": "other"}))["level"] == "warning"


def test_stderr_is_for_programs_where_it_is_no_terminal(quiet, capsys, tmp_path):
    logs.set_up("engine", "auto", tmp_path)
    logging.getLogger("sensorium.engine").info("begun")
    logging.getLogger("sensorium.engine").debug("not told")
    logging.getLogger("another.library").info("not told")
    logging.getLogger("another.library").warning("told")
    said = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["level"], line["line"]) for line in said] == [("info", "begun"), ("warning", "told")]
    assert logs.newest(tmp_path, 10) == said


def test_text_can_be_asked_for(quiet, capsys):
    logs.set_up("engine", "text")
    logging.getLogger("sensorium.engine").info("begun")
    assert capsys.readouterr().err.endswith(" engine begun\n")


def kept(folder, where="engine", most=10_000):
    handler = logs.Kept(folder / f"log-{where}.jsonl", most)
    handler.setFormatter(logs.AsJson(where))
    return handler


def test_the_newest_lines_are_kept_in_two_files_for_their_owner_only(record, tmp_path):
    handler = kept(tmp_path, most=2000)
    for number in range(100):
        handler.emit(record(f"line {number}"))
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ["log-engine.1.jsonl", "log-engine.jsonl"]
    assert all(path.stat().st_size <= 2000 and stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
    lines = [line["line"] for line in logs.newest(tmp_path, 1000)]
    assert lines == [f"line {number}" for number in range(100 - len(lines), 100)]
    assert len(lines) > 10


def test_lines_of_all_processes_are_in_order_of_time_and_those_of_a_session_can_be_asked_for(record, tmp_path):
    for at, where, session in ((3.0, "api", ""), (1.0, "engine", "desk"), (2.0, "supervisor", "hall"), (4.0, "engine", "desk")):
        made = record(f"{where} {at:g}", session=session)
        made.created = at
        kept(tmp_path, where).emit(made)
    assert [line["line"] for line in logs.newest(tmp_path, 3)] == ["supervisor 2", "api 3", "engine 4"]
    assert [line["line"] for line in logs.newest(tmp_path, 9, session="desk")] == ["engine 1", "engine 4"]
    assert logs.newest(tmp_path, 0) == []


def test_a_line_that_is_damaged_hides_no_other(record, tmp_path):
    kept(tmp_path).emit(record("good"))
    with (tmp_path / "log-engine.jsonl").open("ab") as file:
        file.write(b'{"utc": "2\n[1]\n{}\n\xff\xfe\n')
    kept(tmp_path).emit(record("also good"))
    assert [line["line"] for line in logs.newest(tmp_path, 9)] == ["good", "also good"]


def test_where_nothing_can_be_written_nothing_breaks(record, tmp_path):
    kept(tmp_path / "nowhere").emit(record())
    assert logs.newest(tmp_path / "nowhere", 9) == []
    (tmp_path / "elsewhere").touch()
    (tmp_path / "log-engine.jsonl").symlink_to(tmp_path / "elsewhere")
    kept(tmp_path).emit(record())
    assert (tmp_path / "elsewhere").read_text() == "", "a link is not followed"
