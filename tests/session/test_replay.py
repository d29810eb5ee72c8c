"""A replay is what happened: the same windows and decisions, whatever the speed, the place, the segment or the disk."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from fakeplan import MS, FakePlan, Notes, Script, regular
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import FailingDisk, record, replay, run_replay, story

from operators.errors import Truncated
from pipeline.clock import FakeClock
from pipeline.session.compare import compare, essence
from pipeline.session.loss import explain


def essences(decisions: list) -> list:
    return [essence(decision) for decision in decisions]


def test_a_replay_makes_the_recorded_decisions_again_lateness_included(tmp_path: Path) -> None:
    late = {"deadline_ns": 100 * MS}
    session, notes = record(story(align=late), tmp_path / "s")
    assert {word for d in notes.decisions for word in d.presence.values()} == {"timeout", "present", "partial"}
    assert list(map(essence, session.decisions())) == essences(notes.decisions)
    assert essences(replay(story(align=late), tmp_path / "s")) == essences(notes.decisions)


@pytest.mark.parametrize("speed", [0.5, 1, 20, "max"])
def test_the_speed_changes_nothing_but_the_time_it_takes(tmp_path: Path, speed: float | str) -> None:
    session, notes = record(story(), tmp_path / "s")
    (segment,) = session.event_segments()
    times_ms = [row["at_ns"] / MS for row in session.event_rows(segment)]
    clock = FakeClock()
    assert essences(replay(story(), tmp_path / "s", speed=speed, clock=clock)) == essences(notes.decisions)
    took_ms = clock.now_ns() / MS
    assert took_ms == pytest.approx(0 if speed == "max" else (times_ms[-1] - times_ms[0]) / float(speed), abs=0.01)


@pytest.mark.parametrize("start_ms", [0, 1, 499, 500, 1000, 1250, 2900])
def test_a_replay_from_any_time_makes_the_rest_of_the_decisions(tmp_path: Path, start_ms: int) -> None:
    _, notes = record(story(), tmp_path / "s", segment_ms=400)
    rest = [d for d in notes.decisions if d.start_ns >= start_ms * MS]
    assert essences(replay(story(), tmp_path / "s", start_ns=start_ms * MS)) == essences(rest)
    assert essences(replay(story(), tmp_path / "s", start_ns=start_ms * MS, end_ns=(start_ms + 300) * MS)) == essences(
        [d for d in rest if d.start_ns < (start_ms + 300) * MS]
    )


def test_a_replay_can_begin_with_every_segment_when_those_before_it_were_deleted(tmp_path: Path) -> None:
    session, notes = record(story(), tmp_path / "s", segment_ms=300)
    found = session.event_segments()
    assert len(found) > 5
    for segment in found[:-1]:
        segment.path.unlink()
        again = replay(story(), tmp_path / "s")
        assert essences(again) == essences(notes.decisions)[-len(again) :]
    assert len(again) < 6


def test_revisions_are_replayed_too(tmp_path: Path) -> None:
    align = {"deadline_ns": 50 * MS, "revise_ns": 400 * MS}
    _, notes = record(story(align=align), tmp_path / "s", segment_ms=250)
    assert any(d.revision for d in notes.decisions)
    assert essences(replay(story(align=align), tmp_path / "s")) == essences(notes.decisions)
    part = [d for d in notes.decisions if 700 * MS <= d.start_ns < 1500 * MS]
    assert any(d.revision for d in part)
    span = {"start_ns": 700 * MS, "end_ns": 1500 * MS, "behind_ns": 600 * MS}
    assert essences(replay(story(align=align), tmp_path / "s", **span)) == essences(part)


def test_the_hold_of_a_label_goes_on_from_the_segment_that_a_replay_begins_with(tmp_path: Path) -> None:
    def held() -> FakePlan:
        from operators.decide import Decider

        plan = story()
        plan.make_decider = lambda: Decider(plan.model.spec.labels, hold=3)
        return plan

    _, notes = record(held(), tmp_path / "s", segment_ms=300)
    raw = [max(d.scores, key=lambda label: d.scores[label]) for d in notes.decisions]
    assert [d.label for d in notes.decisions] != raw
    again = replay(held(), tmp_path / "s", start_ns=1500 * MS)
    assert essences(again) == essences([d for d in notes.decisions if d.start_ns >= 1500 * MS])


def test_an_ideal_replay_waits_for_what_came_late(tmp_path: Path) -> None:
    _, notes = record(story(align={"deadline_ns": 50 * MS}), tmp_path / "s", segment_ms=700)
    assert any(d.presence["mic"] in ("timeout", "partial") for d in notes.decisions)
    ideal = replay(story(align={"mode": "wait", "deadline_ns": 0}), tmp_path / "s", ideal=True)
    assert [d.window for d in ideal] == [d.window for d in notes.decisions]
    assert {d.presence["mic"] for d in ideal} == {"present", "empty"}


def test_a_recording_at_full_speed_is_replayed_alike(tmp_path: Path) -> None:
    _, notes = record(story(speed="max"), tmp_path / "s", segment_ms=500)
    assert essences(replay(story(speed="max"), tmp_path / "s")) == essences(notes.decisions)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 39), st.integers(0, 400)), max_size=12), st.integers(60, 900), st.integers(0, 4000))
def test_any_lateness_in_any_segments_from_anywhere_is_replayed(
    tmp_path_factory: pytest.TempPathFactory, late: list, segment_ms: int, from_ms: int
) -> None:
    delays = dict(late)

    def plan() -> FakePlan:
        events = [(due + delays.get(getattr(e, "seq", -1), 0) * MS, e) for due, e in regular("mic", 40)]
        due_ns = 0
        ordered = []
        for due, event in events:  # a source delivers in order of when it is due
            due_ns = max(due_ns, due)
            ordered.append((due_ns, event))
        return FakePlan({"cam": Script(regular("cam", 40)), "mic": Script(ordered)}, speed=1)

    folder = tmp_path_factory.mktemp("any") / "s"
    _, notes = record(plan(), folder, segment_ms=segment_ms)
    wanted = [d for d in notes.decisions if d.start_ns >= from_ms * MS]
    assert essences(replay(plan(), folder, start_ns=from_ms * MS)) == essences(wanted)


def test_what_was_made_while_the_disk_was_full_is_a_cut_and_the_rest_is_verified(tmp_path: Path) -> None:
    disk = FailingDisk(first=12, count=4, code=errno.ENOSPC)
    session, notes = record(story(count=300), tmp_path / "s", disk=disk, segment_ms=500)
    assert len(notes.decisions) == 150
    stopped = [line for line in notes.events() if "stopped" in line]
    resumed = [line for line in notes.events() if "goes on" in line]
    assert stopped
    assert all("No space left on device; decisions go on" in line for line in stopped)
    assert len(resumed) == len(stopped)
    comparison = compare(session.decisions(), replay(story(count=300), tmp_path / "s"))
    assert comparison.compared > 60
    found = explain(session, comparison, behind_ns=200 * MS)
    assert found.verified
    assert found.cuts


def test_a_changed_decision_is_the_first_difference(tmp_path: Path) -> None:
    session, notes = record(story(), tmp_path / "s")
    other = story()
    other.backend.fuse = lambda inputs, presence: notes and __import__("numpy").array([[0.0, 1.0]], dtype="float32")
    comparison = compare(session.decisions(), replay(other, tmp_path / "s"))
    assert comparison.first is not None
    assert comparison.first.startswith("window 0, [0 ns, 100000000 ns): ")
    assert not explain(session, comparison, behind_ns=0).verified


def test_a_session_without_events_says_so(tmp_path: Path) -> None:
    session, _ = record(story(), tmp_path / "s")
    for segment in session.event_segments():
        segment.path.unlink()
    with pytest.raises(Truncated, match="holds no event"):
        run_replay(story(), tmp_path / "s", [Notes()])
