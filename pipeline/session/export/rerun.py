"""A session as a Rerun file (.rrd), on two timelines: `session`, time since its start, and `wall`, by its first clock anchor.

/SOURCE.STREAM            pictures, text, numbers; of sound how loud it is, dB of full scale
/SOURCE.STREAM/media/N    the media of segment N as MP4, which the pictures refer to
/decisions/scores/LABEL   /decisions/label   /labels/NAME   /events
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rerun as rr

from operators.packet import AudioBlock, Packet, Series, TextSpan
from pipeline.session.export.pictures import FORMATS, pictures_as_jpeg
from pipeline.session.export.remux import Remuxed
from pipeline.session.export.streams import coded, heard, kind_of, tell_refused
from pipeline.session.export.walltime import WallTime
from pipeline.session.read import Session

BATCH = 512
SILENCE_DB = -100.0


def export_rerun(session: Session, out: Path, progress: Callable[[int], None]) -> dict[str, int]:
    """Rows by entity."""
    recording = rr.RecordingStream("sensorium", recording_id=session.name)
    recording.save(str(out))
    try:
        rows = _Rows(recording, WallTime(session), progress)
        for stream in session.streams():
            _stream(session, stream, kind_of(session, stream), rows)
        _decisions(session, rows)
        for name in session.label_names():
            texts = ((label.start_ns, f"{label.label} (until {label.end_ns / 1e9:.3f} s)") for label in session.labels(name))
            rows.texts(f"labels/{name}", texts)
        rows.texts("events", _events(session))
    finally:
        recording.flush()
        recording.disconnect()
    return rows.counts


@dataclass(slots=True)
class _Rows:
    """Writes columns in batches and counts their rows."""

    recording: Any
    wall: WallTime
    progress: Callable[[int], None]
    counts: dict[str, int] = field(default_factory=dict)

    def send(self, entity: Sequence[str], times_ns: Sequence[int], columns: Any) -> None:  # noqa: ANN401 - rr.ComponentColumnList
        wall_ns = [self.wall.at(time_ns) for time_ns in times_ns]
        indexes = [
            rr.TimeColumn("session", duration=np.array(times_ns, "timedelta64[ns]")),
            rr.TimeColumn("wall", timestamp=np.array(wall_ns, "datetime64[ns]")),
        ]
        self.recording.send_columns(rr.new_entity_path(list(entity)), indexes, columns)
        name = "/" + "/".join(entity)
        self.counts[name] = self.counts.get(name, 0) + len(times_ns)
        self.progress(times_ns[-1])

    def texts(self, entity: str, texts: Iterator[tuple[int, str]]) -> None:
        for batch in _batches(texts):
            self.send(entity.split("/"), [time_ns for time_ns, _ in batch], rr.TextLog.columns(text=[text for _, text in batch]))

    def numbers(self, entity: Sequence[str], numbers: Iterator[tuple[int, Sequence[float]]]) -> None:
        """Every row has as many numbers."""
        for batch in _batches(numbers):
            values = np.array([row for _, row in batch], float)
            columns = rr.Scalars.columns(scalars=values.ravel())
            lengths = [values.shape[1]] * len(batch)
            self.send(entity, [time_ns for time_ns, _ in batch], columns.partition(lengths))


def _batches(rows: Iterator[tuple[int, Any]]) -> Iterator[list[tuple[int, Any]]]:
    batch: list[tuple[int, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _stream(session: Session, stream: str, kind: str | None, rows: _Rows) -> None:
    match kind:
        case "video":
            first = next(coded(session, stream), None)
            if first is not None and first.template.codec_context.name in FORMATS:
                _media(session, stream, rows)
            else:
                _jpegs(session, stream, rows)
        case "audio":
            rows.numbers([stream], ((block.start_ns, [_loudness_db(block)]) for _, block in heard(session, stream)))
        case "text":
            rows.texts(stream, _texts(session, stream))
        case "series":
            rows.numbers([stream], _series(session, stream))


@dataclass(slots=True)
class _Segment:
    """One segment's pictures as an MP4 file in memory. starts_ns: when each is shown."""

    base_ns: int
    target: io.BytesIO
    media: Remuxed
    starts_ns: list[int] = field(default_factory=list)


