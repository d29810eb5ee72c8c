"""The whole runtime with real processes: equal to the reference runner, and still deciding while parts of it die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakeplan import Notes
from rayrun import SupervisedRun, ray_shm
from tiny_model import write_tiny_model
from waiting import until

from pipeline.clock import SystemClock
from pipeline.config import load_config
from pipeline.plan import build_plan
from pipeline.runtime.inline import run_inline
from pipeline.runtime.listeners import is_loopback, listening

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]
TESTS = Path(__file__).parents[1]
DEMO = TESTS.parent / "configs" / "demo.yaml"
S = 1_000_000_000


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def start(tmp_path: Path, model: Path) -> Iterator[Any]:
    sessions = []

    def begin(speed: float | str = 1, seconds: float = 4.0, **faults: Any) -> SupervisedRun:
        sessions.append(SupervisedRun(tmp_path, model, speed, faults, seconds))
        return sessions[-1]

    yield begin
    for session in sessions:
        session.process.kill()
        session.process.wait()
        session.process.stderr.close()


def inline(session: SupervisedRun) -> list[dict[str, Any]]:
    notes = Notes()
    run_inline(build_plan(session.config), [notes], SystemClock())
    return [decision.to_json() for decision in notes.decisions]


def assert_conserved(status: dict[str, Any]) -> None:
    for edge in status["edges"]:
        assert edge["entered"] == edge["left"] + edge["waiting"] + sum(edge["dropped"].values()), edge


def test_ray_decides_as_the_reference_runner_does(start: Any) -> None:
    session = start("max", seconds=20)
    code, errors = session.end()
    assert (code, errors) == (0, "")
    assert len(session.decisions()) == 250
    assert session.decisions() == inline(session)
    final = session.statuses()[-1]
    assert final["final"]
    assert final["state"] == "ended"
    assert [(e["entered"], e["left"], e["dropped"]) for e in final["edges"]] == [(500, 500, {}), (500, 500, {}), (40, 40, {})]
    assert session.left_behind() == []


def test_ray_and_inline_decide_the_same_on_the_shipped_demo(tmp_path: Path) -> None:
    wait = ["--speed", "max", "--duration", "8s"]
    command = [str(Path(sys.executable).parent / "sensorium"), "run", str(DEMO), *wait, "--quiet", "--runner", "ray", "--out", "out.jsonl"]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}, check=True, timeout=90, capture_output=True)
    decided = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    notes = Notes()
    run_inline(build_plan(load_config(DEMO, ["run.speed=max", "run.duration=8s"])), [notes], SystemClock())
    assert len(decided) >= 100
    assert decided == [{key: decision.to_json()[key] for key in line} for decision, line in zip(notes.decisions, decided, strict=True)]


def test_killed_actors_at_full_speed_cost_time_but_no_decision(start: Any) -> None:
    session = start("max", seconds=200)
    session.wait_decided(20)
    session.kill("ray::Ingest")
    until(lambda: any("is started again" in line for line in session.events()), 20, "the sources are back")
    session.kill("ray::Fusion")
    code, errors = session.end()
    assert (code, errors) == (0, "")
    assert session.decisions() == inline(session)
    for name in ("source av", "source words", "fusion"):
        assert any(line.startswith(f"{name} failed: its process died") for line in session.events())
    assert_conserved(session.statuses()[-1])


def test_decisions_go_on_while_an_ingest_actor_and_the_fusion_actor_are_killed(start: Any) -> None:
    session = start(1, seconds=12)
    session.wait_decided(10)
    ports = list(listening(session.process.pid))
    assert ports
    assert all(is_loopback(address) for _, address, _ in ports)
    killed_at = session.kill("ray::Ingest")
    until(lambda: any(d["presence"]["audio"] == "timeout" for d in session.decisions()[killed_at:]), 20, "masked decisions")
    until(lambda: session.decisions()[-1]["presence"]["audio"] == "present", 20, "audio is back")
    before = session.decisions()[-1]["window"]
    session.kill("ray::Fusion")
    until(lambda: session.decisions()[-1]["window"] > before + 10, 20, "decisions are back")
    assert session.end()[0] == 0
    decisions, final = session.decisions(), session.statuses()[-1]
    windows = [d["window"] for d in decisions if d["revision"] == 0]
    assert windows == sorted(set(windows))
    assert len(windows) + final["skipped"] == 150
    assert_conserved(final)
    assert session.left_behind() == []


def test_an_input_that_kills_its_reader_again_and_again_is_lost_and_the_rest_goes_on(start: Any) -> None:
    session = start("max", seconds=4, kill_at_ms=2000, always=True)
    code, _ = session.end()
    assert code == 0
    decisions, final = session.decisions(), session.statuses()[-1]
    assert len(decisions) == 50
    assert decisions[20]["presence"]["video"] == "present"
    assert decisions[-1]["presence"]["video"] == "closed"
    assert {s["name"]: s["state"] for s in final["streams"]} == {"video": "lost", "audio": "lost", "text": "closed"}
    assert any(line.startswith("source av is lost after 6 failures") for line in session.events())


def test_a_source_that_raises_or_hangs_is_started_again(start: Any) -> None:
    session = start(1, seconds=14, fail_at_ms=1000, hang_at_ms=5000)
    assert session.end()[0] == 0
    decisions = session.decisions()
    assert any(d["presence"]["audio"] == "timeout" for d in decisions)
    assert decisions[-2]["presence"]["audio"] == "present"
    for why in ("cable eaten", "silent for 5 s"):
        assert any(f"source av failed: {why}" in line for line in session.events())


def test_a_source_that_cannot_be_opened_ends_the_run_with_its_one_line(start: Any) -> None:
    session = start(1, missing=True)
    code, errors = session.end()
    assert code == 3
    assert errors == "sensorium: beat: no such device\n"
    assert session.decisions() == []


def test_an_interrupt_ends_the_run_in_order_and_leaves_nothing(start: Any) -> None:
    session = start(1, seconds=60)
    session.wait_decided(5)
    asked = SystemClock().now_ns()
    session.process.send_signal(signal.SIGINT)
    code, errors = session.end()
    assert SystemClock().now_ns() - asked < 5 * S
    assert (code, errors) == (0, "")
    assert session.statuses()[-1]["final"]
    assert session.left_behind() == []


def test_a_second_interrupt_ends_it_at_once(start: Any) -> None:
    session = start(1, seconds=60)
    session.wait_decided(5)
    session.process.send_signal(signal.SIGINT)
    session.process.send_signal(signal.SIGTERM)
    code, _ = session.end()
    assert code in (0, 130)
    assert session.left_behind() == []


def test_an_interrupt_during_the_start_is_heard(start: Any) -> None:
    session = start(1, seconds=60)
    session.process.send_signal(signal.SIGINT)
    asked = SystemClock().now_ns()
    assert session.end()[0] == 0
    assert SystemClock().now_ns() - asked < 6 * S
    assert session.left_behind() == []


def test_a_killed_engine_gcs_or_raylet_is_replaced_and_the_session_goes_on(start: Any) -> None:
    session = start(1, seconds=120)
    session.wait_decided(5)
    for victim in ("pipeline.runtime.engine", "gcs/gcs_server", "raylet/raylet"):
        decided = session.kill(victim)
        # More than one: what an engine counted since its last status, at most 250 ms ago, goes down with it.
        until(lambda decided=decided: len(session.decisions()) > decided + 15, 40, f"decisions are back after {victim}")
    session.process.send_signal(signal.SIGTERM)
    assert session.end() == (0, "")
    windows = [d["window"] for d in session.decisions()]
    assert windows == sorted(set(windows))
    assert windows[-1] == len(windows) - 1 + session.statuses()[-1]["skipped"]
    assert [line for line in session.events() if line.startswith("engine is started again")] != []
    assert session.left_behind() == []


def test_when_the_supervisor_is_killed_the_engine_ends_itself(start: Any) -> None:
    session = start(1, seconds=60)
    session.wait_decided(5)
    session.process.kill()
    session.process.communicate()
    until(lambda: not session.ours(), 20, "no process of ours")
    assert ray_shm() == []
