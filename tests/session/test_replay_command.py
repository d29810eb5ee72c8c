"""`sensorium replay` as it is typed: one decision at a time, again and again, with another model, with mistakes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_model import write_tiny_model

from pipeline.cli import main
from pipeline.clock import SystemClock
from pipeline.commands.replay import Step
from pipeline.commands.stopping import Stopping
from pipeline.config import validate
from pipeline.plan import build_plan
from pipeline.runtime.inline import run_inline
from pipeline.session.begin import begin_recording
from pipeline.session.read import Session
from pipeline.session.recorder import Recorder
from pipeline.session.runlog import RunRecorder

BEAT = {"use": "beatsource:Beat", "seconds": 4.0}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """4 s of picture, sound and words, 50 decisions of 80 ms."""
    folder = tmp_path_factory.mktemp("recorded")
    values: dict[str, Any] = {
        "model": str(model),
        "sources": {"beat": BEAT},
        "inputs": {"video": "beat.video", "audio": "beat.audio", "text": "beat.text"},
        "run": {"speed": "max", "runner": "inline"},
        "record": {"folder": str(folder / "store"), "free_mb": 0.0},
    }
    plan = build_plan(validate(values, {}, origin=str(folder / "story.yaml")))
    recording = begin_recording(plan)
    keeper = RunRecorder(recording, [], SystemClock())
    run_inline(plan, [keeper], SystemClock(), recorder=Recorder(recording, 0, SystemClock(), paced=False))
    keeper.close()
    return Path(recording.folder)


def other_model(model: Path, folder: Path, **changes: Any) -> Path:
    """The same graphs under another model.yaml: another model, as far as anybody can tell."""
    shutil.copytree(model, folder)
    spec = yaml.safe_load((folder / "model.yaml").read_text())
    (folder / "model.yaml").write_text(yaml.safe_dump(spec | changes))
    return folder


def lines(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[list[str], str]:
    capsys.readouterr()
    assert main(["replay", *words]) == code
    told = capsys.readouterr()
    return told.out.splitlines(), told.err


def test_plain_lines_are_those_of_the_run(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = lines(capsys, str(recorded), "--speed", "max", "--plain")
    assert len(out) == 50
    assert [line.split()[1] for line in out] == [decision.label for decision in Session.open(recorded).decisions()]


def test_a_model_that_wants_the_same_is_given_the_recorded_events(recorded: Path, model: Path, tmp_path: Path, capsys: Any) -> None:
    other = other_model(model, tmp_path / "other", temperature=7.0)
    out, err = lines(capsys, str(recorded), "--speed", "max", "--plain", "--model", str(other))
    assert len(out) == 50
    assert "50 decisions compared with the recorded ones: 0 have another label" in err
    assert "scores was" in err
    assert "made from the recorded media" not in err


def test_a_model_that_wants_other_windows_is_given_the_media(recorded: Path, model: Path, tmp_path: Path, capsys: Any) -> None:
    spec = yaml.safe_load((model / "model.yaml").read_text())
    other = other_model(model, tmp_path / "other", window={**spec["window"], "hop_ms": 160, "lag_ms": 0})
    out, err = lines(capsys, str(recorded), "--speed", "max", "--plain", "--model", str(other))
    assert len(out) == 25
    assert "made from the recorded media" in err


def test_the_recorded_model_that_is_gone_is_told_with_what_to_do(recorded: Path, tmp_path: Path, capsys: Any) -> None:
    moved = Path(shutil.copytree(recorded, tmp_path / "s"))
    text = (moved / "manifest.json").read_text()
    (moved / "manifest.json").write_text(text.replace(str(Session.open(moved).manifest.model.folder), str(tmp_path / "gone")))
    _, err = lines(capsys, str(moved), "--verify", code=5)
    assert "which is not here; --model FOLDER says where it is" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--speed", "fast"], "--speed: is 'fast'; a number or max is wanted"),
        (["--from", "soon"], "--from: is 'soon'; a time like 90s, 1.5m or 1:30 is wanted"),
        (["--step", "--runner", "ray"], "--step: stops between two decisions"),
        (["--loop", "--verify"], "--loop: never ends"),
        (["--verify", "--ideal"], "--verify: compares what happened with itself"),
    ],
)
def test_a_mistake_is_one_line(recorded: Path, capsys: Any, words: list[str], line: str) -> None:
    _, err = lines(capsys, str(recorded), *words, code=2)
    assert line in err
    assert err.count("\n") == 1


def test_a_step_waits_for_enter_and_ends_at_q_or_the_end_of_the_input() -> None:
    for answers, asked in ((["\n", "\n", "q\n"], 3), (["\n", ""], 2)):
        stopping, given = Stopping(), iter(answers)
        step = Step(stopping, lambda given=given: next(given))
        taken = 0
        while not stopping():
            step.decision(None)  # type: ignore[arg-type]
            taken += 1
        assert taken == asked


def test_a_loop_goes_on_until_somebody_stops_it(recorded: Path) -> None:
    from pipeline.commands.replay import Asked, replay_session

    class Impatient(Stopping):
        """Stops at the third pass."""

        asks = 0

        def __call__(self) -> bool:
            self.asks += 1
            return self.asks > 3 * 500

    stopping = Impatient()
    assert replay_session(Asked(session=str(recorded), speed="max", loop=True), view="quiet", begun_ns=0, stopping=stopping) == 0
    assert stopping.asks > 3 * 500
