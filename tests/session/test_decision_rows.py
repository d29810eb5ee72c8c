"""Decisions in a recording: every field comes back, also out of recordings from before a field was there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from decisions import decision

from pipeline.session.arrowlog import ArrowLog
from pipeline.session.runlog import DECISION_COLUMNS, decision_crc, decision_of, decision_row, read_decisions

OLD_COLUMNS = {name: kind for name, kind in DECISION_COLUMNS.items() if name != "also"}


def written(path: Path, rows: list[dict[str, object]], columns: dict[str, str]) -> Path:
    with path.open("wb", buffering=0) as file:
        log = ArrowLog(file, columns)
        for row in rows:
            log.append(row)
        log.close()
    return path


def test_what_a_decision_also_says_comes_back(tmp_path: Path) -> None:
    made = [replace(decision(window=index), also={"word": word}) for index, word in enumerate(["-", "bin", "blue"])]
    path = written(tmp_path / "new", [decision_row(one) for one in made], dict(DECISION_COLUMNS))
    assert [decision_of(row, "demo") for row in read_decisions(path)] == made


def test_a_recording_from_before_decisions_answered_questions_is_read_as_it_would_be_written_now(tmp_path: Path) -> None:
    made = [decision(window=index) for index in range(3)]
    rows = [{name: value for name, value in decision_row(one).items() if name != "also"} for one in made]
    old = [{**row, "crc": decision_crc(row, OLD_COLUMNS)} for row in rows]
    assert list(read_decisions(written(tmp_path / "old", old, OLD_COLUMNS))) == [decision_row(one) for one in made]


def test_a_flipped_number_in_an_old_recording_is_still_noticed(tmp_path: Path) -> None:
    row = {name: value for name, value in decision_row(decision()).items() if name != "also"}
    path = written(tmp_path / "old", [{**row, "crc": decision_crc(row, OLD_COLUMNS) ^ 1}], OLD_COLUMNS)
    damages = []
    assert list(read_decisions(path, damages.append)) == []
    assert len(damages) == 1
