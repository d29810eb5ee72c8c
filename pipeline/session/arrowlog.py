"""A log as an Arrow IPC stream that is written to the file batch by batch, and read up to its first damage.

`pyarrow.ipc.open_stream(path).read_all()`, polars and DuckDB read a closed one; a torn one reads up to the tear with `read_log`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.session.rows import COLUMNS, Row, crc_of

ROWS, BYTES = 256, 256 << 10
"""A batch is written at the latest with so many rows or bytes; who owns the log flushes it every 100 ms besides."""
_TYPES: Mapping[str, pa.DataType] = {
    "string": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint32": pa.uint32(),
    "binary": pa.binary(),
    "list<int32>": pa.list_(pa.int32()),
    "map<string,double>": pa.map_(pa.string(), pa.float64()),
    "map<string,int64>": pa.map_(pa.string(), pa.int64()),
    "map<string,string>": pa.map_(pa.string(), pa.string()),
}


class Out(Protocol):
    """Where bytes go: an unbuffered file, or one that fails on purpose."""

    def write(self, data: Any, /) -> int | None: ...  # noqa: ANN401 - any buffer


def schema_of(columns: Mapping[str, str]) -> pa.Schema:
    return pa.schema([(name, _TYPES[kind]) for name, kind in columns.items()])


class ArrowLog:
    """Appends rows. What was flushed survives a kill -9. Raises OSError where the file does; then it is of no use any more."""

    def __init__(self, out: Out, columns: Mapping[str, str] = COLUMNS) -> None:
        self._schema = schema_of(columns)
        self._sink = _Sink(out)
        self._writer = pa.ipc.new_stream(self._sink, self._schema)
        self._sink.send()
        self._rows: list[Row] = []
        self._bytes = 0
        self.rows = 0

    def append(self, row: Row) -> None:
        self._rows.append(row)
        self._bytes += len(row.get("data") or b"") + len(row.get("text") or "")
        if len(self._rows) >= ROWS or self._bytes >= BYTES:
            self.flush()

    def flush(self) -> None:
        if not self._rows:
            return
        rows, self._rows, self._bytes = self._rows, [], 0
        arrays = [pa.array([row[field.name] for row in rows], type=field.type) for field in self._schema]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
        self._sink.send()
        self.rows += len(rows)

    def close(self) -> None:
        self.flush()
        self._writer.close()
        self._sink.send()


class _Sink:
    """A Python file for Arrow, which makes some 80 writes of a batch: they are one here."""

    closed = False

    def __init__(self, out: Out) -> None:
        self._out = out
        self._waiting = bytearray()

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        self._waiting += memoryview(data)
        return memoryview(data).nbytes

    def send(self) -> None:
        view = memoryview(bytes(self._waiting))
        self._waiting.clear()
        done = 0
        while done < view.nbytes:  # an unbuffered file may take a part
            done += self._out.write(view[done:]) or 0

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """rows: how many before it are good. why: for people."""

    rows: int
    why: str


def read_log(
    path: Path,
    columns: Mapping[str, str] = COLUMNS,
    *,
    damaged: Callable[[Damage], None] = lambda damage: None,
    check: Callable[[Row], bool] = lambda row: crc_of(row) == row["crc"],
    kind: str | None = None,
) -> Iterator[Row]:
    """The rows, or those of one kind, before the first damage; `damaged` is told of it.

    A file that just ends in the middle of a batch is damaged, too.
    A stream without its end mark but whole batches is not: its writer was killed, or still writes. Raises OSError.
    """
    count = 0
    try:
        for batch in _batches(path, schema_of(columns)):
            for row in (batch if kind is None else batch.filter(pc.equal(batch["kind"], kind))).to_pylist():
                if not check(row):
                    damaged(Damage(rows=count, why=f"row {count} is not what was written"))
                    return
                yield row
                count += 1
    # UnicodeDecodeError: Arrow checks that text is UTF-8 only where it is asked to, which takes as long as reading it.
    except (pa.ArrowException, UnicodeDecodeError, OverflowError, KeyError, TypeError, AttributeError, MemoryError) as error:
        damaged(Damage(rows=count, why=f"unreadable after row {count} ({' '.join(str(error).split())[:120] or type(error).__name__})"))


def has_columns(path: Path, columns: Mapping[str, str]) -> bool:
    """Whether a log was begun with these columns. False for one whose head cannot be read."""
    try:
        with pa.memory_map(str(path)) as source:
            return bool(pa.ipc.open_stream(source).schema == schema_of(columns))
    except (pa.ArrowException, OSError):
        return False


def _batches(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    size = path.stat().st_size
    if size == 0:
        return
    # Mapped, not read: a length in a broken header is compared with the file instead of being allocated.
    with pa.memory_map(str(path)) as source:
        reader = _whole(lambda: pa.ipc.open_stream(source))
        if reader.schema != schema:
            raise pa.ArrowInvalid("it has other columns")
        while source.tell() < size:
            try:
                batch = _whole(reader.read_next_batch)
            except StopIteration:
                if source.tell() < size:
                    raise pa.ArrowInvalid("there is more after its end mark") from None
                return
            batch.validate(full=True)
            yield batch


def _whole(read: Callable[[], Any]) -> Any:  # noqa: ANN401 - what Arrow gives
    """Arrow calls the end of the file in the middle of something an OSError, like a disk that fails."""
    try:
        return read()
    except OSError as error:
        raise pa.ArrowInvalid(str(error)) from None
