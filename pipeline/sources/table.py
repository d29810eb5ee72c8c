"""Rows of a table replayed as streams of readings: what sensors logged, or features that somebody computed."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from operators.errors import ContractError
from operators.packet import Closed, Packet, Series, StreamEvent, Watermark
from pipeline.media.table import UNIT_NS, Unit, read_table
from pipeline.ports import StreamSpec, Wanted


class TableRows:
    """Each row of a .csv, .arrow or .npz at its time, as one Series a stream.

    streams   stream -> its column or columns; a row in which one of them is empty is no reading of that stream
    time      the column with a row's time, in `unit`: ns, us, ms or s from the session's start, or `timestamp`, from the first row on
    rate_hz   in place of time: rows come so many a second
    hold_ms   a row is true for so long (its packet's length); 0: it is an instant
    """

    live = False

    def __init__(
        self,
        *,
        path: Path,
        streams: Mapping[str, str | list[str]],
        time: str | None = None,
        unit: Unit = "ms",
        rate_hz: float | None = None,
        hold_ms: float = 0.0,
    ) -> None:
        if not streams or (time is None) == (rate_hz is None) or (rate_hz is not None and rate_hz <= 0) or hold_ms < 0:
            raise ContractError("one stream or more, hold_ms >= 0, and either time or rate_hz > 0 wanted")
        self._path, self._time, self._unit, self._rate_hz = path, time, unit, rate_hz
        self._columns = {name: [columns] if isinstance(columns, str) else list(columns) for name, columns in streams.items()}
        self._hold_ns = round(hold_ms * 1e6)
        self._times_ns: NDArray[np.int64] = np.zeros(0, np.int64)
        self._values: dict[str, NDArray[np.float64]] = {}
        self._running: Generator[tuple[int, StreamEvent], None, None] | None = None

    def open(self, wanted: Mapping[str, Wanted]) -> Sequence[StreamSpec]:
        table = read_table(self._path)
        if self._time is not None:
            self._times_ns = table.times_ns(self._time, self._unit)
        else:
            self._times_ns = np.round(np.arange(table.rows) * UNIT_NS["s"] / (self._rate_hz or 1.0)).astype(np.int64)
        names = [name for name in self._columns if not wanted or name in wanted]
        self._values = {name: table.numbers(self._columns[name]) for name in names}
        return [
            StreamSpec(name=name, kind="series", rate_hz=self._rate_hz, detail=f"{values.shape[1]} numbers a row")
            for name, values in self._values.items()
        ]

    def events(self, from_ns: int = 0) -> Iterator[tuple[int, StreamEvent]]:
        self._running = self._read(from_ns)
        return self._running

    def end_ns(self) -> int | None:
        return int(self._times_ns[-1]) + max(1, self._hold_ns) if len(self._times_ns) else 0

    def close(self) -> None:
        if self._running is not None:
            self._running.close()

    def _read(self, from_ns: int) -> Generator[tuple[int, StreamEvent], None, None]:
        seqs = dict.fromkeys(self._values, 0)
        for row, start_ns in enumerate(self._times_ns.tolist()):
            for name, values in self._values.items():
                if np.isnan(values[row, 0]):
                    continue
                seq = seqs[name]
                seqs[name] += 1
                if start_ns >= from_ns:
                    payload = Series(values=values[row])
                    due_ns = start_ns + self._hold_ns
                    yield due_ns, Packet(stream=name, seq=seq, start_ns=start_ns, end_ns=due_ns, payload=payload)
            if start_ns >= from_ns:
                yield from ((start_ns + self._hold_ns, Watermark(stream=name, time_ns=start_ns)) for name in self._values)
        end_ns = self.end_ns() or 0
        yield from ((max(from_ns, end_ns), Closed(stream=name, time_ns=end_ns)) for name in self._values)
