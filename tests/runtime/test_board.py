"""Counts that survive the death of those who count."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.runtime.board import Board, Facts

FACTS = Facts(session="s", model="m", backend="b", end_ns=None, kinds={"cam": "video", "mic": "audio"})


def board(*, replays: bool = False) -> Board:
    return Board({"cam": "av"}, replays=replays)


def sent(generation: int, entered: int, left: int, **dropped: int) -> dict[str, Any]:
    edge = {"entered": entered, "left": left, "waiting": entered - left - sum(dropped.values()), "dropped": dropped}
    report = {"from": "av", "generation": generation, "ended": False, "unrecorded": None}
    return {**report, "edges": {"cam": edge}, "dropped": {"cam": {"no_face": 1}}}


def got(generation: int, packets: int, missing: int = 0, **counts: int) -> dict[str, Any]:
    edge = {"packets": packets, "missing": missing, "repeated": 0, "bad": 0}
    stream = {"name": "cam", "kind": "video", "state": "live", "packets": packets, "late": 1, "dropped": {"late": 1}}
    report = {"from": "fusion", "generation": generation, "unrecorded": None}
    return {**report, "now_ns": 5, "counts": counts, "edges": {"cam": edge}, "streams": [stream]}


def edge(it: Board, final: bool = False) -> Any:
    return it.status(FACTS, "running", final=final).edges[0]


def test_what_is_sent_and_not_yet_there_is_waiting() -> None:
    it = board()
    it.ingest(sent(0, 10, 8, overflow=1))
    it.fusion(got(0, 5))
    assert (edge(it).entered, edge(it).left, edge(it).waiting, edge(it).dropped) == (10, 5, 4, {"overflow": 1})


def test_what_went_down_with_a_process_is_said_at_the_end() -> None:
    it = board()
    it.ingest(sent(0, 10, 10))
    it.fusion(got(0, 5))
    it.fusion(got(1, 3))
    assert edge(it, final=True).dropped == {"lost_with_process": 2}


def test_counts_go_on_where_a_restarted_process_began_again() -> None:
    it = board()
    it.ingest(sent(0, 10, 10))
    it.ingest(sent(1, 4, 4))
    it.fusion(got(0, 10, skipped=2))
    it.fusion(got(1, 4, skipped=3))
    status = it.status(FACTS, "running", final=True)
    assert (status.edges[0].entered, status.edges[0].left, status.skipped) == (14, 14, 5)
    assert status.streams[0].packets == 14
    assert status.streams[0].late == 2
    assert status.streams[0].dropped == {"late": 2, "no_face": 2}


def test_a_replay_counts_once() -> None:
    it = board(replays=True)
    it.ingest(sent(0, 10, 10))
    it.ingest(sent(1, 4, 4))
    it.fusion(got(0, 10))
    assert (edge(it).entered, edge(it).left) == (10, 10)


def test_the_last_words_of_a_replaced_process_are_not_counted() -> None:
    it = board()
    it.fusion(got(1, 4))
    it.fusion(got(0, 100))
    assert edge(it).left == 4


def test_a_lost_stream_stays_lost_in_every_status() -> None:
    it = board()
    it.lost.add("cam")
    assert [s.state for s in it.status(FACTS, "running", final=False).streams] == ["lost", "waiting"]


def test_events_are_told_once() -> None:
    it = board()
    it.events.append("x")
    assert it.status(FACTS, "running", final=False).events == ["x"]
    assert it.status(FACTS, "running", final=False).events == []


REPORT = st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 50), st.integers(0, 20), st.integers(0, 5))


@pytest.mark.parametrize("replays", [False, True])
@given(reports=st.lists(REPORT, max_size=20))
def test_every_edge_is_conserved_whatever_dies_when(replays: bool, reports: list[tuple[bool, int, int, int, int]]) -> None:
    it = board(replays=replays)
    for is_ingest, generation, many, some, few in reports:
        if is_ingest:
            it.ingest(sent(generation, many + few, many, overflow=few))
        else:
            it.fusion(got(generation, some, few))
        for final in (False, True):
            now = edge(it, final)
            assert now.entered == now.left + now.waiting + sum(now.dropped.values())
            assert min(now.entered, now.left, now.waiting, *now.dropped.values(), 0) == 0
            assert not (final and now.waiting)
