"""What the API is told of a session, and what a new API process is told again."""

from __future__ import annotations

from typing import Any

from decisions import decision, status

from pipeline.daemon.feed import KEPT, SessionFeed
from pipeline.runtime.codec import status_to_json

ABOUT = {"config": "room", "recording": "", "sources": {"cam": ["video"]}}


def feed() -> tuple[SessionFeed, list[dict[str, Any]]]:
    told: list[dict[str, Any]] = []
    return SessionFeed("a", ABOUT, told.append), told


def test_nothing_is_told_before_the_session_is_open() -> None:
    _, told = feed()
    assert told == []


def test_all_is_told_as_it_happens() -> None:
    it, told = feed()
    it.change({})
    it.decision(decision(window=4))
    it.status(status())
    it.change({"recording": "a-1"})
    it.close()
    assert told == [
        {"type": "session", "session": "a", **ABOUT},
        {"type": "decision", "session": "a", "decision": decision(window=4).to_json()},
        {"type": "status", "session": "a", "status": status_to_json(status())},
        {"type": "session", "session": "a", **ABOUT, "recording": "a-1"},
    ]


def test_a_new_process_is_told_how_it_is_now_and_the_last_decisions_with_their_ids() -> None:
    it, told = feed()
    for window in range(KEPT + 5):
        it.decision(decision(window=window))
    it.status(status(now_ms=1))
    it.status(status(now_ms=2))
    it.change({"recording": "a-1"})
    again = list(it.again())
    assert [message["type"] for message in again[:2]] == ["session", "status"]
    assert again[0]["recording"] == "a-1"
    assert again[1]["status"]["now_ns"] == 2_000_000
    assert [m["decision"]["id"] for m in again[2:]] == [decision(window=window).id for window in range(5, KEPT + 5)]
    assert len(told) == KEPT + 5 + 3


def test_of_many_sessions_fewer_decisions_are_told_again_and_the_newest() -> None:
    it, _ = feed()
    for window in range(10):
        it.decision(decision(window=window))
    assert [message["decision"]["window"] for message in list(it.again(3))[1:]] == [7, 8, 9]


def test_a_session_that_has_said_nothing_is_told_of_all_the_same() -> None:
    it, _ = feed()
    assert list(it.again()) == [{"type": "session", "session": "a", **ABOUT}]
