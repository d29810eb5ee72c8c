"""The folder of a running session: private, truthful about who lives, gone afterwards."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.clock import FakeClock
from pipeline.ports import EdgeCount, Status, StreamStatus
from pipeline.runtime.rundir import Run, RunDir, base_folder, runs, status_of

STATUS = Status(
    session="demo",
    runner="inline",
    model="m",
    backend="b",
    state="running",
    now_ns=1,
    end_ns=None,
    decisions=2,
    missed_deadlines=0,
    skipped=0,
    revisions=0,
    streams=(StreamStatus(name="cam", kind="video", state="live", dropped={"late": 1}),),
    edges=(EdgeCount(edge="cam", entered=1, left=1, waiting=0, dropped={}),),
    events=("hello",),
)


def mode(path: str | Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_a_run_is_found_with_its_status_and_gone_when_closed(tmp_path: Path) -> None:
    run_dir = RunDir("demo", FakeClock(), tmp_path)
    assert [(run.session, run.pid, run.alive) for run in runs(tmp_path)] == [("demo", os.getpid(), True)]
    assert status_of(run_dir.run, tmp_path) is None
    run_dir.status(STATUS)
    assert status_of(run_dir.run, tmp_path) == STATUS
    run_dir.close()
    assert runs(tmp_path) == []
    assert not run_dir.scratch.exists()
    assert status_of(run_dir.run, tmp_path) is None


def test_only_the_user_can_look_in(tmp_path: Path) -> None:
    run_dir = RunDir("demo", FakeClock(), tmp_path / "a" / "b")
    assert [mode(path) for path in (tmp_path / "a" / "b", run_dir.path, run_dir.scratch)] == [0o700] * 3
    run_dir.close()


def test_status_is_written_once_a_second_and_at_the_end(tmp_path: Path) -> None:
    clock = FakeClock()
    run_dir = RunDir("demo", clock, tmp_path)
    for second, wanted in ((0.0, 0), (0.9, 0), (1.0, 2), (1.5, 2)):
        clock.sleep_until(int(second * 1e9))
        run_dir.status(replace(STATUS, decisions=int(second * 2)))
        assert status_of(run_dir.run, tmp_path).decisions == wanted  # type: ignore[union-attr]
    run_dir.status(replace(STATUS, decisions=99, final=True))
    assert status_of(run_dir.run, tmp_path).decisions == 99  # type: ignore[union-attr]
    run_dir.close()


def test_a_reused_pid_is_not_taken_for_the_run() -> None:
    other = Run(session="demo", pid=os.getpid(), started=1.0, since="", scratch="/nowhere")
    assert not other.alive
    assert not other.stop()


def test_what_a_killed_run_left_is_swept_by_the_next(tmp_path: Path) -> None:
    dead = RunDir("dead", FakeClock(), tmp_path)
    values = json.loads((dead.path / "run.json").read_text())
    (dead.path / "run.json").write_text(json.dumps({**values, "started": 1.0}))
    alive = RunDir("alive", FakeClock(), tmp_path)
    assert not dead.path.exists()
    assert not dead.scratch.exists()
    alive.close()


def test_only_scratch_folders_of_ours_are_swept(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    stale = tmp_path / "runs" / "x-1"
    stale.mkdir(parents=True)
    run = {"session": "x", "pid": os.getpid(), "started": 1.0, "since": "", "scratch": str(precious)}
    (stale / "run.json").write_text(json.dumps(run))
    RunDir("alive", FakeClock(), tmp_path / "runs").close()
    assert precious.exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"session": 1}', "\x00"])
def test_folders_that_are_none_of_ours_are_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "run.json").write_text(text)
    assert runs(tmp_path) == []
    assert (tmp_path / "x").exists()


def test_the_base_is_the_runtime_folder_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert base_folder() == tmp_path / "sensorium"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert base_folder() == Path.home() / ".local" / "state" / "sensorium"
