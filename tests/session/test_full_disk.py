"""On a file system that is really full, or read-only: decisions go on, what was written can be replayed, and it is said once."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakeplan import MS
from recordings import record, replay, story

from pipeline.cli import main
from pipeline.clock import FakeClock
from pipeline.session.audit import audit
from pipeline.session.compare import compare
from pipeline.session.loss import explain
from pipeline.session.read import Session

RUN = ["run", "demo", "--runner", "inline", "--speed", "max", "--quiet", "--duration", "12s", "--set", "record.free_mb=0"]
DECISIONS = 150
FULL = "No space left on device"


def mount(*words: str) -> None:
    """Skips where this user may not."""
    if shutil.which("mount") is None:
        pytest.skip("needs the command mount")
    done = subprocess.run(["mount", *words], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path, *, but: int) -> Path:
    """A file that leaves so many bytes free."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free - but))
    return ballast


def test_a_disk_that_gets_full_costs_the_rest_of_the_recording_and_no_decision(
    disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    assert main([*RUN, "--record", str(disk), "--set", "record.segment=2", "--out", str(out)]) == 0
    assert out.read_text().count("\n") == DECISIONS
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("sensorium: ")]
    (folder,) = disk.iterdir()
    assert said[0] == f"sensorium: recording to {folder}"
    assert said[1:] == [f"sensorium: recording stopped: {FULL}; decisions go on"]

    assert main(["replay", str(folder), "--verify"]) == 0
    identical = capsys.readouterr().out.split()
    assert identical[0] == "identical:"
    assert 40 < int(identical[1]) < DECISIONS
    assert sum(path.stat().st_size == 0 for path in folder.rglob("*.part")) <= 8  # one for each thing that is recorded


def test_a_session_on_a_full_disk_is_mended_once_there_is_space(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "--record", str(disk), "--set", "record.segment=2"]) == 0
    (folder,) = disk.iterdir()
    before = {finding.file: finding.extent.rows for finding in audit(Session.open(folder))}
    capsys.readouterr()
    assert main(["sessions", "recover", str(folder)]) == 5
    assert capsys.readouterr().err.startswith(f"sensorium: {folder}: could not be mended further ({FULL}")
    mount("-o", "remount,size=8m", str(disk))
    assert main(["sessions", "recover", str(folder)]) == 0
    after = {finding.file: finding for finding in audit(Session.open(folder))}
    assert all(finding.state == "whole" for finding in after.values())
    assert {file: finding.extent.rows for file, finding in after.items()} == {file: rows for file, rows in before.items() if rows}
    assert main(["replay", str(folder), "--verify"]) == 0


@pytest.mark.parametrize("full", [True, False])
def test_a_disk_that_takes_nothing_is_told_in_one_line_before_anything_starts(
    disk: Path, full: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if full:
        fill(disk, but=0)
    else:
        mount("-o", "remount,ro", str(disk))
    assert main([*RUN, "--record", str(disk)]) == 2
    problem = FULL if full else "Read-only file system"
    assert capsys.readouterr().err == (
        f"sensorium: --record {disk}: record.folder: cannot be recorded to ({problem}); "
        "name a folder that can be written, with --record FOLDER\n"
    )
    assert [path.name for path in disk.iterdir()] == (["ballast"] if full else [])


def test_when_there_is_space_again_the_recording_goes_on_and_both_are_said_once(disk: Path, tmp_path: Path) -> None:
    count = 400  # 20 s
    expected = [d.id for d in record(story(count=count), tmp_path / "elsewhere", segment_ms=1000)[1].decisions]
    ballast, clock = fill(disk, but=300_000), FakeClock()

    def make_space_after_12_s() -> bool:
        if clock.now_ns() > 12_000 * MS:
            ballast.unlink(missing_ok=True)
        return False

    session, notes = record(story(count=count), disk / "s", clock=clock, segment_ms=1000, stop=make_space_after_12_s)
    assert [d.id for d in notes.decisions] == expected
    lines = [line for line in notes.events() if line.startswith("recording ")]
    assert lines == [f"recording stopped: {FULL}; decisions go on", "recording goes on"]
    comparison = compare(session.decisions(), replay(story(count=count), disk / "s"))
    assert explain(session, comparison, behind_ns=200 * MS).verified
    recorded = [d.start_ns for d in session.decisions()]
    assert recorded[0] < 1000 * MS
    assert recorded[-1] > 19_000 * MS
    assert 0 < comparison.equal < len(expected)
