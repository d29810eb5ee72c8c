"""Events as rows of a log, and back: one schema for what a source said and for what the aligner was given.

Every row carries a CRC-32 of its other columns, so that damage is found row by row; Arrow itself would not notice it.
Nothing is compressed: the size of a file bounds what reading it can cost.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from operators.errors import ContractError
from operators.packet import AudioBlock, Closed, Dropped, Embedding, Frame, Packet, Payload, Series, TextSpan, Tick, Watermark

RowKind = Literal["packet", "watermark", "closed", "tick", "dropped", "held", "snapshot"]
Row = dict[str, Any]
LoggedEvent = Packet | Watermark | Closed | Tick | Dropped

COLUMNS: Mapping[str, str] = {
    "kind": "string",
    "stream": "string",
    "seq": "int64",
    "start_ns": "int64",
    "end_ns": "int64",
    "at_ns": "int64",
    "payload": "string",
    "dtype": "string",
    "shape": "list<int32>",
    "rate_hz": "int32",
    "data": "binary",
    "text": "string",
    "crc": "uint32",
}
"""docs/sessions.md says what each holds. Columns after at_ns may be null."""

DTYPES = frozenset({"uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64"})
EMPTY: Row = dict.fromkeys(COLUMNS) | {"stream": "", "seq": 0, "start_ns": 0, "end_ns": 0}


MEDIA = "media"
"""The payload of a packet whose content is in a media file beside the log."""


def crc_of(row: Row) -> int:
    """Of everything in the row but the CRC itself."""
    shape = "" if row["shape"] is None else ",".join(map(str, row["shape"]))
    words = [row[name] for name in ("kind", "stream", "seq", "start_ns", "end_ns", "at_ns", "payload", "dtype", "rate_hz", "text")]
    head = "\0".join("" if word is None else str(word) for word in (*words, shape))
    return zlib.crc32(row["data"] or b"", zlib.crc32(head.encode("utf-8", "surrogatepass")))


def signed(row: Row) -> Row:
    row["crc"] = crc_of(row)
    return row


def row_of(event: LoggedEvent, at_ns: int, *, in_media: bool = False, kind: RowKind = "packet") -> Row:
    """at_ns: the session time at which the event happened to whoever logs it. in_media: the payload is in a media file.

    kind is for packets: "held" for one that a snapshot refers to.
    """
    match event:
        case Packet():
            payload = {"payload": MEDIA} if in_media else _payload_columns(event.payload)
            times = {"seq": event.seq, "start_ns": event.start_ns, "end_ns": event.end_ns}
            return signed(EMPTY | {"kind": kind, "stream": event.stream, "at_ns": at_ns, **times, **payload})
        case Watermark() | Closed():
            said = "watermark" if isinstance(event, Watermark) else "closed"
            return signed(
                EMPTY | {"kind": said, "stream": event.stream, "start_ns": event.time_ns, "end_ns": event.time_ns, "at_ns": at_ns}
            )
        case Tick():
            return signed(EMPTY | {"kind": "tick", "start_ns": event.now_ns, "end_ns": event.now_ns, "at_ns": at_ns})
        case Dropped():
            start_ns = event.start_ns if event.start_ns is not None else at_ns
            values = {"seq": event.count, "start_ns": start_ns, "end_ns": start_ns, "text": event.reason}
            return signed(EMPTY | {"kind": "dropped", "stream": event.stream, "at_ns": at_ns, **values})
    raise ContractError(f"a log takes events, got {type(event).__name__}")


def event_of(row: Row) -> LoggedEvent | None:
    """None for a packet whose payload is in a media file. Raises ContractError for a row that holds no event."""
    kind, stream = row["kind"], row["stream"]
    match kind:
        case "packet" | "held":
            return None if row["payload"] == MEDIA else packet_of(row, payload_of(row))
        case "watermark":
            return Watermark(stream=stream, time_ns=row["start_ns"])
        case "closed":
            return Closed(stream=stream, time_ns=row["start_ns"])
        case "tick":
            return Tick(now_ns=row["start_ns"])
        case "dropped":
            return Dropped(stream=stream, reason=row["text"] or "", count=row["seq"], start_ns=row["start_ns"])
    raise ContractError(f"a row of kind {kind!r} is no event")


def packet_of(row: Row, payload: Payload) -> Packet:
    return Packet(stream=row["stream"], seq=row["seq"], start_ns=row["start_ns"], end_ns=row["end_ns"], payload=payload)


def payload_of(row: Row) -> Payload:
    """Raises ContractError where shape, type and bytes disagree."""
    data = row["data"] or b""
    if row["payload"] == "text":
        try:
            return TextSpan(text=data.decode("utf-8", "surrogatepass"))
        except UnicodeDecodeError as error:
            raise ContractError(f"a text row wants UTF-8 ({error})") from None
    array = _array(data, row["dtype"], row["shape"])
    match row["payload"]:
        case "frame":
            return Frame(data=array)
        case "audio":
            return AudioBlock(data=array, rate_hz=row["rate_hz"] or 0)
        case "series":
            return Series(values=array)
        case "embedding":
            return Embedding(data=array)
    raise ContractError(f"a payload {row['payload']!r} is not known")


def _payload_columns(payload: Payload) -> Row:
    match payload:
        case TextSpan(text=text):
            return {"payload": "text", "data": text.encode("utf-8", "surrogatepass")}
        case Frame(data=data):
            name, rate_hz = "frame", None
        case AudioBlock(data=data, rate_hz=rate_hz):
            name = "audio"
        case Series(values=data):
            name, rate_hz = "series", None
        case Embedding(data=data):
            name, rate_hz = "embedding", None
    little = np.ascontiguousarray(data, dtype=data.dtype.newbyteorder("<"))
    return {"payload": name, "dtype": data.dtype.name, "shape": list(data.shape), "rate_hz": rate_hz, "data": little.tobytes()}


def _array(data: bytes, dtype: str | None, shape: list[int] | None) -> NDArray[Any]:
    if dtype not in DTYPES or shape is None or len(shape) > 8 or any(size < 0 for size in shape):
        raise ContractError(f"an array of type {dtype!r} and shape {shape} is not known")
    kind = np.dtype(dtype).newbyteorder("<")
    if _product(shape) * kind.itemsize != len(data):
        raise ContractError(f"{len(data)} bytes do not make {dtype} {shape}")
    array = np.frombuffer(data, kind).reshape(shape)
    return array if kind.isnative else array.astype(kind.newbyteorder("="))


def _product(shape: list[int]) -> int:
    """In Python's integers: a header may claim anything."""
    size = 1
    for length in shape:
        size *= length
    return size
