"""A session as an MCAP file of JSON messages, one channel per stream, and /decisions, /labels/NAME, /events.

log_time: when it came to the recording (arrival). publish_time and the messages' timestamp: when it was captured. Both are wall time by the
session's first clock anchor; where a run read files at full speed, they are the files' own pace from that moment on.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from heapq import merge
from pathlib import Path
from typing import Any

import numpy as np
from mcap.writer import Writer

from operators.decision import Decision
from operators.packet import AudioBlock, Packet, Series, TextSpan
from pipeline import __version__
from pipeline.session.export import schemas
from pipeline.session.export.pictures import format_of, pictures
from pipeline.session.export.streams import heard, kind_of
from pipeline.session.export.walltime import WallTime
from pipeline.session.layout import MANIFEST
from pipeline.session.read import Session
from pipeline.session.rows import event_of

INFO = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """at_ns, start_ns: arrival and capture, session time. values: without the timestamp."""

    topic: str
    at_ns: int
    start_ns: int
    values: Mapping[str, Any]


def export_mcap(session: Session, out: Path, progress: Callable[[int], None]) -> dict[str, int]:
    """Messages by topic."""
    wall = WallTime(session)
    with out.open("wb") as file:
        writer = Writer(file)
        writer.start(profile="", library=f"sensorium {__version__}")
        channels = _Channels(writer)
        sources = [_in_order(messages) for messages in _sources(session, channels)]
        for at_ns, message in merge(*sources, key=lambda timed: timed[0]):
            captured_ns = wall.at(message.start_ns)
            values = {"timestamp": {"sec": captured_ns // 10**9, "nsec": captured_ns % 10**9}, **message.values}
            channels.add(message.topic, wall.at(at_ns), captured_ns, json.dumps(values, separators=(",", ":")).encode())
            progress(at_ns)
        _add_manifest(writer, session, wall)
        writer.finish()  # type: ignore[no-untyped-call]
    return channels.counts


class _Channels:
    """topic -> channel; a channel that gets no message is there all the same."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._schemas: dict[str, int] = {}
        self._ids: dict[str, int] = {}
        self.counts: dict[str, int] = {}

    def open(self, topic: str, schema: schemas.Schema, **said: str) -> str:
        title = schema["title"]
        if title not in self._schemas:
            self._schemas[title] = self._writer.register_schema(name=title, encoding="jsonschema", data=json.dumps(schema).encode())
        self._ids[topic] = self._writer.register_channel(
            topic=topic, message_encoding="json", schema_id=self._schemas[title], metadata=dict(said)
        )
        self.counts[topic] = 0
        return topic

    def add(self, topic: str, log_ns: int, publish_ns: int, data: bytes) -> None:
        self.counts[topic] += 1
        self._writer.add_message(
            channel_id=self._ids[topic], log_time=log_ns, publish_time=publish_ns, sequence=self.counts[topic], data=data
        )


def _in_order(messages: Iterable[Message]) -> Iterator[tuple[int, Message]]:
    """With arrival times that never go back: compressed packets must stay in their order."""
    last_ns = -(1 << 62)
    for message in messages:
        last_ns = max(last_ns, message.at_ns)
        yield last_ns, message


def _sources(session: Session, channels: _Channels) -> Iterator[Iterable[Message]]:
    """The messages of every channel, each in order of arrival."""
    for stream in session.streams():
        kind = kind_of(session, stream)
        topic, said = f"/{stream}", {"stream": stream, "kind": str(kind)}
        if kind == "video":
            format = format_of(session, stream)
            schema = schemas.IMAGE if format == "jpeg" else schemas.VIDEO
            yield _video(session, stream, channels.open(topic, schema, **said, format=format))
        elif kind == "audio":
            yield _audio(session, stream, channels.open(topic, schemas.AUDIO, **said))
        elif kind is not None:
            yield _logged(session, stream, channels.open(topic, schemas.TEXT if kind == "text" else schemas.SERIES, **said))
    yield _decisions(session, channels.open("/decisions", schemas.DECISION))
    for name in session.label_names():
        yield _labels(session, name, channels.open(f"/labels/{name}", schemas.LABEL))
    yield _events(session, channels.open("/events", schemas.LOG))


