"""Recording with real processes: killed actors, a killed supervisor, and every replay of it the same."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from rayrun import SupervisedRun
from tiny_model import write_tiny_model
from waiting import until

from pipeline.commands.replay import Asked, replay_session
from pipeline.commands.stopping import Stopping
from pipeline.session.audit import audit
from pipeline.session.read import Session
from pipeline.session.recover import recover

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]
DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    runs = []
    model = write_tiny_model(tmp_path / "tiny")

    def begin(seconds: float, speed: float | str = 1) -> SupervisedRun:
        runs.append(SupervisedRun(tmp_path, model, speed, {}, seconds, record=tmp_path / "store"))
        return runs[-1]

    yield begin
    for run in runs:
        run.process.kill()
        run.process.wait()
        run.process.stderr.close()


def recording(folder: Path) -> Session:
    (path,) = (folder / "store").iterdir()
    return Session.open(path)


def verified(session: Session, **asked: Any) -> str:
    """What `sensorium replay --verify` prints; it must agree."""
    out = io.StringIO()
    with redirect_stdout(out):
        code = replay_session(Asked(session=str(session.folder), verify=True, **asked), view="quiet", begun_ns=0, stopping=Stopping())
    assert code == 0, out.getvalue()
    return out.getvalue()


def test_a_run_whose_actors_were_killed_is_replayed_as_it_happened(start: Any, tmp_path: Path) -> None:
    run = start(seconds=10)
    run.wait_decided(10)
    killed_at = run.kill("ray::Ingest")
    until(lambda: any(d["presence"]["audio"] == "timeout" for d in run.decisions()[killed_at:]), 20, "masked decisions")
    until(lambda: run.decisions()[-1]["presence"]["audio"] == "present", 20, "audio is back")
    before = run.decisions()[-1]["window"]
    run.kill("ray::Fusion")
    until(lambda: run.decisions()[-1]["window"] > before + 20, 20, "decisions are back")
    assert run.end()[0] == 0
    session = recording(tmp_path)
    assert [d.id for d in session.decisions()] == [d["id"] for d in run.decisions()]
    assert {s.name.actor for s in session.event_segments()} == {0, 1}
    text = verified(session)
    assert text.startswith("identical: ")
    assert int(text.split()[1]) > len(run.decisions()) - 20  # what the kill cost: see pipeline.session.loss
    assert verified(session, speed="20") == text
    assert verified(session, runner="ray") == text
    part = sum(4_000_000_000 <= d.start_ns < 6_000_000_000 for d in session.decisions())
    assert part - 12 <= int(verified(session, start="4", end="6").split()[1]) <= part


def test_a_run_at_full_speed_with_a_killed_source_has_everything_once(start: Any, tmp_path: Path) -> None:
    run = start(seconds=100, speed="max")
    run.wait_decided(20)
    run.kill("ray::Ingest")
    assert run.end()[0] == 0
    session = recording(tmp_path)
    assert verified(session).startswith("identical: 1250 decisions")
    assert len([row for row in session.stream_rows("av.video") if row["kind"] == "packet"]) == 2500


def test_when_everything_is_killed_the_session_opens_and_is_verified_up_to_the_loss(start: Any, tmp_path: Path) -> None:
    run = start(seconds=60)
    run.wait_decided(40)
    for _, process in run.ours():
        process.kill()
    run.process.kill()
    run.process.communicate()
    session = recording(tmp_path)
    kept = len(list(session.decisions()))
    assert kept >= 40 - 12  # 1 s of decisions at most: what was under way and what waited to be written
    assert verified(session).startswith("identical: ")
    assert recover(session.folder)
    assert all(finding.state == "whole" for finding in audit(session))
    assert len(list(session.decisions())) == kept
    assert verified(session).startswith("identical: ")


def test_the_commands_of_the_readme_record_list_verify_and_replay(tmp_path: Path) -> None:
    sensorium = str(Path(sys.executable).parent / "sensorium")
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}

    def run(*words: str, code: int = 0) -> str:
        done = subprocess.run([sensorium, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    told = run("run", str(DEMO), "--record", "recordings", "--duration", "6s", "--speed", "max", "--runner", "inline", "--plain")
    (folder,) = (tmp_path / "recordings").iterdir()
    assert f"recording to {folder}" in told
    assert "complete" in run("sessions", "ls")
    assert "media.video" in run("sessions", "show", str(folder))
    assert "7 of 7 files are whole" in run("sessions", "verify", str(folder))
    assert run("replay", str(folder), "--verify").startswith("identical: 75 decisions")
    assert run("replay", str(folder), "--speed", "max", "--plain", "--from", "2s", "--to", "4s").count("video=") == 25
    assert "say --yes" in run("sessions", "purge", str(folder), code=5)
    assert "nothing is left" in run("sessions", "purge", str(folder), "--yes")
    assert not folder.exists()
