"""Decisions as a folder of Parquet files: `pyarrow.dataset.dataset(path)`, polars, DuckDB, Spark.

    sinks: [{use: "pipeline.sinks.parquet:ParquetParts", path: decisions}]

A part is written whole (hidden file, fsync, rename) when it has `rows` decisions or is `seconds` old: a kill costs the part that was not
written yet, no part is ever half there, and none is overwritten. Many sessions may write into one folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from operators.decision import Decision
from operators.errors import ContractError
from pipeline.backoff import SECOND
from pipeline.clock import Clock, SystemClock, wall_utc
from pipeline.ports import Status
from pipeline.session.scribe import Scribe, ThreadScribe
from pipeline.sinks.jsonl import line_of, naming

ROWS, SECONDS = 10_000, 60.0


class ParquetParts:
    """path: the folder. rows, seconds: what a part has, and how long it waits, at most; so much a kill costs.

    A disk that fails is an OSError that names the file, at the next decision or at the end: decisions that cannot be kept end the run.
    """

    def __init__(
        self, *, path: Path, rows: int = ROWS, seconds: float = SECONDS, clock: Clock | None = None, scribe: Scribe | None = None
    ) -> None:
        from pipeline.session.arrowlog import schema_of
        from pipeline.session.runlog import DECISION_COLUMNS

        if rows < 1 or not 0 < seconds <= 86_400:
            raise ContractError(f"rows of 1 or more and seconds of 0 to 86400 wanted, got {rows}, {seconds}")
        path.mkdir(parents=True, exist_ok=True)
        kept = {name: kind for name, kind in DECISION_COLUMNS.items() if name != "crc"}
        self._schema = schema_of({"id": "string", "session": "string", **kept})
        self._path, self._most, self._patience_ns = path, rows, round(seconds * SECOND)
        self._clock = clock or SystemClock()
        self._rows: list[dict[str, Any]] = []
        self._since_ns = 0
        self._failure: OSError | None = None
        self._taken, self._sent, self._parts, self._slow = 0, 0, 0, 0
        self._scribe = scribe or ThreadScribe(patient=False)
        self._scribe.each_pause(self._look)

    def decision(self, decision: Decision) -> None:
        self._complain()
        self._taken += 1
        values = decision.to_json()
        row = {name: list(values[name].items()) if isinstance(values[name], dict) else values[name] for name in self._schema.names}
        if not self._scribe.put(partial(self._add, row), len(line_of(decision))):
            self._slow += 1

    def status(self, status: Status) -> None:
        pass

    def counts(self) -> Mapping[str, int | Mapping[str, int]]:
        """sent: in files that are whole. waiting: what a kill would cost."""
        waiting = self._taken - self._sent - self._slow
        dropped = {"the disk is too slow": self._slow} if self._slow else {}
        return {"taken": self._taken, "sent": self._sent, "waiting": waiting, "parts": self._parts, "dropped": dropped}

    def close(self) -> None:
        self._scribe.close()
        self._try_write()
        self._complain()

    # -- the scribe's thread

    def _add(self, row: dict[str, Any]) -> None:
        if not self._rows:
            self._since_ns = self._clock.now_ns()
        self._rows.append(row)
        if len(self._rows) >= self._most:
            self._try_write()

    def _look(self) -> None:
        if self._rows and self._clock.now_ns() - self._since_ns >= self._patience_ns:
            self._try_write()

    def _try_write(self) -> None:
        if not self._rows or self._failure is not None:
            return
        rows, self._rows = self._rows, []
        stamp = "".join(letter for letter in wall_utc()[:23] if letter.isalnum())
        part = self._path / f"{stamp}-{rows[0]['id']}.parquet"
        try:
            with naming(part):
                self._write(part, rows)
        except OSError as error:
            self._failure = error
        else:
            self._sent, self._parts = self._sent + len(rows), self._parts + 1

    def _write(self, part: Path, rows: list[dict[str, Any]]) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        hidden = part.with_name(f".{part.name}.{os.getpid()}")
        try:
            with hidden.open("xb") as file:
                parquet.write_table(pa.Table.from_pylist(rows, schema=self._schema), file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            os.link(hidden, part)  # unlike a rename, it never replaces
        finally:
            hidden.unlink(missing_ok=True)
        folder = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _complain(self) -> None:
        if self._failure is not None:
            raise self._failure
