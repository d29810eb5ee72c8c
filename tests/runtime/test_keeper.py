"""One session through engine after engine: each decision once, every count carried on, a status that does not lie."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from decisions import decision, status
from fakeplan import FakePlan, Notes, Script

from pipeline.clock import FakeClock
from pipeline.ports import EdgeCount
from pipeline.runtime.codec import status_to_json
from pipeline.runtime.failure import death
from pipeline.runtime.keeper import QUIET_NS, Keeper
from pipeline.session.layout import Recording


def keeper(speed: float | str = 1, **more: Any) -> tuple[Keeper, Notes, FakeClock]:
    clock, notes = FakeClock(), Notes()
    return Keeper(FakePlan({"cam": Script([]), "mic": Script([])}, speed=speed), [notes], clock, **more), notes, clock


def decided(window: int, revision: int = 0) -> dict[str, Any]:
    return {"type": "decision", "decision": decision(window=window, revision=revision).to_json()}


def said(**changed: Any) -> dict[str, Any]:
    return {"type": "status", "status": status_to_json(replace(status(), **changed))}


STARTED = {"type": "started", "epoch_ns": 77, "took_ns": {"ray": 2_500_000_000}}


def test_a_session_begins_and_its_first_status_says_how_long_it_took() -> None:
    it, notes, _ = keeper()
    assert not it.begun
    it.take(STARTED)
    it.take(said())
    assert it.begun
    assert notes.events() == ["started: ray 2.5 s"]


def test_each_decision_is_written_once_across_engines() -> None:
    it, notes, _ = keeper()
    for line in [STARTED, decided(0), decided(1), decided(2)]:
        it.take(line)
    it.engine_gone("its process died")
    for line in [STARTED, decided(1), decided(2), decided(3), decided(2, revision=1)]:
        it.take(line)
    assert [(d.window, d.revision) for d in notes.decisions] == [(0, 0), (1, 0), (2, 0), (3, 0), (2, 1)]


def test_the_next_engine_is_told_where_the_session_was() -> None:
    it, _, _ = keeper()
    first = it.job(0)
    assert (first.session, first.epoch_ns, first.decided, first.recording) == ("story", None, -1, None)
    for line in [STARTED, decided(0), decided(5), decided(3, revision=1)]:
        it.take(line)
    second = it.job(1)
    assert (second.epoch_ns, second.decided, second.digest) == (77, 5, first.digest)


def test_each_engine_records_under_its_own_number() -> None:
    it, _, _ = keeper(recording=Recording(folder="/r"))
    assert [it.job(n).recording for n in (0, 3)] == [Recording(folder="/r", engine=0), Recording(folder="/r", engine=3)]


def test_a_replay_has_a_name_of_its_own() -> None:
    it, _, _ = keeper(session="again")
    assert (it.session, it.job(0).session) == ("again", "again")


def test_only_so_many_ids_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.runtime.keeper.REMEMBERED", 10)
    it, notes, _ = keeper()
    for window in [*range(12), 11, 2]:
        it.take(decided(window))
    assert len(notes.decisions) == 12
    it.take(decided(0))  # long forgotten
    assert len(notes.decisions) == 13


def test_what_was_counted_before_an_engine_died_stays() -> None:
    it, notes, _ = keeper()
    edge = EdgeCount(edge="video", entered=33, left=28, waiting=2, dropped={"overflow": 3})
    it.take(said(missed_deadlines=4, edges=[edge]))
    it.engine_gone("its process died")
    it.take(said(missed_deadlines=1, edges=[EdgeCount(edge="video", entered=5, left=4, waiting=1, dropped={})]))
    last = notes.statuses[-1]
    assert last.missed_deadlines == 5
    assert last.edges == [EdgeCount(edge="video", entered=38, left=32, waiting=1, dropped={"overflow": 3, "lost_with_process": 2})]
    assert [stream.packets for stream in last.streams] == [60, 6, 0]


def test_at_full_speed_the_next_engine_counts_all_again() -> None:
    it, notes, _ = keeper(speed="max")
    it.take(said(missed_deadlines=4))
    it.engine_gone("its process died")
    it.take(said(missed_deadlines=1))
    assert notes.statuses[-1].missed_deadlines == 1


def test_decisions_are_counted_here_and_not_by_engines() -> None:
    it, notes, _ = keeper()
    for line in [decided(0), decided(1), said(decisions=999)]:
        it.take(line)
    assert notes.statuses[-1].decisions == 2


def test_while_there_is_no_engine_the_status_says_degraded() -> None:
    it, notes, clock = keeper()
    it.take(said())
    it.engine_gone("its process died")
    it.without_engine()
    assert [s.state for s in notes.statuses] == ["running"]
    for _ in range(3):
        clock.sleep_until(clock.now_ns() + QUIET_NS + 1)
        it.without_engine()
    assert [s.state for s in notes.statuses] == ["running", *["degraded"] * 3]
    assert notes.events() == ["engine failed: its process died"]


def test_a_session_that_has_said_nothing_yet_has_no_status_to_say_again() -> None:
    it, notes, clock = keeper()
    clock.sleep_until(10 * QUIET_NS)
    it.without_engine()
    it.finish(stopped=True)
    assert notes.statuses == []


def test_the_end_is_said_once_with_what_happened_last() -> None:
    it, notes, _ = keeper()
    it.take(decided(0))
    it.take(said(final=True, events=["camera lost"]))
    assert notes.statuses == []
    it.finish(stopped=False)
    [last] = notes.statuses
    assert (last.final, last.state, last.decisions, last.events) == (True, "ended", 1, ["camera lost"])


@pytest.mark.parametrize(("stopped", "state"), [(False, "failed"), (True, "ended")])
def test_a_session_that_was_stopped_has_ended_whatever_else_went_wrong(stopped: bool, state: str) -> None:
    it, notes, _ = keeper()
    it.take(said())
    it.failure = death("ActorDiedError")
    it.finish(stopped=stopped)
    assert (notes.statuses[-1].state, notes.statuses[-1].final) == (state, True)
    assert (it.failure is None) == stopped


def test_an_engine_that_dies_with_its_last_word_does_not_end_the_session_twice() -> None:
    it, notes, clock = keeper()
    it.take(said(final=True, events=["camera lost"]))
    it.engine_gone("its process died")
    clock.sleep_until(QUIET_NS + 1)
    it.without_engine()
    it.take(said())
    it.finish(stopped=False)
    assert [s.final for s in notes.statuses] == [False, False, True]
    assert notes.events() == ["camera lost", "engine failed: its process died"]
