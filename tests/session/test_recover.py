"""Damage is found, what is before it is kept, the damaged file goes to quarantine, and nothing is deleted."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from recordings import record, story

from operators.errors import SessionError
from pipeline.session.audit import audit
from pipeline.session.layout import Segment, segments
from pipeline.session.lock import SessionLock, is_being_recorded
from pipeline.session.loss import cuts
from pipeline.session.read import Session
from pipeline.session.recover import recover


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return record(story(count=40), tmp_path / "s", segment_ms=500)[0]


def states(session: Session) -> dict[str, str]:
    return {finding.file: finding.state for finding in audit(session)}


def flip(segment: Segment, place: float) -> None:
    content = bytearray(segment.path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 0x10
    segment.path.write_bytes(content)


def test_a_finished_session_is_whole_and_has_no_cut(session: Session) -> None:
    assert set(states(session).values()) == {"whole"}
    assert list(cuts(session)) == []
    assert recover(session.folder) == []


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.9, 1.0])
def test_a_flipped_bit_is_found_and_the_rows_before_it_are_kept(session: Session, place: float) -> None:
    segment = session.event_segments()[1]
    before = list(session.event_rows(segment))
    flip(segment, place)
    assert states(session)["events/0.0-000001.arrows"] == "damaged"
    kept = list(session.event_rows(segment))
    assert kept == before[: len(kept)]
    (repair,) = recover(session.folder)
    assert repair.file == "events/0.0-000001.arrows"
    assert [path.name for path in (session.folder / "quarantine").iterdir()] == (
        ["events-0.0-000001.arrows.damaged"] if kept else ["events-0.0-000001.arrows"]
    )
    again = Session.open(session.folder)
    assert set(states(again).values()) <= {"whole", "missing"}
    if kept:
        assert list(again.event_rows(again.event_segments()[1])) == kept
    assert list(cuts(again)) != []


def test_a_segment_that_is_listed_and_gone_is_missing(session: Session) -> None:
    session.event_segments()[2].path.unlink()
    assert states(session)["events/0.0-000002.arrows"] == "missing"
    assert [cut.why for cut in cuts(session)] == ["events are missing before 0.0-000003.arrows"]


def test_when_the_last_segment_is_gone_the_end_is_cut(session: Session) -> None:
    *_, before, last = session.event_segments()
    last.path.unlink()
    assert [cut.why for cut in cuts(session)] == [f"events are missing after {before.path.name}"]


@pytest.mark.parametrize("kept", [0, 100, 1_000_000])
@pytest.mark.parametrize("what", ["events", "decisions"])
def test_a_loss_at_the_end_is_a_loss_also_after_mending(session: Session, what: str, kept: int) -> None:
    """Also where the file that was being written held nothing that can be read, and is moved away."""
    last = segments(session.folder / what)[-1]
    lines = (session.folder / "segments.jsonl").read_text().splitlines(keepends=True)
    (session.folder / "segments.jsonl").write_text("".join(line for line in lines if f"{what}/{last.name}" not in line))
    last.path.with_name(f"{last.name}.part").write_bytes(last.path.read_bytes()[:kept])
    last.path.unlink()
    (before,) = cuts(Session.open(session.folder))
    assert recover(session.folder)
    again = Session.open(session.folder)
    (after,) = cuts(again)
    assert (after.start_ns, after.end_ns) == (before.start_ns, before.end_ns)
    assert set(states(again).values()) == {"whole"}
    assert recover(session.folder) == []


def test_a_finished_segment_without_its_line_is_listed(session: Session) -> None:
    lines = (session.folder / "segments.jsonl").read_text().splitlines(keepends=True)
    (session.folder / "segments.jsonl").write_text("".join(lines[1:]))
    assert list(states(session).values()).count("unlisted") == 1
    (repair,) = recover(session.folder)
    assert repair.done.startswith("listed")
    assert set(states(Session.open(session.folder)).values()) == {"whole"}


def test_lines_that_are_torn_or_nonsense_are_left_out(session: Session) -> None:
    path = session.folder / "segments.jsonl"
    path.write_bytes(b'{"file": 5}\nnot json\n[1]\n\xff\xfe\n' + path.read_bytes()[:-20])
    assert len(session.lines()) > 5


def test_any_damage_of_any_file_is_survived(tmp_path: Path) -> None:
    """Bits flipped and tails cut off at random, in logs, lines and the manifest; 60 seeds."""
    for seed in range(60):
        rng = random.Random(seed)
        folder = tmp_path / str(seed)
        _session, notes = record(story(count=10), folder, segment_ms=200)
        victim = rng.choice([path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size])
        content = bytearray(victim.read_bytes())
        if rng.random() < 0.5:
            content = content[: rng.randrange(len(content))]
        else:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        victim.write_bytes(content)
        try:
            opened = Session.open(folder)
            list(audit(opened))
            recover(folder)
            kept = list(opened.decisions())
        except SessionError:
            assert victim.name == "manifest.json"
            continue
        expected = [decision.id for decision in notes.decisions]
        if "decisions" not in str(victim):
            assert [decision.id for decision in kept] == expected
        assert {finding.state for finding in audit(Session.open(folder))} <= {"whole", "missing"}


def test_a_session_that_is_being_recorded_is_not_mended(session: Session) -> None:
    lock = SessionLock(session.folder)
    try:
        assert is_being_recorded(session.folder)
        with pytest.raises(SessionError, match="being recorded"):
            recover(session.folder)
    finally:
        lock.release()
    assert not is_being_recorded(session.folder)


@pytest.mark.parametrize("copied", ["nothing", "a part", "all but its line"])
def test_mending_that_was_broken_off_is_taken_up(session: Session, copied: str) -> None:
    segment = session.event_segments()[1]
    before = list(session.event_rows(segment))
    content = segment.path.read_bytes()
    flip(segment, 0.6)
    segment.path.rename(f"{segment.path}.damaged")
    if copied != "nothing":
        name = f"{segment.path}.part" if copied == "a part" else str(segment.path)
        Path(name).write_bytes(content[: len(content) // 4])
    assert recover(session.folder)
    again = Session.open(session.folder)
    assert set(states(again).values()) == {"whole"}
    kept = list(again.event_rows(again.event_segments()[1]))
    assert kept
    assert kept == before[: len(kept)]
    assert recover(session.folder) == []


def test_a_copy_that_was_finished_is_kept_and_the_damaged_file_goes_to_quarantine(session: Session) -> None:
    segment = session.event_segments()[1]
    segment.path.with_name(f"{segment.path.name}.damaged").write_bytes(b"damaged")
    assert recover(session.folder) == []
    assert set(states(session).values()) == {"whole"}
    assert (session.folder / "quarantine" / f"events-{segment.name}.damaged").read_bytes() == b"damaged"
