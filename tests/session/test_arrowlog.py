"""A log is read up to its damage: whatever is cut off or flipped, nothing before it is lost and nothing false is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.packet import Embedding, Packet, TextSpan, Tick, Watermark
from pipeline.session.arrowlog import ArrowLog, Damage, read_log
from pipeline.session.rows import row_of

BATCH = 7


def events() -> list[Any]:
    made: list[Any] = []
    for seq in range(20):
        start_ns = seq * 40
        data = np.full((3, 4), seq, np.uint8)
        made += [Packet(stream="cam", seq=seq, start_ns=start_ns, end_ns=start_ns + 40, payload=Embedding(data=data))]
        made += [Watermark(stream="cam", time_ns=start_ns + 40), Tick(now_ns=start_ns)]
    return [*made, Packet(stream="text", seq=0, start_ns=0, end_ns=0, payload=TextSpan(text="héllo"))]


def write(path: Path, *, close: bool = True) -> list[int]:
    """Gives the size of the file after each flush."""
    sizes = []
    with path.open("wb", buffering=0) as file:
        log = ArrowLog(file)
        for number, event in enumerate(events(), 1):
            log.append(row_of(event, number))
            if number % BATCH == 0:
                log.flush()
                sizes.append(path.stat().st_size)
        if close:
            log.close()
        else:
            log.flush()
    return [*sizes, path.stat().st_size]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[int], list[dict[str, Any]]]:
    path = tmp_path_factory.mktemp("log") / "whole.arrows"
    sizes = write(path)
    return path.read_bytes(), sizes, list(read_log(path))


def read(path: Path) -> tuple[list[dict[str, Any]], list[Damage]]:
    found: list[Damage] = []
    return list(read_log(path, damaged=found.append)), found


def test_any_arrow_reader_opens_it(tmp_path: Path) -> None:
    write(tmp_path / "log.arrows")
    table = pa.ipc.open_stream((tmp_path / "log.arrows").read_bytes()).read_all()
    assert table.num_rows == len(events())
    assert table["kind"].to_pylist()[:3] == ["packet", "watermark", "tick"]


def test_a_log_whose_writer_was_killed_between_two_batches_is_not_damaged(tmp_path: Path) -> None:
    write(tmp_path / "log.arrows", close=False)
    rows, damages = read(tmp_path / "log.arrows")
    assert (len(rows), damages) == (len(events()), [])


def test_every_batch_before_a_cut_is_kept_wherever_the_cut_is(whole: Any, tmp_path: Path) -> None:
    content, sizes, rows = whole
    path = tmp_path / "cut.arrows"
    for cut in range(0, len(content), 11):
        path.write_bytes(content[:cut])
        kept, _ = read(path)
        before = BATCH * sum(size <= cut for size in sizes[:-1])
        assert kept == rows[: len(kept)]
        assert len(kept) >= min(before, len(rows))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_never_makes_a_false_row_and_costs_nothing_before_its_batch(whole: Any, tmp_path_factory: Any, data: Any) -> None:
    content, sizes, rows = whole
    place = data.draw(st.integers(0, len(content) - 1))
    flipped = bytearray(content)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.getbasetemp() / "flipped.arrows"
    path.write_bytes(flipped)
    kept, _ = read(path)
    assert kept == rows[: len(kept)]
    assert len(kept) >= BATCH * sum(size <= place for size in sizes[:-1])


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_bytes_that_are_no_log_hold_no_row(tmp_path_factory: Any, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.arrows"
    path.write_bytes(content)
    assert read(path)[0] == []


def test_a_log_of_other_columns_is_damaged_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "other.arrows"
    with path.open("wb") as file, pa.ipc.new_stream(file, pa.schema([("x", pa.int64())])) as writer:
        writer.write_batch(pa.record_batch([pa.array([1])], names=["x"]))
    rows, (damage,) = read(path)
    assert (rows, damage.rows) == ([], 0)
    assert "other columns" in damage.why
