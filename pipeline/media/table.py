"""Tables of numbers with times: what sensors logged, and features that somebody computed. CSV, Arrow or .npz.

A stream is one or more columns; a column is a number a row, or a list of numbers of one length. A row in which any of a stream's
columns is empty holds no reading of that stream, so streams of different rates can share a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from operators.errors import DeviceNotFound, SourceError

Unit = Literal["ns", "us", "ms", "s", "timestamp"]
UNIT_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
SUFFIXES = (".csv", ".arrow", ".arrows", ".feather", ".npz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """columns: name -> (rows,) or (rows, numbers); numbers are float64, empty cells NaN; text stays text."""

    path: Path
    columns: Mapping[str, NDArray[Any]]

    def numbers(self, names: Sequence[str]) -> NDArray[np.float64]:
        """(rows, all numbers of these columns), NaN throughout a row in which any is empty. Raises SourceError."""
        parts = [self._numeric(name) for name in names]
        joined = np.concatenate([part[:, None] if part.ndim == 1 else part for part in parts], axis=1)
        return np.where(np.isnan(joined).any(1, keepdims=True), np.nan, joined)

    def times_ns(self, name: str, unit: Unit) -> NDArray[np.int64]:
        """(rows,) since the first row, or since 0 where the unit is no calendar's. Raises SourceError for rows out of order."""
        column = self.column(name)
        if unit == "timestamp":
            stamps = _stamps(self.path, name, column)
            found = stamps - stamps[0]
        else:
            numeric = self._numeric(name)
            if numeric.ndim != 1 or not np.isfinite(numeric).all():
                raise SourceError(str(self.path), f"has rows without a time in the column {name}")
            # Whole nanoseconds of 2020 do not fit a float64: integer columns are kept as they are.
            integers = column.dtype.kind in "iu"
            found = (column if integers else np.round(numeric * UNIT_NS[unit])).astype(np.int64) * (UNIT_NS[unit] if integers else 1)
        late = np.flatnonzero(np.diff(found) < 0)
        if late.size:
            raise SourceError(str(self.path), f"goes back in time at row {late[0] + 2} (column {name}); sort it")
        times: NDArray[np.int64] = found
        return times

    def text(self, name: str) -> list[str]:
        column = self.column(name)
        return [str(int(value)) if isinstance(value, float) and value.is_integer() else str(value) for value in column.tolist()]

    def column(self, name: str) -> NDArray[Any]:
        if name not in self.columns:
            raise SourceError(str(self.path), f"has no column {name!r}; it has {', '.join(self.columns)}")
        return self.columns[name]

    @property
    def rows(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def _numeric(self, name: str) -> NDArray[np.float64]:
        column = self.column(name)
        try:
            return column.astype(np.float64)
        except (TypeError, ValueError):
            raise SourceError(str(self.path), f"column {name} is not numeric: {str(column[0])[:40]!r}") from None


def read_table(path: Path) -> Table:
    """Raises SourceError for a file that is not there, not one of SUFFIXES or damaged."""
    if not path.is_file():
        raise DeviceNotFound(str(path), "is not there; a table of rows wanted")
    if path.suffix not in SUFFIXES:
        raise SourceError(str(path), f"is no table; one of {', '.join(SUFFIXES)} wanted")
    columns = _npz(path) if path.suffix == ".npz" else _arrow(path)
    if len({len(column) for column in columns.values()}) != 1 or not len(next(iter(columns.values()))):
        raise SourceError(str(path), "holds no rows, or columns of different lengths")
    return Table(path=path, columns=columns)


def _npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, EOFError, KeyError, BadZipFile) as error:
        raise SourceError(str(path), f"is no .npz of plain arrays ({' '.join(str(error).split())[:100]})") from None


def _arrow(path: Path) -> dict[str, NDArray[Any]]:
    import pyarrow as pa

    try:
        table = _read_csv(path) if path.suffix == ".csv" else _read_ipc(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise SourceError(str(path), f"cannot be read as a table ({' '.join(str(error).split())[:150]})") from None
    return {name: _column(path, name, table.column(name).combine_chunks()) for name in table.column_names}


def _read_csv(path: Path) -> Any:  # noqa: ANN401 - pyarrow.Table, which has no stubs
    from pyarrow import csv

    return csv.read_csv(path)


def _read_ipc(path: Path) -> Any:  # noqa: ANN401 - pyarrow.Table
    import pyarrow as pa

    with path.open("rb") as file:
        is_file = file.read(6) == b"ARROW1"
    with pa.OSFile(str(path)) as source:
        reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
        return reader.read_all()


def _column(path: Path, name: str, column: Any) -> NDArray[Any]:  # noqa: ANN401 - pyarrow.Array
    import pyarrow as pa

    kind = column.type
    if pa.types.is_fixed_size_list(kind):
        flat = column.flatten() if not column.null_count else None
        if flat is not None:
            return np.asarray(flat.to_numpy(zero_copy_only=False), np.float64).reshape(len(column), kind.list_size)
        empty = [float("nan")] * kind.list_size
        return np.array([empty if row is None else row for row in column.to_pylist()], np.float64)
    if pa.types.is_list(kind):
        rows = column.to_pylist()
        sizes = {len(row) for row in rows if row is not None}
        if len(sizes) != 1:
            raise SourceError(str(path), f"column {name} has lists of {sorted(sizes)[:5]} numbers; one length wanted")
        empty = [float("nan")] * sizes.pop()
        return np.array([empty if row is None else row for row in rows], np.float64)
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        made: NDArray[Any] = column.to_numpy(zero_copy_only=False)
        return made.astype(np.float64) if made.dtype.kind not in "iuf" else made
    if pa.types.is_timestamp(kind):
        return np.asarray(column.cast(pa.timestamp("ns")).to_numpy(zero_copy_only=False))
    return np.array(["" if value is None else str(value) for value in column.to_pylist()])


def _stamps(path: Path, name: str, column: NDArray[Any]) -> NDArray[np.int64]:
    try:
        stamps = column.astype("datetime64[ns]")
    except (TypeError, ValueError):
        raise SourceError(str(path), f"column {name} holds no timestamps: {str(column[0])[:40]!r}") from None
    if np.isnat(stamps).any():
        raise SourceError(str(path), f"has rows without a time in the column {name}")
    return stamps.astype(np.int64)
