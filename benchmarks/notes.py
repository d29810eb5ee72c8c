"""A session of stamped packets: run it, and read what `benchmarks.burned` wrote down, packet by packet."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from benchmarks.stamped_media import FPS
from benchmarks.stamps import burned_ns, find_marks, mark_ns
from pipeline.model import SHIPPED, load_model

SENSORIUM = [sys.executable, "-P", "-m", "pipeline.cli"]
NOTES = "notes"
SHORT_S = 2.0
"""A session that was so much shorter than asked for was ended by somebody."""
Row = list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A picture, or the mark in a sound: when it was made and what became of it; monotonic ns, but stamp_ns: session time.

    stamp_ns: what the pipeline says when it was. counted_ns: how long after the stream's first, by the count of what came at its nominal
    rate. within_ns: where in its block it is, from the block's end (0 for a picture, else negative). out_ns: after the model's
    transforms; None: it did not get through.
    """

    made_ns: int
    stamp_ns: int
    counted_ns: int
    within_ns: int
    arrived_ns: int
    in_ns: int
    out_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A decision; session times, but written_ns."""

    start_ns: int
    end_ns: int
    window_end_ns: int
    latency_ns: dict[str, int]
    presence: dict[str, str]
    written_ns: int


@dataclass(slots=True)
class Notes:
    """items: by stream. decisions: the first of each window. count: packets seen, by stream."""

    epoch_ns: int
    items: dict[str, list[Item]]
    decisions: list[Decided]
    statuses: list[dict[str, Any]]
    count: dict[str, int] = field(default_factory=dict)


def _bare_model(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Copies the shipped model without the transforms of picture and sound, which are given: a model may not name such that look on."""
    shutil.copytree(SHIPPED / "speaking", folder)
    spec = yaml.safe_load((folder / "model.yaml").read_text("utf-8"))
    own = {name: spec["inputs"][name].pop("transforms") for name in ("video", "audio")}
    (folder / "model.yaml").write_text(yaml.safe_dump(spec, sort_keys=False), "utf-8")
    return own


def write_config(folder: Path, sources: dict[str, Any], inputs: dict[str, str], seconds: float) -> Path:
    """The session that is looked at, in a folder of its own: the model's transforms stand in the config, between two that look on."""
    notes = folder / NOTES
    notes.mkdir()
    before, after = ({"use": f"benchmarks.burned:{name}", "notes": str(notes)} for name in ("Before", "After"))
    own = _bare_model(folder / "model")
    config = {
        "model": str(folder / "model"),
        "sources": sources,
        "inputs": inputs,
        "transforms": {name: [before, *own[name], after] for name in inputs},
        "run": {"duration": f"{seconds:g}s"},
        "sinks": [
            {"use": "pipeline.sinks.jsonl:JsonLines", "path": str(folder / "decisions.jsonl")},
            {"use": "benchmarks.burned:Decided", "notes": str(notes)},
        ],
    }
    path = folder / "session.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
    return path


def run_session(
    folder: Path,
    sources: dict[str, Any],
    inputs: dict[str, str],
    seconds: float,
    meanwhile: Callable[[subprocess.Popen[bytes]], None] = lambda _: None,
) -> None:
    """`sensorium run` on Ray, with run and state directories of its own; notes in folder / NOTES. Raises SystemExit where it fails."""
    config = write_config(folder, sources, inputs, seconds)
    own = {"XDG_RUNTIME_DIR": str(folder / "run"), "XDG_STATE_HOME": str(folder / "state")}
    for path in own.values():
        Path(path).mkdir()
    with (folder / "log").open("wb") as log:
        words = [*SENSORIUM, "run", str(config), "--plain", "--quiet"]
        process = subprocess.Popen(words, env={**os.environ, **own}, stdout=log, stderr=log)
    try:
        meanwhile(process)
        if process.wait(seconds + 90) or _reached_ns(folder / NOTES) < (seconds - SHORT_S) * 1e9:
            raise SystemExit(f"the session failed, or was ended early:\n{(folder / 'log').read_text()[-2000:]}")
    finally:
        process.terminate()
        process.wait(30)


def _reached_ns(notes: Path) -> int:
    """Session time when it was last heard of."""
    lines = [json.loads(line) for line in (notes / "decided.jsonl").read_text().splitlines()]
    return max((line["now_ns"] for line in lines if "now_ns" in line), default=0)


