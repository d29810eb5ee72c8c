"""An event is the same after it was a row; a row that was changed is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.errors import ContractError
from operators.packet import AudioBlock, Closed, Dropped, Embedding, Frame, Packet, Series, TextSpan, Tick, Watermark
from pipeline.session.rows import COLUMNS, MEDIA, crc_of, event_of, row_of

times = st.integers(-(1 << 62), 1 << 62)
arrays = st.sampled_from(["uint8", "int16", "int64", "float32", "float64"]).flatmap(
    lambda name: st.lists(st.integers(0, 100), max_size=12).map(lambda values: np.array(values, dtype=name))
)
payloads = st.one_of(
    st.text(st.characters(), max_size=20).map(lambda text: TextSpan(text=text)),
    st.integers(1, 5).map(lambda size: Frame(data=np.arange(size * size, dtype=np.uint8).reshape(size, size))),
    st.integers(1, 5).map(lambda size: Frame(data=np.zeros((size, 2, 3), np.uint8))),
    st.lists(st.floats(-1, 1, width=32), max_size=9).map(lambda v: AudioBlock(data=np.array([v], np.float32), rate_hz=16000)),
    st.lists(st.floats(allow_nan=False), max_size=5).map(lambda v: Series(values=np.array(v, np.float64))),
    arrays.map(lambda data: Embedding(data=data)),
)
packets = st.builds(
    lambda stream, seq, start, length, payload: Packet(stream=stream, seq=seq, start_ns=start, end_ns=start + length, payload=payload),
    st.text("abc.", min_size=1, max_size=5), st.integers(0, 1 << 40), times, st.integers(0, 1 << 40), payloads,
)  # fmt: skip
events = st.one_of(
    packets,
    st.builds(Watermark, stream=st.just("cam"), time_ns=times),
    st.builds(Closed, stream=st.just("cam"), time_ns=times),
    st.builds(Tick, now_ns=times),
    st.builds(Dropped, stream=st.just("cam"), reason=st.text("a_", min_size=1), count=st.integers(0, 99), start_ns=times),
)


def same(a: Any, b: Any) -> bool:
    if not isinstance(a, Packet):
        return bool(a == b)
    heads = [(p.stream, p.seq, p.start_ns, p.end_ns, type(p.payload)) for p in (a, b)]
    if heads[0] != heads[1]:
        return False
    if isinstance(a.payload, TextSpan):
        return bool(a.payload == b.payload)
    x, y = ((p.payload.values if isinstance(p.payload, Series) else p.payload.data) for p in (a, b))
    return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()


@given(events, times)
def test_an_event_is_the_same_after_it_was_a_row(event: Any, at_ns: int) -> None:
    row = row_of(event, at_ns)
    assert set(row) == set(COLUMNS)
    assert row["at_ns"] == at_ns
    assert same(event_of(row), event)


@given(packets, st.sampled_from(["seq", "start_ns", "end_ns", "at_ns", "stream", "kind", "dtype", "shape", "data"]))
def test_a_row_with_another_value_has_another_crc(packet: Packet, column: str) -> None:
    row = row_of(packet, 5)
    old = row[column]
    row[column] = (
        old + 1 if isinstance(old, int) else f"{old}x" if isinstance(old, str) else [9, 9] if isinstance(old, list) else b"changed"
    )
    assert crc_of(row) != row["crc"]


def test_a_packet_whose_content_is_in_a_media_file_is_no_event_by_itself() -> None:
    row = row_of(Packet(stream="cam", seq=0, start_ns=0, end_ns=1, payload=Frame(data=np.zeros((2, 2), np.uint8))), 0, in_media=True)
    assert (row["payload"], row["data"], event_of(row)) == (MEDIA, None, None)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [1 << 30, 1 << 30]}, {"shape": [-1, -4]}, {"dtype": "object"}, {"dtype": "float32"}, {"payload": "pickle"},
        {"payload": None}, {"kind": "python"}, {"shape": None}, {"data": b""}, {"end_ns": -5},
    ],
    ids=str,
)  # fmt: skip
def test_a_row_that_is_no_event_is_refused(change: dict[str, Any]) -> None:
    row = row_of(Packet(stream="cam", seq=0, start_ns=0, end_ns=1, payload=Frame(data=np.zeros((2, 2), np.uint8))), 0)
    with pytest.raises(ContractError):
        event_of({**row, **change})
