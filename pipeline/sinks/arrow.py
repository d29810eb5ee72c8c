"""Decisions as an Arrow IPC stream: `pyarrow.ipc.open_stream(path).read_all()`, polars, DuckDB."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from operators.decision import Decision
from pipeline.ports import Status
from pipeline.sinks.jsonl import begin_anew, naming

ROWS = 64
"""A batch is written every so many decisions, and with every status: what is newer is lost to a kill -9."""
_BEGIN = b"\xff\xff\xff\xff"


class ArrowStream:
    """A batch every ROWS decisions, with every status (some four a second), and at close().

    path: begun anew with each run. Raises OSError where it holds something else than decisions, or another session writes to it.
    scores, presence, age_ns, latency_ns, attribution and also are maps. The file can be read while it is written and after a kill:
    up to its last whole batch.
    """

    def __init__(self, *, path: Path, rows: int = ROWS) -> None:
        import pyarrow as pa

        text, ns = pa.string(), pa.int64()
        self._schema = pa.schema(
            [
                *((name, text) for name in ("id", "session")),
                *((name, ns) for name in ("start_ns", "end_ns")),
                ("label", text),
                ("scores", pa.map_(text, pa.float64())),
                ("presence", pa.map_(text, text)),
                ("age_ns", pa.map_(text, ns)),
                ("revision", pa.int32()),
                ("latency_ns", pa.map_(text, ns)),
                ("window", ns),
                ("model", text),
                ("attribution", pa.map_(text, pa.float64())),
                ("also", pa.map_(text, text)),
            ]
        )
        self._batch = pa.RecordBatch
        self._path = path
        self._file = open(begin_anew(path, (_BEGIN,)), "wb", buffering=0)  # noqa: SIM115 - closed by close()
        self._writer = pa.ipc.new_stream(self._file, self._schema)
        self._rows = rows
        self._waiting: list[dict[str, Any]] = []

    def decision(self, decision: Decision) -> None:
        values = decision.to_json()
        self._waiting.append({name: _cell(values[name]) for name in self._schema.names})
        if len(self._waiting) >= self._rows:
            self._write()

    def status(self, status: Status) -> None:
        """A pause in the decisions must not keep those that were made from the file."""
        self._write()

    def close(self) -> None:
        with naming(self._path), self._file:
            self._write()
            self._writer.close()
            with suppress(OSError):  # a pipe cannot be synced, and needs not be
                os.fsync(self._file.fileno())

    def _write(self) -> None:
        if self._waiting:
            batch = self._batch.from_pylist(self._waiting, schema=self._schema)
            self._waiting.clear()
            with naming(self._path):
                self._writer.write_batch(batch)


def _cell(value: object) -> object:
    return list(value.items()) if isinstance(value, dict) else value