def _media(session: Session, stream: str, rows: _Rows) -> None:
    """A segment at a time, so that a long session needs no more memory than a short one."""
    segment: _Segment | None = None
    number = refused = 0
    for item in coded(session, stream):
        if segment is None or item.base_ns != segment.base_ns:
            if segment is not None:
                _finish(stream, number, segment, rows)
            target, number = io.BytesIO(), number + 1
            media = Remuxed(target, {stream: item.template}, format="mp4", zero_ns=item.base_ns)
            segment = _Segment(base_ns=item.base_ns, target=target, media=media)
        if segment.media.add(stream, item):
            segment.starts_ns.append(item.start_ns)
        else:
            refused += 1
    if segment is not None:
        _finish(stream, number, segment, rows)
    tell_refused(session, stream, refused)


def _finish(stream: str, number: int, segment: _Segment, rows: _Rows) -> None:
    """Logs the file, and for every picture which of its frames it is, by the file's own times: a tick too early shows the one before."""
    segment.media.close()
    if not segment.starts_ns:
        return
    asset = rr.AssetVideo(contents=segment.target.getvalue(), media_type="video/mp4")
    path = str(rr.new_entity_path([stream, "media", str(number)]))
    rows.recording.log(path, asset, static=True)
    starts_ns = sorted(segment.starts_ns)
    times_ns = _times_ns(asset)
    if len(times_ns) != len(starts_ns):
        times_ns = [start_ns - starts_ns[0] for start_ns in starts_ns]
    for batch in _batches(iter(zip(starts_ns, times_ns, strict=True))):
        stamps = [rr.components.VideoTimestamp(nanoseconds=time_ns) for _, time_ns in batch]
        columns = rr.VideoFrameReference.columns(timestamp=stamps, video_reference=[path] * len(batch))
        rows.send([stream], [start_ns for start_ns, _ in batch], columns)


def _times_ns(asset: rr.AssetVideo) -> list[int]:
    """When the file's own frames are shown, in order; nothing where Rerun cannot read it."""
    try:
        return sorted(asset.read_frame_timestamps_nanos().tolist())
    except RuntimeError:
        return []


def _jpegs(session: Session, stream: str, rows: _Rows) -> None:
    for batch in _batches((picture.start_ns, picture.data) for picture in pictures_as_jpeg(session, stream)):
        columns = rr.EncodedImage.columns(blob=[data for _, data in batch], media_type=["image/jpeg"] * len(batch))
        rows.send([stream], [time_ns for time_ns, _ in batch], columns)


def _loudness_db(block: Packet) -> float:
    """Of the mean square over all channels, relative to full scale."""
    if not isinstance(block.payload, AudioBlock):
        return SILENCE_DB
    power = float(np.mean(np.square(block.payload.data, dtype=np.float64)))
    return max(SILENCE_DB, 10 * math.log10(power)) if power > 0 else SILENCE_DB


def _texts(session: Session, stream: str) -> Iterator[tuple[int, str]]:
    for packet in session.packets(stream):
        if isinstance(packet.payload, TextSpan):
            yield packet.start_ns, packet.payload.text


def _series(session: Session, stream: str) -> Iterator[tuple[int, Sequence[float]]]:
    width: int | None = None
    for packet in session.packets(stream):
        if isinstance(packet.payload, Series):
            values = packet.payload.values.astype(float).ravel().tolist()
            width = len(values) if width is None else width
            if len(values) == width:
                yield packet.start_ns, values


def _decisions(session: Session, rows: _Rows) -> None:
    rows.texts("decisions/label", ((decision.end_ns, decision.label) for decision in session.decisions()))
    labels = dict.fromkeys(label for decision in session.decisions() for label in decision.scores)
    for label in labels:
        scores = ((one.end_ns, [one.scores[label]]) for one in session.decisions() if label in one.scores)
        rows.numbers(["decisions", "scores", label], scores)


def _events(session: Session) -> Iterator[tuple[int, str]]:
    for note in session.notes():
        if isinstance(note.get("event"), str) and isinstance(at_ns := note.get("session_ns"), int):
            yield at_ns, note["event"]
