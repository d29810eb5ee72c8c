"""What was left undecided because its turn came too late is left undecided again when the recording is replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakeplan import MS, FakePlan, Script, regular
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import CREATED, replay
from seats import Costly, World, told
from waiting import until

from pipeline.runtime.edge import EdgePolicy
from pipeline.session.begin import manifest_of
from pipeline.session.layout import Recording
from pipeline.session.manifest import write_manifest
from pipeline.session.read import Session
from pipeline.session.replay import Replay

HOLD = {"mode": "deadline", "deadline_ns": 150 * MS, "revise_ns": 400 * MS}


def plan(**options: Any) -> FakePlan:
    return FakePlan({"cam": Script([]), "mic": Script([])}, **{"speed": 1, "align": HOLD, **options})


def record_overload(folder: Path, costs_ms: list[int], segment_ms: int) -> list[dict[str, Any]]:
    """Two sessions on an engine that is slow by the second; gives the decisions of the one that is recorded."""
    made = plan()
    folder.mkdir()
    write_manifest(folder, manifest_of(made, CREATED))
    world = World()
    try:
        made.backend = backend = Costly(world.clock)
        other = plan()
        other.backend = backend
        late = regular("mic", 120, delay_ms=190)
        recording = Recording(folder=str(folder), segment_ns=segment_ms * MS, free_bytes=0)
        world.add("recorded", made, [*regular("cam", 120), *late], EdgePolicy(), recording=recording)
        world.add("other", other, [*regular("cam", 120), *regular("mic", 120)], EdgePolicy())
        for second, cost_ms in enumerate(costs_ms):
            backend.cost_ms = cost_ms
            world.run((second + 1) * 1000 * MS)
        backend.cost_ms = 0
        world.run(7000 * MS)
        world.leave("recorded")
        return told(world.decisions["recorded"])
    finally:
        world.close()


@given(costs_ms=st.lists(st.sampled_from([0, 30, 80, 200, 300]), min_size=4, max_size=4), segment_ms=st.sampled_from([150, 400, 60_000]))
@settings(max_examples=15, deadline=None)
def test_a_replay_sheds_what_was_shed(tmp_path_factory: pytest.TempPathFactory, costs_ms: list[int], segment_ms: int) -> None:
    folder = tmp_path_factory.mktemp("shed") / "s"
    live = record_overload(folder, costs_ms, segment_ms)
    assert told([decision.to_json() for decision in replay(plan(), folder)]) == live
    rest = [decision for decision in live if decision["start_ns"] >= 2000 * MS]
    assert told([decision.to_json() for decision in replay(plan(), folder, start_ns=2000 * MS)]) == rest


def test_windows_are_shed_with_their_reason_in_the_log_and_a_seat_replays_it_too(tmp_path: Path) -> None:
    live = record_overload(tmp_path / "s", [0, 300, 300, 0], 400)
    session = Session.open(tmp_path / "s")
    rows = [row for segment in session.event_segments() for row in session.shed_rows(segment)]
    assert len(rows) >= 5
    assert {(row["stream"], row["text"]) for row in rows} <= {("decisions", "overload"), ("decisions", "overload_revision")}
    world, again = World(), plan()
    try:
        again.replay = Replay(session=str(tmp_path / "s"))
        run = again.config.run.model_copy(update={"speed": "max"})
        again.config = again.config.model_copy(update={"sources": {}, "inputs": {}, "run": run})
        world.add("again", again)
        until(lambda: world.run(world.clock.now_ns() + 10 * MS) or world.reports["again"]["ended"], 20, "it has ended")
        assert told(world.decisions["again"]) == live
    finally:
        world.close()


def test_a_replay_from_the_middle_is_there_at_once_and_then_keeps_to_its_speed(tmp_path: Path) -> None:
    live = record_overload(tmp_path / "s", [0, 0, 0, 0], 60_000)
    world, again = World(), plan()
    try:
        again.replay = Replay(session=str(tmp_path / "s"), start_ns=4000 * MS)
        again.config = again.config.model_copy(update={"sources": {}, "inputs": {}})
        world.add("again", again)
        until(lambda: world.run(world.clock.now_ns() + 10 * MS) or world.decisions["again"], 20, "it decides")
        assert world.clock.now_ns() < 1000 * MS
        begun_ns = world.clock.now_ns()
        until(lambda: world.run(world.clock.now_ns() + 10 * MS) or world.reports["again"]["ended"], 20, "it has ended")
        assert 1800 * MS < world.clock.now_ns() - begun_ns < 2400 * MS
        assert told(world.decisions["again"]) == [decision for decision in live if decision["start_ns"] >= 4000 * MS]
    finally:
        world.close()


def test_an_ideal_replay_decides_what_was_shed(tmp_path: Path) -> None:
    live = record_overload(tmp_path / "s", [0, 300, 300, 0], 400)
    ideal = plan(align={"mode": "wait"})
    decided = {decision.window for decision in replay(ideal, tmp_path / "s", ideal=True)}
    assert decided == set(range(60))
    assert decided - {decision["window"] for decision in live}
