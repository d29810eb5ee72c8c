"""The bytes of an edge between two processes: a fixed header, then the raw buffer. Nothing in it is ever executed.

    header  (little-endian, 88 bytes)                               body
    magic "SNSW", version, kind, payload, dtype, ndim, stream,      the array in C order, or UTF-8 text
    generation, index, seq, start_ns, end_ns, sent_ns, rate_hz,
    shape[4], body bytes, CRC-32 of all this

What does not decode is a WireError by reason, never another exception: a receiver counts it and goes on. The CRC covers the
header, which steers; the body is judged by its size only: it goes through the kernel of one machine.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.errors import ContractError, SensoriumError
from operators.packet import AudioBlock, Closed, Embedding, Frame, Packet, Payload, Series, StreamEvent, TextSpan, Watermark

VERSION = 1
MAX_BODY = 256 << 20
MAX_DIMS = 4

_HEAD = struct.Struct("<4sBBBBBBHIQqqqqI4IQ")
_CRC = struct.Struct("<I")
HEADER_BYTES = _HEAD.size + _CRC.size
_MAGIC = b"SNSW"
_PACKET, _WATERMARK, _CLOSED = 0, 1, 2
_FRAME, _AUDIO, _TEXT, _SERIES, _EMBEDDING = 0, 1, 2, 3, 4
_DTYPES = tuple(np.dtype(name) for name in ("u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8"))
_DTYPE_CODES = {dtype: code for code, dtype in enumerate(_DTYPES)}


class WireError(SensoriumError):
    """Bytes that are no message of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """An event under way.

    stream      the index of its input among the plan's inputs, which both ends know
    generation  counts the starts of its sender
    index       how many packets this start of the sender sent on this edge before it
    sent_ns     when it was made ready, on the clock that both ends read (CLOCK_MONOTONIC)
    """

    event: StreamEvent
    stream: int
    generation: int
    index: int
    sent_ns: int


Body = memoryview | bytes


def encode(envelope: Envelope) -> tuple[bytes, Body]:
    """(header, body); the body is a view of the packet's own array where that is contiguous. Raises ContractError."""
    event = envelope.event
    match event:
        case Packet():
            payload, dtype, array, rate_hz = _payload_parts(event.payload)
            shape, body = array.shape, _bytes_of(array)
            kind, seq, start_ns, end_ns = _PACKET, event.seq, event.start_ns, event.end_ns
        case Watermark(time_ns=time_ns) | Closed(time_ns=time_ns):
            payload, dtype, rate_hz, shape, body = 0, 0, 0, (), memoryview(b"")
            kind = _WATERMARK if isinstance(event, Watermark) else _CLOSED
            seq, start_ns, end_ns = 0, time_ns, time_ns
        case _:
            raise ContractError(f"an edge carries Packet, Watermark and Closed, got {type(event).__name__}")
    if len(shape) > MAX_DIMS or body.nbytes > MAX_BODY:
        raise ContractError(f"an edge carries up to {MAX_DIMS} dimensions and {MAX_BODY} bytes, got {shape} and {body.nbytes}")
    fixed = (_MAGIC, VERSION, kind, payload, dtype, len(shape), 0, envelope.stream, envelope.generation, envelope.index)
    times = (seq, start_ns, end_ns, envelope.sent_ns, rate_hz)
    head = _HEAD.pack(*fixed, *times, *shape, *(0,) * (MAX_DIMS - len(shape)), body.nbytes)
    return head + _CRC.pack(zlib.crc32(head)), body


def decode(header: Body, body: Body, streams: tuple[str, ...]) -> Envelope:
    """The arrays are read-only views of `body`: whoever keeps the packet keeps it. Raises WireError and nothing else."""
    if len(header) != HEADER_BYTES or _CRC.unpack_from(header, _HEAD.size)[0] != zlib.crc32(memoryview(header)[: _HEAD.size]):
        raise WireError("a torn header")
    fields = _HEAD.unpack_from(header)
    magic, version, kind, payload, dtype, ndim, _, stream, generation, index, seq, start_ns, end_ns, sent_ns, rate_hz = fields[:15]
    if magic != _MAGIC or version != VERSION:
        raise WireError(f"not a message of version {VERSION}")
    if stream >= len(streams) or ndim > MAX_DIMS or fields[19] != len(body):
        raise WireError("a header that does not fit its body")
    name = streams[stream]
    try:
        event = _event(kind, name, seq, start_ns, end_ns, lambda: _payload(payload, dtype, fields[15 : 15 + ndim], rate_hz, body))
    except (ContractError, ValueError) as error:
        raise WireError(f"no {name} event: {error}") from None
    return Envelope(event=event, stream=stream, generation=generation, index=index, sent_ns=sent_ns)


def _payload_parts(payload: Payload) -> tuple[int, int, NDArray[Any], int]:
    """(payload code, dtype code, array, rate)."""
    match payload:
        case Frame(data=data):
            code, rate_hz = _FRAME, 0
        case AudioBlock(data=data, rate_hz=rate_hz):
            code = _AUDIO
        case Series(values=data):
            code, rate_hz = _SERIES, 0
        case Embedding(data=data):
            code, rate_hz = _EMBEDDING, 0
        case TextSpan(text=text):
            code, data, rate_hz = _TEXT, np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8), 0
    if data.dtype not in _DTYPE_CODES:
        raise ContractError(f"an edge carries plain numbers, got {data.dtype}")
    return code, _DTYPE_CODES[data.dtype], data, rate_hz


def _bytes_of(array: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _event(kind: int, name: str, seq: int, start_ns: int, end_ns: int, payload: Any) -> StreamEvent:  # noqa: ANN401 - a thunk
    match kind:
        case 0:
            return Packet(stream=name, seq=seq, start_ns=start_ns, end_ns=end_ns, payload=payload())
        case 1:
            return Watermark(stream=name, time_ns=start_ns)
        case 2:
            return Closed(stream=name, time_ns=start_ns)
    raise WireError(f"kind {kind}")


def _payload(code: int, dtype: int, shape: tuple[int, ...], rate_hz: int, body: Body) -> Payload:
    if code == _TEXT:
        return TextSpan(text=bytes(body).decode("utf-8", "surrogatepass"))
    array = _array(dtype, shape, body)
    match code:
        case 0:
            return Frame(data=array)
        case 1:
            return AudioBlock(data=array, rate_hz=rate_hz)
        case 3:
            return Series(values=array)
        case 4:
            return Embedding(data=array)
    raise WireError(f"payload {code}")


def _array(code: int, shape: tuple[int, ...], body: Body) -> NDArray[Any]:
    if code >= len(_DTYPES) or math.prod(shape) * _DTYPES[code].itemsize != len(body):
        raise WireError("a shape that does not fit its body")
    array = np.frombuffer(body, dtype=_DTYPES[code]).reshape(shape)
    array.flags.writeable = False
    return array
