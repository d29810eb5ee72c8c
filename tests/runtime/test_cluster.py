"""A Ray cluster of two nodes on one machine: a source on the node that its config names, its model on the other."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from fakeplan import Notes
from tiny_model import write_tiny_model

from pipeline.clock import SystemClock
from pipeline.config import validate
from pipeline.plan import Plan, build_plan
from pipeline.runtime.desk import RunDesk
from pipeline.runtime.engine_keeper import EngineKeeper
from pipeline.runtime.inline import run_inline
from pipeline.runtime.job import EngineJob
from pipeline.runtime.keeper import Keeper
from pipeline.runtime.rundir import RunDir
from pipeline.runtime.supervisor import ENGINE, Supervisor
from pipeline.runtime.wishes import Wishes

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]
TESTS = Path(__file__).parents[1]
RAY = Path(sys.executable).parent / "ray"
PORT = 6397
"""Below those that Ray gives its workers."""
STORE = "80000000"


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    """The environment of whoever may use it. `ray stop` would end every Ray of this machine, so its processes are ended by their folder."""
    folder = Path(tempfile.mkdtemp(prefix="sr-", dir="/tmp"))  # Ray's sockets lie deep in it, and their paths must be short
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(TESTS)}
    environment = {
        **os.environ,
        **quiet,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "SENSORIUM_TEST_CLUSTER": str(folder),
    }
    common = ["--num-cpus=2", f"--object-store-memory={STORE}", "--disable-usage-stats"]
    head = [
        "--head",
        f"--port={PORT}",
        "--node-ip-address=127.0.0.1",
        "--include-dashboard=false",
        "--labels",
        "room=hall",
        f"--temp-dir={folder}/r",
    ]
    node = [f"--address=127.0.0.1:{PORT}", "--labels", "room=kitchen"]
    try:
        for words in (head, node):
            subprocess.run([str(RAY), "start", *words, *common], env=environment, check=True, capture_output=True, timeout=60)
        yield environment
    finally:
        for process in _marked(str(folder)):
            process.send_signal(signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("SENSORIUM_TEST_CLUSTER") == mark:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def story(folder: Path, room: str) -> Plan:
    values = {
        "model": str(write_tiny_model(folder / "tiny")),
        "sources": {
            "av": {"use": "beatsource:Beat", "seconds": 8, "streams": "video,audio"},
            "words": {"use": "beatsource:Beat", "seconds": 8, "streams": "text"},
        },
        "inputs": {"video": "av.video", "audio": "av.audio", "text": "words.text"},
        "nodes": {"av": {"room": room}},
        "run": {"speed": "max"},
    }
    return build_plan(validate(values, {}, origin=str(folder / "story.yaml")))


class Watch(Notes):
    """Looks, at every decision, on which node the processes are."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: dict[str, set[str]] = {}

    def decision(self, decision: Any) -> None:
        super().decision(decision)
        if len(self.decisions) % 10 == 1:
            for process in _marked(os.environ["SENSORIUM_TEST_CLUSTER"]):
                try:
                    title = (process.cmdline() or [""])[0].partition(".")[0]
                    self.nodes.setdefault(title, set()).add(process.environ().get("RAY_RAYLET_PID", ""))
                except (psutil.Error, OSError):
                    continue


def run(plan: Plan, folder: Path, sink: Notes) -> int:
    run_dir = RunDir("story", SystemClock(), folder / "runs")
    try:
        engine = EngineKeeper(run_dir, SystemClock(), random.Random(1), ENGINE)
        settings = EngineJob(folder="", asked_ns=0, address=f"127.0.0.1:{PORT}")
        supervisor = Supervisor(engine, RunDesk(run_dir.path), SystemClock(), Wishes(), settings)
        supervisor.sessions["story"] = Keeper(plan, [sink], SystemClock())
        return supervisor.run()
    finally:
        run_dir.close()


def test_a_session_across_nodes_decides_as_it_does_on_one(cluster: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in cluster.items():
        monkeypatch.setenv(name, text)
    plan, sink = story(tmp_path, "kitchen"), Watch()
    assert run(plan, tmp_path, sink) == 0
    alone = Notes()
    run_inline(plan, [alone], SystemClock())
    assert [d.to_json() for d in sink.decisions] == [d.to_json() for d in alone.decisions]
    assert len(sink.decisions) == 100
    raylets = {p.pid: p.cmdline() for p in _marked(cluster["SENSORIUM_TEST_CLUSTER"]) if p.name() == "raylet"}
    kitchen = next(str(pid) for pid, words in raylets.items() if any("kitchen" in word for word in words))
    assert kitchen in sink.nodes["ray::Ingest"]


def test_a_node_that_is_not_there_is_told_at_once(
    cluster: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in cluster.items():
        monkeypatch.setenv(name, text)
    assert run(story(tmp_path, "attic"), tmp_path, Notes()) == 3
    assert "av: no node of the cluster has the labels room=attic" in capsys.readouterr().err


def test_a_cluster_that_does_not_answer_is_one_line(
    cluster: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in cluster.items():
        monkeypatch.setenv(name, text)
    run_dir = RunDir("story", SystemClock(), tmp_path / "runs")
    engine = EngineKeeper(run_dir, SystemClock(), random.Random(1), ENGINE)
    supervisor = Supervisor(engine, RunDesk(run_dir.path), SystemClock(), Wishes(), EngineJob(folder="", asked_ns=0, address="127.0.0.1:9"))
    supervisor.sessions["story"] = Keeper(story(tmp_path, "hall"), [Notes()], SystemClock())
    assert supervisor.run() == 2
    run_dir.close()
    assert "no Ray cluster answers at 127.0.0.1:9" in capsys.readouterr().err
