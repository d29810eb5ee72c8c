"""Whatever the disk does, decisions go on, one line says it, and what was written can be read and replayed."""

from __future__ import annotations

import errno
import threading
from functools import partial
from pathlib import Path

import pytest
from fakeplan import MS
from recordings import FailingDisk, record, replay, story
from waiting import until

from pipeline.cli import main
from pipeline.clock import FakeClock
from pipeline.session.audit import audit
from pipeline.session.compare import compare
from pipeline.session.disk import Disk, File
from pipeline.session.layout import Recording, SegmentName, segment_lines, segments
from pipeline.session.loss import explain
from pipeline.session.part import Part
from pipeline.session.read import Session
from pipeline.session.recover import recover
from pipeline.session.reel import RETRY_NS, Reel
from pipeline.session.scribe import ThreadScribe


def writes_of(folder: Path) -> int:
    """How many writes, syncs and renames the story takes."""
    disk = FailingDisk()
    record(story(count=12), folder, disk=disk, segment_ms=200)
    return disk.attempts


def test_an_error_at_any_write_costs_no_decision_and_nothing_before_it(tmp_path: Path) -> None:
    total = writes_of(tmp_path / "whole")
    expected = [d.id for d in record(story(count=12), tmp_path / "again", segment_ms=200)[1].decisions]
    assert total > 20
    for number in range(1, total + 1):
        disk = FailingDisk(first=number)
        session, notes = record(story(count=12), tmp_path / str(number), disk=disk, segment_ms=200)
        assert [d.id for d in notes.decisions] == expected
        assert sum("stopped: Input/output error" in line for line in notes.events()) <= 4  # once for each thing that is recorded
        assert not any(finding.state == "damaged" for finding in audit(session))
        assert is_verified(session)
        recover(session.folder)
        assert is_verified(Session.open(session.folder))


def is_verified(session: Session) -> bool:
    """What of it can be replayed."""
    if not session.event_segments():
        return True
    comparison = compare(session.decisions(), replay(story(count=12), session.folder))
    return explain(session, comparison, behind_ns=200 * MS).verified


def test_a_session_that_was_cut_off_by_an_error_is_mended_and_then_there_is_nothing_to_mend(tmp_path: Path) -> None:
    session, _ = record(story(count=12), tmp_path / "s", disk=FailingDisk(first=20), segment_ms=200)
    before = {finding.file: finding for finding in audit(session)}
    assert any(finding.state == "open" for finding in before.values())
    assert recover(tmp_path / "s")
    after = {finding.file: finding for finding in audit(session)}
    assert all(finding.state == "whole" for finding in after.values())
    assert all(after[file].extent.rows == finding.extent.rows for file, finding in before.items() if finding.extent.rows)
    assert recover(tmp_path / "s") == []


def test_too_little_space_stops_the_recording_until_there_is_more(tmp_path: Path) -> None:
    clock, disk, said = FakeClock(), FailingDisk(), []
    recording = Recording(folder=str(tmp_path), free_bytes=100)
    reel: Reel = Reel(recording, "events", SegmentName(engine=0, actor=0, number=0), disk, clock, said.append)
    reel.begin(0, _Content)
    disk.free = 99
    clock.sleep_until(2_000 * MS)
    reel.flush()
    reel.begin(0, _Content)
    assert not reel.running
    clock.sleep_until(2_000 * MS + RETRY_NS)
    reel.begin(0, _Content)
    disk.free = 200
    clock.sleep_until(2_000 * MS + 2 * RETRY_NS)
    reel.begin(0, _Content)
    assert reel.running
    reel.finish()
    assert said == [
        "recording of events stopped: only 0 MiB of disk are free, 0 are to stay so; decisions go on",
        "recording of events goes on",
    ]


def test_a_segment_that_there_is_no_space_for_leaves_a_mark_that_something_is_missing(tmp_path: Path) -> None:
    clock, disk, said = FakeClock(), FailingDisk(), []
    reel: Reel = Reel(
        Recording(folder=str(tmp_path), free_bytes=100), "events", SegmentName(engine=0, actor=0, number=0), disk, clock, said.append
    )
    reel.begin(0, _Content)
    reel.finish()
    disk.free = 99
    for tries in range(3):
        clock.sleep_until(tries * RETRY_NS)
        reel.begin(0, _Content)
    first, mark = segments(tmp_path / "events")
    assert (first.closed, mark.closed) == (True, False)
    assert mark.path.stat().st_size == 0


class StuckDisk(Disk):
    """Syncs nothing until it is told to, and then with an error if it has one."""

    def __init__(self, error: OSError | None = None) -> None:
        self.released, self._error = threading.Event(), error

    def sync(self, file: File) -> None:
        self.released.wait()
        if self._error is not None:
            raise self._error


def on_a_thread(folder: Path, disk: Disk, said: list[str]) -> tuple[Reel, ThreadScribe]:
    """With a first segment that is finished and a second one that is begun."""
    scribe = ThreadScribe(patient=False)
    name = SegmentName(engine=0, actor=0, number=0)
    reel: Reel = Reel(Recording(folder=str(folder), free_bytes=0), "events", name, disk, FakeClock(), said.append, scribe.later)
    scribe.each_pause(reel.flush)
    for at_ns in range(2):
        scribe.put(partial(reel.begin, at_ns, _Content))
    return reel, scribe


def test_while_a_segment_is_synced_the_next_one_is_written(tmp_path: Path) -> None:
    said: list[str] = []
    disk = StuckDisk()
    reel, scribe = on_a_thread(tmp_path, disk, said)
    second = tmp_path / "events" / "0.0-000001.arrows.part"
    until(lambda: second.exists() and second.stat().st_size, 10, "the second segment")
    assert (tmp_path / "events" / "0.0-000000.arrows.part").exists()
    disk.released.set()
    scribe.put(reel.finish)
    scribe.close()
    assert sorted(segment_lines(tmp_path)) == ["events/0.0-000000.arrows", "events/0.0-000001.arrows"]
    assert said == []


def test_a_segment_that_cannot_be_synced_is_told_even_at_the_end(tmp_path: Path) -> None:
    said: list[str] = []
    disk = StuckDisk(OSError(errno.EIO, "Input/output error"))
    reel, scribe = on_a_thread(tmp_path, disk, said)
    scribe.put(reel.finish)
    disk.released.set()
    scribe.close()
    assert said == ["recording of events stopped: Input/output error; decisions go on"]
    assert sorted(path.name for path in (tmp_path / "events").iterdir()) == ["0.0-000000.arrows.part", "0.0-000001.arrows.part"]
    assert segment_lines(tmp_path) == {}


class _Content:
    rows = 0

    def __init__(self, part: Part) -> None:
        part.write(b"x")

    def flush(self) -> None: ...

    def close(self) -> None: ...


def test_a_folder_that_cannot_be_written_is_told_in_one_line_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    store = tmp_path / "file" / "store"
    code = main(["run", "demo", "--runner", "inline", "--speed", "max", "--quiet", "--record", str(store)])
    assert code == 2
    assert capsys.readouterr().err == (
        f"sensorium: --record {store}: record.folder: cannot be recorded to (Not a directory); "
        "name a folder that can be written, with --record FOLDER\n"
    )


def test_the_real_disk_says_what_is_free_and_refuses_to_write_over_a_segment(tmp_path: Path) -> None:
    disk = Disk()
    assert disk.free_bytes(tmp_path) > 0
    disk.create(tmp_path / "a" / "b").close()
    with pytest.raises(OSError, match="exists") as caught:
        disk.create(tmp_path / "a" / "b")
    assert caught.value.errno == errno.EEXIST
