"""Live sources on the whole runtime: told apart in the status, replaced when they hang, and no one else is touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rayrun import SupervisedRun
from tiny_model import write_tiny_model
from waiting import until

from pipeline.clock import SystemClock
from pipeline.runtime.requests import Refused, ask

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


def test_streams_come_and_go_without_a_gap_in_the_decisions(session: SupervisedRun) -> None:
    wait_state(session, "live", 60)
    presence_is(session, "text", "present")
    [folder] = (session.folder / "runs").glob("*")
    clock = SystemClock()

    assert ask(folder, {"detach": ["words"]}, clock) == "detached words"
    presence_is(session, "text", "empty")
    more = {
        "sources": {"talk": {"use": "livebeat:LiveBeat", "control": str(session.folder / "talk"), "streams": "text"}},
        "inputs": {"text": "talk.text"},
    }
    assert ask(folder, {"attach": more}, clock) == "attached talk"
    presence_is(session, "text", "present")
    until(lambda: stream(session, "text")["state"] == "live", 10, "the status knows it")

    for request, why in (
        ({"attach": more}, "sources.talk is there already"),
        ({"detach": ["nobody"]}, "there is no source 'nobody'; there are av, talk"),
        ({"detach": ["av", "talk"]}, "no source"),
        ({"attach": {"sources": {"clip": {"use": "beatsource:Beat"}}, "inputs": {}}}, "feeds no input"),
        ({"attach": {"model": "other"}}, "sources and inputs and transforms"),
        ({"dance": []}, "no request"),
    ):
        with pytest.raises(Refused, match=why):
            ask(folder, request, clock)

    assert ask(folder, {"detach": ["talk"]}, clock) == "detached talk"
    presence_is(session, "text", "empty")
    assert ask(folder, {"attach": more}, clock) == "attached talk"
    presence_is(session, "text", "present")

    session.process.terminate()
    assert session.end() == (0, "")
    decisions, final = session.decisions(), session.statuses()[-1]
    assert [decision["window"] for decision in decisions] == list(range(len(decisions)))
    assert final["skipped"] == 0
    there = sum(decision["presence"]["video"] in ("present", "partial") for decision in decisions)
    assert there > len(decisions) / 2  # on a busy machine a picture may miss a deadline, attached or not
    for edge in final["edges"]:
        assert edge["entered"] == edge["left"] + edge["waiting"] + sum(edge["dropped"].values())
    assert session.left_behind() == []


def presence_is(session: SupervisedRun, name: str, word: str) -> None:
    begun = len(session.decisions())
    fact = lambda: any(decision["presence"][name] == word for decision in session.decisions()[begun:])  # noqa: E731
    until(fact, 30, f"{name} is {word}: {[d['presence'] for d in session.decisions()[-2:]]} {session.events()[-4:]}")
