"""Parquet parts, and decisions pushed over WebSocket."""

import os
import threading
from dataclasses import replace

import pyarrow.dataset as ds
import pytest
from decisions import decision, status
from waiting import until
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from operators.errors import ContractError
from pipeline.clock import FakeClock
from pipeline.session.scribe import ThreadScribe
from pipeline.sinks.jsonl import line_of
from pipeline.sinks.parquet import ParquetParts
from pipeline.sinks.websocket import QUEUE, WebSocket

S = 1_000_000_000


class NowScribe:
    """Does at once what it is given; each_pause is for the test to call."""

    def __init__(self):
        self.pauses = []

    def put(self, job, size=0):
        job()
        return True

    def later(self, job):
        job()

    def each_pause(self, job):
        self.pauses.append(job)

    def close(self):
        pass


def numbered(count):
    return [replace(decision(window=number), id=f"d{number}") for number in range(count)]


def test_a_part_is_whole_when_it_is_there_and_the_folder_reads_as_one_table(tmp_path):
    sink = ParquetParts(path=tmp_path / "out", rows=4, scribe=NowScribe(), clock=FakeClock())
    for one in numbered(10):
        sink.decision(one)
    assert ds.dataset(tmp_path / "out").count_rows() == 8
    assert sink.counts() == {"taken": 10, "sent": 8, "waiting": 2, "parts": 2, "dropped": {}}
    sink.close()
    table = ds.dataset(tmp_path / "out").to_table().sort_by("window")
    assert table.column("id").to_pylist() == [f"d{number}" for number in range(10)]
    assert dict(table.column("scores")[0].as_py()) == decision().to_json()["scores"]
    assert not [name for name in os.listdir(tmp_path / "out") if not name.endswith(".parquet")]


def test_a_part_does_not_wait_for_ever(tmp_path):
    clock, scribe = FakeClock(), NowScribe()
    sink = ParquetParts(path=tmp_path, seconds=5, scribe=scribe, clock=clock)
    sink.decision(decision())
    for now_s, parts in ((4, 0), (5, 1), (20, 1)):
        clock.sleep_until(now_s * S)
        for pause in scribe.pauses:
            pause()
        assert sink.counts()["parts"] == parts
    sink.close()


def test_a_disk_that_fails_is_told_with_the_file(tmp_path):
    sink = ParquetParts(path=tmp_path / "out", rows=1, scribe=NowScribe(), clock=FakeClock())
    (tmp_path / "out").rmdir()
    sink.decision(decision())
    with pytest.raises(OSError, match=r"parquet"):
        sink.decision(decision())
    with pytest.raises(OSError, match=r"parquet"):
        sink.close()


def test_a_disk_that_hangs_costs_memory_up_to_a_bound_and_the_rest_is_counted(tmp_path):
    writing, done = threading.Event(), threading.Event()

    class HungDisk(FakeClock):  # it is asked for the time by the thread that writes
        def now_ns(self):
            writing.set()
            done.wait(30)
            return super().now_ns()

    sink = ParquetParts(path=tmp_path / "out", clock=HungDisk(), scribe=ThreadScribe(patient=False, most_bytes=10_000))
    sink.decision(decision())
    assert writing.wait(5)
    for one in numbered(200):
        sink.decision(one)  # returns
    counts = sink.counts()
    dropped = counts["dropped"]["the disk is too slow"]
    assert 0 < dropped < 200
    assert counts["taken"] == counts["sent"] + counts["waiting"] + dropped == 201
    done.set()
    sink.close()
    assert ds.dataset(tmp_path / "out").count_rows() == 201 - dropped


@pytest.fixture
def pushing(tmp_path):
    sink = WebSocket(port=0, token_file=tmp_path / "token", queue=3)
    sink.token = (tmp_path / "token").read_text().strip()
    sink.address = f"ws://127.0.0.1:{sink.port}/"
    yield sink
    sink.close()


def test_every_client_gets_what_is_decided_while_it_is_there(pushing):
    bearer = {"Authorization": f"Bearer {pushing.token}"}
    with connect(pushing.address, additional_headers=bearer) as one, connect(f"{pushing.address}?token={pushing.token}") as other:
        until(lambda: pushing.counts()["clients"] == 2, 5)
        pushing.status(status())
        pushing.decision(decision(window=7))
        assert one.recv(5) == other.recv(5) == line_of(decision(window=7))
        until(lambda: pushing.counts()["sent"] == 2, 5)


@pytest.mark.parametrize("address", ["", "?token=", "?token=wrong"])
def test_without_the_token_there_is_nothing(pushing, address):
    with pytest.raises(InvalidStatus, match="401"):
        connect(pushing.address + address)
    assert pushing.counts()["refused"] == 1


def test_a_slow_client_loses_the_oldest_and_holds_up_nobody(pushing):
    with connect(f"{pushing.address}?token={pushing.token}", max_queue=1, close_timeout=0.1) as slow:
        until(lambda: pushing.counts()["clients"] == 1, 5)
        big = replace(decision(), label="x" * 200_000)
        for _ in range(200):
            pushing.decision(big)
        until(lambda: pushing.counts()["taken"] == 200, 5)
        counts = pushing.counts()
        assert counts["dropped"]["slow client"] > 100
        assert len(slow.recv(5)) > 200_000


def test_what_it_cannot_be_told_is_one_line(tmp_path):
    token = tmp_path / "token"
    token.write_text("x" * 32)
    token.chmod(0o644)
    for options, why in (({"queue": 0}, "queue of 1"), ({"port": 70_000}, "port of 1 to 65535"), ({"token_file": token}, "chmod 600")):
        with pytest.raises(ContractError, match=why):
            WebSocket(**{"port": 0, "token_file": tmp_path / "other", "queue": QUEUE, **options})
