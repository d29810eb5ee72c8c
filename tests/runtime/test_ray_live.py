"""Live sources on the whole runtime: told apart in the status, replaced when they hang, and no one else is touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rayrun import SupervisedRun
from tiny_model import write_tiny_model
from waiting import until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]
S = 1_000_000_000


@pytest.fixture
def session(tmp_path: Path) -> Iterator[SupervisedRun]:
    """The source `av` is controlled by the file `cam` in the session's folder; `words` goes its own way."""
    camera = {"use": "livebeat:LiveBeat", "control": str(tmp_path / "cam"), "url": "rtsp://me:hunter2@cam/1"}
    running = SupervisedRun(tmp_path, write_tiny_model(tmp_path / "tiny"), 1, {}, 120, av=camera)
    yield running
    running.process.kill()
    running.process.wait()
    if running.process.stderr is not None:
        running.process.stderr.close()


def stream(session: SupervisedRun, name: str) -> dict[str, Any]:
    status = session.statuses()[-1] if session.statuses() else {"streams": []}
    return next((one for one in status["streams"] if one["name"] == name), {"state": None})


def wait_state(session: SupervisedRun, state: str, seconds: float = 20) -> None:
    until(lambda: stream(session, "video")["state"] == state, seconds, f"video is {state}, not {stream(session, 'video')}")


def test_a_live_source_is_lost_found_hung_and_replaced_while_decisions_go_on(session: SupervisedRun) -> None:
    control = session.folder / "cam"
    wait_state(session, "live", 60)
    until(lambda: session.decisions() and session.decisions()[-1]["presence"]["video"] == "present", 20, "pictures are decided upon")
    first = stream(session, "video")
    assert (first["quality"], first["detail"], first["faults"]) == ("device", "16x16", {})

    control.write_text("gone")
    wait_state(session, "lost")
    assert session.statuses()[-1]["state"] == "degraded"
    control.write_text("")
    wait_state(session, "live")
    assert stream(session, "video")["faults"] == {"reconnect": 1}

    control.write_text("hang")
    wait_state(session, "stalled")
    until(lambda: any("source av is started again" in line for line in session.events()), 20, "a new process")
    control.write_text("")
    wait_state(session, "live", 30)
    until(lambda: session.statuses()[-1]["state"] == "running", 20, "all is well")

    session.process.terminate()
    assert session.end() == (0, "")
    decisions, final = session.decisions(), session.statuses()[-1]
    windows = [decision["window"] for decision in decisions]
    assert windows == list(range(len(windows)))
    assert final["skipped"] == 0
    for edge in final["edges"]:
        assert edge["entered"] == edge["left"] + edge["waiting"] + sum(edge["dropped"].values())
    events = "\n".join(session.events())
    assert "beat rtsp://***@cam/1: connected (16x16, 16 kHz mono)" in events
    assert "lost: its stream ended; trying again" in events
    assert "does not let go" in events
    assert "hunter2" not in session.out.read_text()
    assert session.left_behind() == []
