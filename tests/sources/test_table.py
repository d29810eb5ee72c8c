"""Tables as sources and as training data: times, gaps, splits, and one clear line for what is wrong."""

import datetime

import numpy as np
import pyarrow as pa
import pytest
import tinytable

from operators.errors import ConfigError, ContractError, SourceError
from operators.packet import Closed, Packet
from pipeline.media.table import read_table
from pipeline.model import parse_spec
from pipeline.sources.table import TableRows
from pipeline.training.config import Training
from pipeline.training.table import LabelledTable

S = 1_000_000_000


def arrow(path, **columns):
    made = pa.table(columns)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, made.schema) as writer:
        writer.write_table(made)
    return path


def readings(source, stream):
    source.open({})
    return [(e.start_ns, e.end_ns, e.payload.values.tolist()) for _, e in source.events() if isinstance(e, Packet) and e.stream == stream]


def test_calendar_times_count_from_the_first_row(tmp_path):
    day = datetime.datetime(2015, 2, 4, 17, 51, 0)  # noqa: DTZ001 - as the log has it
    path = arrow(tmp_path / "t.arrow", at=[day, day + datetime.timedelta(seconds=59)], x=[1.0, 2.0])
    assert readings(TableRows(path=path, streams={"x": "x"}, time="at", unit="timestamp"), "x") == [(0, 0, [1.0]), (59 * S, 59 * S, [2.0])]


def test_microseconds_of_the_year_2016_are_kept_to_the_nanosecond(tmp_path):
    path = arrow(tmp_path / "t.arrow", us=[1477010443000000, 1477010443050001], x=[1.0, 2.0])
    assert [start for start, _, _ in readings(TableRows(path=path, streams={"x": "x"}, time="us", unit="us"), "x")] == [
        1477010443000000_000,
        1477010443050001_000,
    ]


def test_rows_at_a_rate_need_no_times_and_npz_is_as_good(tmp_path):
    np.savez(tmp_path / "t.npz", ecg=np.arange(6, dtype=np.float32).reshape(3, 2))
    made = readings(TableRows(path=tmp_path / "t.npz", streams={"ecg": "ecg"}, rate_hz=250, hold_ms=4), "ecg")
    assert made == [(0, 4_000_000, [0, 1]), (4_000_000, 8_000_000, [2, 3]), (8_000_000, 12_000_000, [4, 5])]


def test_two_sensors_that_take_turns_are_two_streams(tmp_path):
    path = arrow(tmp_path / "t.arrow", ms=[0, 50, 100], lidar=[[1.0, 2.0], None, [3.0, 4.0]], radar=[None, [5.0, 6.0, 7.0], None])
    source = TableRows(path=path, streams={"lidar": "lidar", "radar": "radar"}, time="ms")
    assert [start for start, _, _ in readings(source, "lidar")] == [0, 100_000_000]
    assert readings(source, "radar") == [(50_000_000, 50_000_000, [5.0, 6.0, 7.0])]
    closed = [event for _, event in source.events() if isinstance(event, Closed)]
    assert len(closed) == 2


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("t.csv", b"ms,x\n0,1\n-5,2\n", "goes back in time at row 2"),
        ("t.csv", b"ms,x\n0,one\n5,two\n", "column x is not numeric: 'one'"),
        ("t.csv", b"ms,y\n0,1\n", "has no column 'x'; it has ms, y"),
        ("t.csv", b"ms,x\n,1\n5,2\n", "rows without a time in the column ms"),
        ("t.csv", b"ms,x\n", "holds no rows"),
        ("t.csv", b"ms,x\n1,2,3\n", "cannot be read as a table"),
        ("t.arrow", b"ARROW1 and then nothing", "cannot be read as a table"),
        ("t.npz", b"PK\x03\x04 damaged", "no .npz|is damaged"),
        ("t.npz", b"\x80\x04pickle", "is no .npz of plain arrays"),
        ("t.xlsx", b"", "is no table; one of .csv"),
    ],
)
def test_a_bad_table_is_told_in_one_line(tmp_path, name, content, problem):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=problem) as caught:
        TableRows(path=tmp_path / name, streams={"x": "x"}, time="ms").open({})
    assert "\n" not in str(caught.value)


def test_an_npz_with_a_pickle_in_it_is_refused(tmp_path):
    np.savez(tmp_path / "t.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(SourceError, match="plain arrays"):
        read_table(tmp_path / "t.npz")


@pytest.mark.parametrize("options", [{}, {"time": "ms", "rate_hz": 5}, {"rate_hz": -1}, {"time": "ms", "hold_ms": -1}])
def test_options_that_do_not_go_together_are_refused(tmp_path, options):
    with pytest.raises(ContractError, match="either time or rate_hz"):
        TableRows(path=tmp_path / "t.csv", streams={"x": "x"}, **options)


class TestLabelled:
    def sessions(self, folder, split="test", **options):
        spec = Training(tinytable.write(folder)).config.model
        streams = {"a": "a_features", "b": ["b0", "b1", "b2"]}
        made = LabelledTable(path=folder / "rows.arrow", session="session", label="label", streams=streams, spec=spec, **options)
        rng = np.random.default_rng(0)
        sessions = made.sessions(split, rng)
        return [next(sessions) for _ in range(9)] if split == "train" else list(sessions)

    def test_a_session_holds_its_rows_one_a_hop_with_their_labels(self, tmp_path):
        made = self.sessions(tmp_path)
        assert [session.name for session in made] == ["s7", "s8"]
        assert [(span.start_ns, span.end_ns) for span in made[0].truth[:2]] == [(0, S // 10), (S // 10, 2 * S // 10)]
        labels = [row["label"] for row in tinytable.table().to_pylist() if row["session"] == "s7"]
        assert [span.label for span in made[0].truth] == labels

    def test_training_draws_from_its_own_split_and_may_cut_stretches_on_the_grid(self, tmp_path):
        assert {session.name for session in self.sessions(tmp_path, "train")} <= {f"s{n}" for n in range(6)}
        for session in self.sessions(tmp_path, "train", seconds=0.5):
            assert max(span.end_ns for span in session.truth) <= S // 2
            starts = [event.start_ns for _, event in session.events["a"] if isinstance(event, Packet)]
            assert starts == [n * S // 10 for n in range(5)]

    def test_a_label_or_split_that_is_not_known_is_told(self, tmp_path):
        rows = tinytable.table().to_pylist()
        for column, value, said in [
            ("label", "huge", "says 'huge'; the model has low, high"),
            ("split", "tset", "says 'tset'; train, valid"),
        ]:
            (tmp_path / column).mkdir()
            config = tinytable.write(tmp_path / column, rows=pa.Table.from_pylist([{**rows[0], column: value}, *rows[1:]]))
            with pytest.raises((SourceError, ConfigError), match=said):
                Training(config).mix()

    def test_names_in_the_table_may_differ_from_the_labels(self, tmp_path):
        spec = parse_spec({**Training(tinytable.write(tmp_path)).config.model.model_dump(), "labels": ["down", "up"]}, "x")
        streams = {"a": "a_features"}
        names = {"low": "down", "high": "up"}
        made = LabelledTable(path=tmp_path / "rows.arrow", session="session", label="label", labels=names, streams=streams, spec=spec)
        assert {span.label for session in made.sessions("test", np.random.default_rng(0)) for span in session.truth} == {"down", "up"}