def read_notes(folder: Path, *, own_time: bool) -> Notes:
    """own_time: the stamps are of the session's own time (a file), not of the monotonic clock."""
    lines = [json.loads(line) for line in (folder / "decided.jsonl").read_text().splitlines()]
    epoch_ns = next(line["epoch_ns"] for line in lines if line.get("epoch_ns"))
    lag_ns = load_model("speaking").spec.window.lag_ms * 1_000_000
    decisions = [_decided(line, lag_ns) for line in lines if "window" in line and not line["revision"]]
    notes = Notes(epoch_ns, {}, decisions, [line for line in lines if "epoch_ns" in line])
    origin_ns = 0 if own_time else epoch_ns
    for name in ("video", "audio"):
        pid, into = _rows(folder, f"{name}-in")
        notes.count[name] = len(into)
        found = _pictures(into, origin_ns) if name == "video" else _sounds(into, folder / f"audio-{pid}.pcm", origin_ns)
        passed = _Passed(folder, name, pid, epoch_ns)
        notes.items[name] = [passed.item(one, one.made_ns + epoch_ns - origin_ns) for one in found]
    return notes


def _decided(line: dict[str, Any], lag_ns: int) -> Decided:
    times = {name: line[name] for name in ("start_ns", "end_ns", "latency_ns", "presence")}
    return Decided(**times, window_end_ns=line["end_ns"] + lag_ns, written_ns=line["at_ns"])


def _rows(folder: Path, name: str) -> tuple[str, list[Row]]:
    """Of the process that wrote most: a look into a file before the run leaves notes too."""
    paths = sorted(folder.glob(f"{name}-*.txt"), key=lambda path: path.stat().st_size)
    return paths[-1].stem.rpartition("-")[2], _lines(paths[-1])


def _lines(path: Path) -> list[Row]:
    return [[int(word) for word in line.split()] for line in path.read_text().splitlines()]


@dataclass(frozen=True, slots=True)
class _Found:
    """A stamp that was read: see Item."""

    made_ns: int
    stamp_ns: int
    counted_ns: int
    within_ns: int
    row: Row


def _pictures(rows: list[Row], origin_ns: int) -> list[_Found]:
    """Those whose stamp can be read."""
    return [
        _Found(burned_ns(row[5], row[2] + origin_ns), row[2], index * 1_000_000_000 // FPS, 0, row)
        for index, row in enumerate(rows)
        if row[5] >= 0
    ]


def _sounds(rows: list[Row], samples: Path, origin_ns: int) -> list[_Found]:
    """Each mark, at the place of its first sample."""
    rate_hz = rows[0][7]
    sound = np.frombuffer(samples.read_bytes(), "<i2").astype(np.float32) / 32767
    firsts: NDArray[np.int64] = np.cumsum([0, *(row[6] for row in rows)])
    found = []
    for at, index in find_marks(sound, rate_hz):
        which = int(np.searchsorted(firsts, at, side="right")) - 1
        row = rows[min(which, len(rows) - 1)]
        part = (at - firsts[which]) / row[6]
        # By the block's own length, which its clock may have stretched.
        stamp_ns = row[2] + round(part * (row[3] - row[2]))
        within_ns = round((part - 1) * row[6] * 1e9 / rate_hz)
        found.append(_Found(mark_ns(index, stamp_ns + origin_ns), stamp_ns, round(at * 1e9 / rate_hz), within_ns, row))
    return found


class _Passed:
    """When packets of a stream came by the places that note it."""

    def __init__(self, folder: Path, stream: str, pid: str, epoch_ns: int) -> None:
        self._epoch_ns = epoch_ns
        self._captured: dict[int, list[tuple[int, int]]] = {}
        for key, arrived_ns, given_ns in _lines(folder / f"captured-{pid}.txt"):
            self._captured.setdefault(key, []).append((given_ns, arrived_ns))
        self._outs = sorted(_rows(folder, f"{stream}-out")[1])
        self._starts = [row[0] for row in self._outs]

    def item(self, found: _Found, made_ns: int) -> Item:
        key, in_ns = found.row[0], found.row[4]
        # A key is an address, which is used again and again: the newest before.
        of_key = self._captured[key]
        _, arrived_ns = of_key[bisect_right(of_key, (in_ns, 1 << 62)) - 1]
        return Item(
            made_ns=made_ns,
            stamp_ns=found.stamp_ns,
            counted_ns=found.counted_ns,
            within_ns=found.within_ns,
            arrived_ns=arrived_ns + self._epoch_ns,
            in_ns=in_ns,
            out_ns=self._out_ns(found.stamp_ns),
        )

    def _out_ns(self, stamp_ns: int) -> int | None:
        """When what it became part of was there."""
        at = bisect_right(self._starts, stamp_ns) - 1
        return self._outs[at][2] if at >= 0 and stamp_ns < self._outs[at][1] else None
