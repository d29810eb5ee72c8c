"""A session as a folder of Parquet tables, one media file per source, and labels as they are.

decisions.parquet  events.parquet  streams/SOURCE.STREAM.parquet  labels/NAME.jsonl  media/SOURCE.mp4 (or .mkv)  session.json
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from pipeline.session.export.remux import Rotating
from pipeline.session.export.streams import coded, kind_of, tell_refused
from pipeline.session.export.walltime import WallTime
from pipeline.session.labels import labels_path
from pipeline.session.layout import LABELS, MANIFEST, STREAMS
from pipeline.session.read import Session

ABOUT = "session.json"
"""The session's manifest."""


def export_parquet(session: Session, out: Path, progress: Callable[[int], None]) -> dict[str, int]:
    """Rows or packets by file. Every table's times are session time; its metadata `wall_zero_ns` is when that was 0, ns since 1970 UTC."""
    wall = WallTime(session)
    counts: dict[str, int] = {}

    def write(table: pa.Table, file: str) -> None:
        path = out / file
        path.parent.mkdir(parents=True, exist_ok=True)
        said = {**(table.schema.metadata or {}), "session": session.name, "wall_zero_ns": str(wall.zero_ns)}
        parquet.write_table(table.replace_schema_metadata(said), path, compression="zstd")
        counts[file] = table.num_rows

    out.mkdir()
    write(session.decisions_table(), "decisions.parquet")
    write(_events(session), "events.parquet")
    for stream in session.streams():
        write(session.table(stream), f"{STREAMS}/{stream}.parquet")
    counts |= _media(session, out, progress)
    for name in session.label_names():
        (out / LABELS).mkdir(exist_ok=True)
        shutil.copyfile(labels_path(session.folder, name), out / LABELS / f"{name}.jsonl", follow_symlinks=False)
        counts[f"{LABELS}/{name}.jsonl"] = len(session.labels(name))
    # Under another name: what is exported is no session, and must not be listed, purged or mended as one.
    shutil.copyfile(session.folder / MANIFEST, out / ABOUT, follow_symlinks=False)
    return counts


def _media(session: Session, out: Path, progress: Callable[[int], None]) -> dict[str, int]:
    sources: dict[str, list[str]] = {}
    for stream in session.streams():
        kind = kind_of(session, stream)
        if kind in ("video", "audio"):  # pictures first, as in any media file
            streams = sources.setdefault(stream.partition(".")[0], [])
            streams.insert(0 if kind == "video" else len(streams), stream)
    counts: dict[str, int] = {}
    for source, streams in sources.items():
        (out / "media").mkdir(exist_ok=True)
        rotating = Rotating(out / "media" / source, {stream: coded(session, stream) for stream in streams})
        for at_ns in rotating.write():
            progress(at_ns)
        for stream in streams:
            tell_refused(session, stream, rotating.refused[stream])
        counts |= {f"media/{path.name}": packets for path, packets in rotating.files.items()}
    return counts


def _events(session: Session) -> pa.Table:
    notes = [note for note in session.notes() if isinstance(note.get("event"), str)]
    times = [note.get("session_ns") for note in notes]
    columns = {
        "session_ns": pa.array([time if isinstance(time, int) else None for time in times], pa.int64()),
        "utc": pa.array([str(note.get("utc", "")) for note in notes], pa.string()),
        "event": pa.array([note["event"] for note in notes], pa.string()),
    }
    return pa.table(columns)
