"""Labelled tables: utterance features, sensor logs. One row is one reading of every stream, and one label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from operators.errors import ContractError, SourceError
from operators.operator import run_chain
from operators.packet import Closed, Packet, Series, StreamEvent, Watermark
from pipeline.media.table import UNIT_NS, Table, Unit, read_table
from pipeline.model import ModelSpec
from pipeline.training.media import Recording, stretch
from pipeline.training.session import LabelledSession, Split, Timed, Truth
from pipeline.training.transforms import chains

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class LabelledTable:
    """Rows of .csv, .arrow or .npz as sessions: the rows of one name in the column `session`, in the order of their times.

    streams   input -> its column or columns, as for `pipeline.sources.table:TableRows`
    label     the column with the row's label; a row whose label is empty is not trained on
    labels    what stands in the table -> the model's label, where they are not called the same
    session   the column that tells sessions apart; None: a file is one session
    split     the column that says train, validation or test; else `paths` names the files of each
    time      the column with the time in `unit`; None: the row's number within its session, one every hop of the model
    hold_ms   how long a row and its label are true; None: one hop
    seconds   training sessions are stretches of this length, from anywhere; None: whole
    spec      the model that is trained; the trainer gives it
    """

    def __init__(
        self,
        *,
        streams: Mapping[str, str | list[str]],
        label: str,
        path: Path | None = None,
        paths: Mapping[Split, list[Path]] | None = None,
        labels: Mapping[str, str] | None = None,
        session: str | None = None,
        split: str = "split",
        time: str | None = None,
        unit: Unit = "ms",
        hold_ms: float | None = None,
        seconds: float | None = None,
        spec: ModelSpec | None = None,
    ) -> None:
        if spec is None or (path is None) == (paths is None) or set(streams) - set(spec.inputs):
            raise ContractError(f"LabelledTable wants path or paths, and streams that are inputs of the model, got {sorted(streams)}")
        self._spec, self._label, self._names, self._seconds = spec, label, dict(labels or {}), seconds
        self._session, self._time, self._unit = session, time, unit
        self._streams = {name: [columns] if isinstance(columns, str) else list(columns) for name, columns in streams.items()}
        self._hop_ns = spec.window.hop_ms * UNIT_NS["ms"]
        self._hold_ns = self._hop_ns if hold_ms is None else round(hold_ms * 1e6)
        self._recordings: dict[Split, list[Recording]] = {name: [] for name in SPLITS}
        if path is not None:
            self._read(_existing(path), split)
        for name, files in (paths or {}).items():
            for file in files:
                self._recordings[name] += self._cut(read_table(_existing(file)), None)

    def sessions(self, split: Split, rng: np.random.Generator) -> Iterator[LabelledSession]:
        recordings = self._recordings[split]
        if split != "train":
            yield from (_whole(recording) for recording in recordings)
            return
        if not recordings:
            raise ContractError("LabelledTable has no row of the split train")
        lengths = np.array([len(recording.truth) for recording in recordings], float)
        while True:
            recording = recordings[int(rng.choice(len(recordings), p=lengths / lengths.sum()))]
            if self._seconds is None:
                yield _whole(recording)
                continue
            length_ns = round(self._seconds * 1e9)
            # On the hop's grid: else rows straddle the model's steps, which they never do when they are replayed.
            start_ns = int(rng.integers(0, max(1, (recording.end_ns - length_ns) // self._hop_ns + 1))) * self._hop_ns
            yield stretch(recording, start_ns, start_ns + length_ns)

    def _read(self, path: Path, split: str) -> None:
        table = read_table(path)
        of_row = np.array(table.text(split))
        unknown = sorted(set(of_row.tolist()) - set(SPLITS))
        if unknown:
            raise SourceError(str(path), f"column {split} says {unknown[0]!r}; {', '.join(SPLITS)} wanted")
        for name in SPLITS:
            if (of_row == name).any():
                self._recordings[name] += self._cut(table, of_row == name)

    def _cut(self, table: Table, chosen: NDArray[np.bool_] | None) -> list[Recording]:
        rows = np.arange(table.rows) if chosen is None else np.flatnonzero(chosen)
        names = np.array(table.text(self._session)) if self._session is not None else np.full(table.rows, table.path.stem)
        values = {name: table.numbers(columns) for name, columns in self._streams.items()}
        labels = [self._known(table, text) for text in table.text(self._label)]
        order = list(dict.fromkeys(names[rows].tolist()))
        return [self._recording(table, name, rows[names[rows] == name], values, labels) for name in order]

    def _known(self, table: Table, text: str) -> str:
        found = self._names.get(text, text)
        if found not in ("", "nan") and found not in self._spec.labels:
            raise SourceError(str(table.path), f"column {self._label} says {text!r}; the model has {', '.join(self._spec.labels)}")
        return found

    def _recording(
        self, table: Table, name: str, rows: NDArray[np.int64], values: Mapping[str, NDArray[np.float64]], labels: Sequence[str]
    ) -> Recording:
        starts = self._starts(table, rows)
        end_ns = int(starts[-1]) + self._hold_ns
        makers = chains(self._spec, str(table.path), table.path.parent)
        events: dict[str, list[Timed]] = {}
        for stream, numbers in values.items():
            chain, timed = makers[stream](), _events(stream, starts, self._hold_ns, numbers[rows])
            timed.append((end_ns, Closed(stream=stream, time_ns=end_ns)))
            events[stream] = [(due_ns, out) for due_ns, event in timed for out in run_chain(chain, (event,))]
        return Recording(name=name, events=events, truth=self._truth(table, starts, rows, labels), end_ns=end_ns)

    def _starts(self, table: Table, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        if self._time is None:
            return np.arange(len(rows), dtype=np.int64) * self._hop_ns
        part = Table(path=table.path, columns={self._time: table.column(self._time)[rows]})
        times = part.times_ns(self._time, self._unit)
        return np.asarray(times - times[0], np.int64)

    def _truth(self, table: Table, starts: NDArray[np.int64], rows: NDArray[np.int64], labels: Sequence[str]) -> list[Truth]:
        """A row's label holds until the next row, and no longer than hold_ms."""
        ends = np.minimum(starts + self._hold_ns, np.append(starts[1:], np.iinfo(np.int64).max))
        spans = zip(starts.tolist(), ends.tolist(), rows.tolist(), strict=True)
        return [
            Truth(start_ns=start, end_ns=end, label=labels[row], condition=table.path.name)
            for start, end, row in spans
            if end > start and labels[row] not in ("", "nan")
        ]


def _events(stream: str, starts: NDArray[np.int64], hold_ns: int, numbers: NDArray[np.float64]) -> list[Timed]:
    timed: list[Timed] = []
    seq = 0
    for start_ns, row in zip(starts.tolist(), numbers, strict=True):
        due_ns = start_ns + hold_ns
        if not np.isnan(row[0]):
            event: StreamEvent = Packet(stream=stream, seq=seq, start_ns=start_ns, end_ns=due_ns, payload=Series(values=row))
            timed.append((due_ns, event))
            seq += 1
        timed.append((due_ns, Watermark(stream=stream, time_ns=start_ns)))
    return timed


def _whole(recording: Recording) -> LabelledSession:
    prepared = frozenset(recording.events)
    return LabelledSession(name=recording.name, events=recording.events, truth=recording.truth, prepared=prepared, fixed=True)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ContractError(f"there is no table {path}")
    return path
