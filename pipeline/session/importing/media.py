"""A media file as a recorded session: its compressed media copied, its captions, the stamps that a run would have given; no decisions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from operators.errors import SessionError
from pipeline import __version__
from pipeline.clock import SystemClock, wall_utc
from pipeline.config import Align, Decide
from pipeline.media.captions import SUFFIXES
from pipeline.media.container import open_container
from pipeline.ports import StreamSpec, Wanted
from pipeline.session.disk import Disk
from pipeline.session.importing.place import place
from pipeline.session.labels import label_name
from pipeline.session.layout import NOTES, Recording
from pipeline.session.manifest import Manifest, RecordedInput, write_manifest
from pipeline.session.scribe import DirectScribe
from pipeline.session.streamlog import SourceRecorder
from pipeline.sources.file import MediaFile

SOURCE = "file"
# Pictures are decoded to learn when each is shown; what they look like is in the copied media.
WANTED = {"video": Wanted(pixels="gray", max_width=32), "audio": Wanted(), "text": Wanted()}

Progress = Callable[[int, int | None], None]
"""Told now and then: (how far, ns of session time; where it ends, if that is known)."""


def import_media(path: Path, store: Path, progress: Progress = lambda at_ns, end_ns: None) -> Path:
    """The folder of the new session. Raises SourceError for a file that cannot be read, SessionError where it cannot be kept."""
    created, disk = wall_utc(), Disk()
    name = f"{label_name(path.stem)}-{created[:19].replace(':', '').replace('-', '')}Z"
    with place(store, name) as made:
        specs, end_ns = _copy(path, made.folder, progress)
        made_at = _creation(path)
        if made_at is not None:
            disk.append_line(made.folder / NOTES, {"anchor": {"session_ns": 0, "utc": made_at}})
        disk.append_line(made.folder / NOTES, {"end": {"state": "ended", "now_ns": end_ns, "decisions": 0}, "utc": wall_utc()})
        write_manifest(made.folder, _manifest(path, specs, created))
    return made.final


def _copy(path: Path, folder: Path, progress: Progress) -> tuple[Sequence[StreamSpec], int]:
    """What it offered, and the session time at which it ended."""
    recording = Recording(folder=str(folder))
    scribe, source = DirectScribe(), MediaFile(path=path)
    recorder = SourceRecorder(recording, SOURCE, (0, 0), scribe, SystemClock(), Disk(), lambda line: None)
    due_ns = 0
    try:
        specs = source.open(WANTED)
        recorder.open(specs, source.tap(recorder))
        for due_ns, event in source.events():
            recorder.event(event, due_ns)
            if recorder.stopped is not None or recorder.refused is not None:
                break
            progress(due_ns, source.end_ns())
    finally:
        source.close()
        recorder.close()
        scribe.close()
    if recorder.stopped is not None:
        raise SessionError(str(path), f"cannot be imported: {recorder.stopped}")
    if recorder.refused is not None:
        raise SessionError(str(path), f"cannot be imported: Matroska does not take its {recorder.refused}")
    return specs, due_ns


def _manifest(path: Path, specs: Sequence[StreamSpec], created: str) -> Manifest:
    """Inputs are called what they are: a model's input that is called the same, or is the only one of its kind, is fed by them."""
    align, decide = Align(), Decide()
    return Manifest(
        session=label_name(path.stem),
        created=created,
        software=f"sensorium {__version__}",
        paced=False,
        plan=None,
        model=None,
        inputs={spec.name: RecordedInput(kind=spec.kind, stream=f"{SOURCE}.{spec.name}") for spec in specs},
        deadline_ms=align.deadline_ms,
        revise_ms=align.revise_ms,
        hold=decide.hold,
        imported=path.name[:255],
    )


def _creation(path: Path) -> str | None:
    """When the file says that its first moment was, ISO 8601; None: it does not say."""
    if path.suffix.lower() in SUFFIXES:
        return None
    with open_container(path) as container:
        said = container.metadata.get("creation_time", "")
    try:
        return datetime.fromisoformat(said).isoformat() if said.endswith("Z") else None
    except ValueError:
        return None
