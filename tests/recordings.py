"""Recorded sessions for tests: of scripted sources and plain arithmetic, on disks that fail when they are told to."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fakeplan import MS, FakePlan, Notes, Script, regular

from operators.decision import Decision
from operators.packet import StreamEvent
from pipeline.clock import Clock, FakeClock
from pipeline.ports import Kind, Sink, Wanted
from pipeline.runtime.inline import run_inline
from pipeline.session.begin import manifest_of
from pipeline.session.disk import Disk, File
from pipeline.session.layout import Recording
from pipeline.session.manifest import Manifest, RecordedInput, RecordedModel, write_manifest
from pipeline.session.read import Session
from pipeline.session.recorder import Recorder
from pipeline.session.replay import Replay
from pipeline.session.runlog import RunRecorder
from pipeline.session.scribe import DirectScribe, Scribe

CREATED = "2026-11-25T00:00:00.000+00:00"


class FailingDisk(Disk):
    """Raises OSError(code) from write number `first` on, for `count` writes (None: for ever); every attempt counts, syncs and renames too."""

    def __init__(self, first: int = 1 << 60, *, count: int | None = None, code: int = errno.EIO) -> None:
        self.first, self.count, self.code = first, count, code
        self.attempts = 0
        self.free = 1 << 50

    def attempt(self) -> None:
        self.attempts += 1
        over = self.count is not None and self.attempts >= self.first + self.count
        if self.attempts >= self.first and not over:
            raise OSError(self.code, {errno.EIO: "Input/output error", errno.ENOSPC: "No space left on device"}[self.code])

    def create(self, path: Path) -> File:
        self.attempt()
        return _Failing(super().create(path), self)

    def sync(self, file: File) -> None:
        self.attempt()

    def rename(self, old: Path, new: Path) -> None:
        self.attempt()
        old.rename(new)

    def append_line(self, path: Path, values: Any) -> None:
        self.attempt()
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def free_bytes(self, folder: Path) -> int:
        return self.free


class _Failing:
    def __init__(self, file: File, disk: FailingDisk) -> None:
        self._file, self._disk = file, disk

    def write(self, data: bytes | memoryview, /) -> int | None:
        self._disk.attempt()
        return self._file.write(data)

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()


def story(count: int = 60, **options: Any) -> FakePlan:
    """Two streams of 50 ms packets; the second comes 120 ms late and is silent from packet 20 to 29."""
    late = [item for item in regular("mic", count, delay_ms=120) if not 20 <= getattr(item[1], "seq", -1) < 30]
    return FakePlan({"cam": Script(regular("cam", count)), "mic": Script(late)}, **{"speed": 1, **options})


def record(
    plan: FakePlan,
    folder: Path,
    *,
    disk: Disk | None = None,
    clock: Clock | None = None,
    segment_ms: int = 60_000,
    free_bytes: int = 0,
    stop: Any = lambda: False,
) -> tuple[Session, Notes]:
    """Runs the plan in virtual time and records it; gives the session and what a sink was told."""
    folder.mkdir()
    write_manifest(folder, manifest_of(plan, CREATED))
    recording = Recording(folder=str(folder), segment_ns=segment_ms * MS, free_bytes=free_bytes)
    clock = clock or FakeClock()
    notes = Notes()
    recorder = Recorder(recording, 0, clock, paced=True, scribe=DirectScribe(), disk=disk)
    keeper = RunRecorder(recording, [notes], clock, scribe=DirectScribe(), disk=disk)
    try:
        run_inline(plan, [keeper], clock, stop, recorder)
    finally:
        keeper.close()
    return Session.open(folder), notes


def replay(plan: FakePlan, folder: Path, *, speed: float | str = "max", clock: Clock | None = None, **span: Any) -> list[Decision]:
    """The decisions of a replay of what `record` made of an equal plan."""
    notes = Notes()
    run_replay(plan, folder, [notes], speed=speed, clock=clock, **span)
    return notes.decisions


def run_replay(
    plan: FakePlan, folder: Path, sinks: Sequence[Sink], *, speed: float | str = "max", clock: Clock | None = None, **span: Any
) -> None:
    plan.replay = Replay(session=str(folder), **span)
    run = plan.config.run.model_copy(update={"speed": speed})
    plan.config = plan.config.model_copy(update={"sources": {}, "inputs": {}, "run": run})
    run_inline(plan, sinks, clock or FakeClock())


S = 1_000_000_000
WANTED = {"video": Wanted(pixels="gray", max_width=160), "audio": Wanted(rate_hz=16000, channels=1), "text": Wanted()}
KINDS: dict[str, Kind] = {"video": "video", "audio": "audio", "text": "text"}


def write_plain_manifest(folder: Path, *, paced: bool = True) -> None:
    model = RecordedModel(name="none", digest="0" * 64, windows="")
    inputs = {name: RecordedInput(kind=kind, stream=f"media.{name}") for name, kind in KINDS.items()}
    values = {"session": "s", "created": CREATED, "software": "test", "paced": paced, "plan": "0" * 64, "model": model, "inputs": inputs}
    write_manifest(folder, Manifest(**values, deadline_ms=150, revise_ms=0, hold=1))


def record_source(
    source: Any,
    folder: Path,
    *,
    until_ns: int = 1 << 62,
    segment_s: float = 2,
    life: int = 0,
    from_ns: int = 0,
    scribe: Scribe | None = None,
) -> list[StreamEvent]:
    """What the source said; it is in the session now."""
    if not folder.exists():
        folder.mkdir()
        write_plain_manifest(folder)
    recording = Recording(folder=str(folder), segment_ns=int(segment_s * S), free_bytes=0)
    recorder = Recorder(recording, life, FakeClock(), paced=True, scribe=scribe or DirectScribe())
    log = recorder.source("media")
    log.open(source.open(WANTED), source.tap(log))
    said = []
    for due_ns, event in source.events(from_ns):
        if due_ns >= until_ns:
            break
        log.event(event, due_ns)
        said.append(event)
    source.close()
    recorder.close()
    return said
