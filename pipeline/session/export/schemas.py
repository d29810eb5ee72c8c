"""JSON schemas of the messages of an exported MCAP file: Foxglove's well-known ones, so that viewers show them, and three of ours."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
_TIME: Schema = {
    "type": "object",
    "title": "time",
    "properties": {"sec": {"type": "integer", "minimum": 0}, "nsec": {"type": "integer", "minimum": 0, "maximum": 999_999_999}},
}
_TEXT: Schema = {"type": "string"}
_INTEGER: Schema = {"type": "integer"}
_BYTES: Schema = {"type": "string", "contentEncoding": "base64"}
_NUMBERS: Schema = {"type": "object", "additionalProperties": {"type": "number"}}


def _object(title: str, properties: Schema) -> Schema:
    return {"title": title, "type": "object", "properties": {"timestamp": _TIME, **properties}, "required": ["timestamp", *properties]}


_SPAN: Schema = {"session_start_ns": _INTEGER, "session_end_ns": _INTEGER}

VIDEO = _object("foxglove.CompressedVideo", {"frame_id": _TEXT, "data": _BYTES, "format": _TEXT})
IMAGE = _object("foxglove.CompressedImage", {"frame_id": _TEXT, "data": _BYTES, "format": _TEXT})
AUDIO = _object("foxglove.RawAudio", {"data": _BYTES, "format": _TEXT, "sample_rate": _INTEGER, "number_of_channels": _INTEGER})
LOG = _object("foxglove.Log", {"level": _INTEGER, "message": _TEXT, "name": _TEXT, "file": _TEXT, "line": _INTEGER})
TEXT = _object("sensorium.Text", {**_SPAN, "text": _TEXT})
SERIES = _object("sensorium.Series", {**_SPAN, "values": {"type": "array", "items": {"type": "number"}}})
LABEL = _object("sensorium.Label", {**_SPAN, "label": _TEXT})
DECISION = _object(
    "sensorium.Decision",
    {
        **_SPAN,
        "id": _TEXT,
        "window": _INTEGER,
        "revision": _INTEGER,
        "label": _TEXT,
        "scores": _NUMBERS,
        "presence": {"type": "object", "additionalProperties": _TEXT},
        "age_ns": {"type": "object", "additionalProperties": {"type": ["integer", "null"]}},
        "latency_ns": {"type": "object", "additionalProperties": _INTEGER},
        "model": _TEXT,
        "also": {"type": "object", "additionalProperties": _TEXT},
    },
)
"""session_start_ns, session_end_ns: the span on the session's own timeline, exact; timestamp: its start as wall time."""
