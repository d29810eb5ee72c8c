"""The bytes between two processes: everything that goes in comes out, and nothing else does."""

from __future__ import annotations

import contextlib
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.errors import ContractError
from operators.packet import AudioBlock, Closed, Dropped, Embedding, Frame, Packet, Payload, Series, TextSpan, Watermark
from pipeline.runtime.wire import HEADER_BYTES, Envelope, WireError, decode, encode

STREAMS = ("cam", "mic")
PAYLOADS: list[Payload] = [
    Frame(data=np.arange(24, dtype=np.uint8).reshape(2, 4, 3)),
    Frame(data=np.arange(24, dtype=np.uint8).reshape(4, 6)[:, ::2]),
    AudioBlock(data=np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3), rate_hz=16000),
    TextSpan(text="Grüße \ud800 \U0001f600"),
    TextSpan(text=""),
    Series(values=np.array([1.0, np.nan])),
    Embedding(data=np.arange(6, dtype=np.int64).reshape(1, 2, 3)),
    Embedding(data=np.float32(3.0) * np.ones(())),
    Embedding(data=np.zeros((0, 3), dtype=np.float16)),
]


def envelope(event: object) -> Envelope:
    return Envelope(event=event, stream=1, generation=3, index=2**40, sent_ns=-5)  # type: ignore[arg-type]


def packet(payload: Payload) -> Packet:
    return Packet(stream="mic", seq=-3, start_ns=-(2**62), end_ns=2**62, payload=payload)


def array_of(payload: Payload) -> object:
    return next((getattr(payload, name) for name in ("data", "values", "text") if hasattr(payload, name)), None)


@pytest.mark.parametrize("payload", PAYLOADS, ids=repr)
def test_a_packet_comes_out_as_it_went_in(payload: Payload) -> None:
    sent = envelope(packet(payload))
    got = decode(*encode(sent), STREAMS)
    assert (got.stream, got.generation, got.index, got.sent_ns) == (1, 3, 2**40, -5)
    assert isinstance(got.event, Packet)
    assert type(got.event.payload) is type(payload)
    assert (got.event.seq, got.event.start_ns, got.event.end_ns) == (-3, -(2**62), 2**62)
    np.testing.assert_array_equal(array_of(got.event.payload), array_of(payload))


@pytest.mark.parametrize("event", [Watermark(stream="mic", time_ns=-7), Closed(stream="mic", time_ns=7)])
def test_a_promise_comes_out_as_it_went_in(event: object) -> None:
    assert decode(*encode(envelope(event)), STREAMS).event == event


def test_arrays_are_views_not_copies_and_read_only() -> None:
    header, body = encode(envelope(packet(PAYLOADS[0])))
    got = decode(header, body, STREAMS).event
    assert isinstance(got, Packet)
    assert isinstance(got.payload, Frame)
    assert np.shares_memory(got.payload.data, np.frombuffer(body, np.uint8))
    assert not got.payload.data.flags.writeable


@pytest.mark.parametrize(
    "event", [Dropped(stream="mic", reason="x"), packet(Embedding(data=np.zeros(1, object))), packet(Embedding(data=np.zeros((1,) * 5)))]
)
def test_what_an_edge_cannot_carry_is_refused_where_it_is_sent(event: object) -> None:
    with pytest.raises(ContractError):
        encode(envelope(event))


@pytest.mark.parametrize("payload", PAYLOADS, ids=repr)
def test_every_truncation_is_a_wire_error(payload: Payload) -> None:
    header, body = encode(envelope(packet(payload)))
    for length in range(HEADER_BYTES):
        with pytest.raises(WireError):
            decode(header[:length], body, STREAMS)
    for length in range(len(body)):
        with pytest.raises(WireError):
            decode(header, body[:length], STREAMS)
    with pytest.raises(WireError):
        decode(header, bytes(body) + b"x", STREAMS)


def test_every_flipped_bit_of_a_header_is_a_wire_error() -> None:
    header, body = encode(envelope(packet(PAYLOADS[2])))
    for bit in range(8 * HEADER_BYTES):
        torn = bytearray(header)
        torn[bit // 8] ^= 1 << bit % 8
        with pytest.raises(WireError):
            decode(bytes(torn), body, STREAMS)


def sealed(head: bytes) -> bytes:
    return head + struct.pack("<I", zlib.crc32(head))


@given(head=st.binary(min_size=HEADER_BYTES - 4, max_size=HEADER_BYTES - 4), body=st.binary(max_size=64))
def test_no_bytes_with_a_good_checksum_raise_anything_else(head: bytes, body: bytes) -> None:
    with contextlib.suppress(WireError):
        decode(sealed(head), body, STREAMS)


@given(payload=st.sampled_from(PAYLOADS), at=st.integers(0, HEADER_BYTES - 5), new=st.binary(min_size=1, max_size=8))
def test_a_lying_header_with_a_good_checksum_is_an_event_or_a_wire_error(payload: Payload, at: int, new: bytes) -> None:
    header, body = encode(envelope(packet(payload)))
    head = (header[:at] + new + header[at + len(new) :])[: HEADER_BYTES - 4]
    try:
        got = decode(sealed(head), body, STREAMS)
    except WireError:
        return
    assert got.event.stream in STREAMS


@given(header=st.binary(max_size=200), body=st.binary(max_size=200))
def test_no_bytes_at_all_raise_anything_else(header: bytes, body: bytes) -> None:
    with pytest.raises(WireError):
        decode(header, body, STREAMS)