def _video(session: Session, stream: str, topic: str) -> Iterator[Message]:
    for picture in pictures(session, stream):
        values = {"frame_id": stream, "data": base64.b64encode(picture.data).decode(), "format": picture.format}
        yield Message(topic=topic, at_ns=picture.at_ns, start_ns=picture.start_ns, values=values)


def _audio(session: Session, stream: str, topic: str) -> Iterator[Message]:
    for at_ns, block in heard(session, stream):
        if isinstance(block.payload, AudioBlock):
            data, rate_hz = block.payload.data, block.payload.rate_hz
            whole = np.clip(np.rint(data.T * 32767), -32768, 32767).astype("<i2")  # (samples, channels): interleaved
            values = {"data": base64.b64encode(whole.tobytes()).decode(), "format": "pcm-s16", "sample_rate": rate_hz}
            values["number_of_channels"] = len(data)
            yield Message(topic=topic, at_ns=at_ns, start_ns=block.start_ns, values=values)


def _logged(session: Session, stream: str, topic: str) -> Iterator[Message]:
    for row in session.stream_rows(stream):
        event = event_of(row) if row["kind"] == "packet" else None
        if not isinstance(event, Packet):
            continue
        match event.payload:
            case TextSpan(text=text):
                values: dict[str, Any] = {"text": text}
            case Series(values=numbers):
                values = {"values": [_finite(number) for number in numbers.astype(float).ravel().tolist()]}
            case _:
                continue
        yield Message(topic=topic, at_ns=row["at_ns"], start_ns=event.start_ns, values=_span(event.start_ns, event.end_ns) | values)


def _decisions(session: Session, topic: str) -> Iterator[Message]:
    for decision in session.decisions():
        yield Message(topic=topic, at_ns=decided_ns(decision), start_ns=decision.start_ns, values=_decided(decision))


def decided_ns(decision: Decision) -> int:
    """When it went out, as far as its latency tells."""
    return decision.end_ns + decision.latency_ns.get("total", 0)


def _decided(decision: Decision) -> dict[str, Any]:
    said = decision.to_json()
    values = {name: said[name] for name in ("id", "window", "revision", "label", "presence", "age_ns", "latency_ns", "model", "also")}
    scores = {name: _finite(score) for name, score in decision.scores.items()}
    return _span(decision.start_ns, decision.end_ns) | values | {"scores": scores}


def _labels(session: Session, name: str, topic: str) -> Iterator[Message]:
    for label in session.labels(name):
        values = _span(label.start_ns, label.end_ns) | {"label": label.label}
        yield Message(topic=topic, at_ns=label.start_ns, start_ns=label.start_ns, values=values)


def _events(session: Session, topic: str) -> Iterator[Message]:
    for note in session.notes():
        at_ns = note.get("session_ns")
        if isinstance(note.get("event"), str) and isinstance(at_ns, int):
            values = {"level": INFO, "message": note["event"], "name": session.manifest.session, "file": "", "line": 0}
            yield Message(topic=topic, at_ns=at_ns, start_ns=at_ns, values=values)


def _span(start_ns: int, end_ns: int) -> dict[str, Any]:
    return {"session_start_ns": start_ns, "session_end_ns": end_ns}


def _finite(number: float) -> float | None:
    """JSON has no NaN."""
    return number if np.isfinite(number) else None


def _add_manifest(writer: Writer, session: Session, wall: WallTime) -> None:
    content = (session.folder / MANIFEST).read_bytes()
    writer.add_attachment(create_time=wall.zero_ns, log_time=wall.zero_ns, name=MANIFEST, media_type="application/json", data=content)
    model = session.manifest.model
    said = {"session": session.name, "software": session.manifest.software, "wall_zero_ns": str(wall.zero_ns)}
    writer.add_metadata("sensorium", said | ({} if model is None else {"model": f"{model.name}@{model.digest}"}))
