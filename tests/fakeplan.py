"""A plan without files: scripted sources, a model of two inputs, a backend of plain arithmetic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from operators.decide import Decider
from operators.decision import Decision
from operators.errors import BackendError
from operators.operator import Operator
from operators.packet import Closed, Embedding, Packet, StreamEvent, TextSpan, Watermark
from operators.window import AlignConfig
from pipeline.config import Config, validate
from pipeline.model import Model, parse_spec
from pipeline.ports import Status, StreamSpec, Wanted
from pipeline.runtime.edge import EdgePolicy

MS = 1_000_000
SPEC = {
    "name": "fake",
    "labels": ["low", "high"],
    "window": {"length_ms": 200, "hop_ms": 100, "lag_ms": 0},
    "inputs": {
        "cam": {"kind": "series", "steps": 4, "shape": [1], "dtype": "float32", "encoder": {"use": "operators.encoders:Any", "dim": 1}},
        "mic": {"kind": "series", "steps": 4, "shape": [1], "dtype": "float32", "encoder": {"use": "operators.encoders:Any", "dim": 1}},
    },
    "head": {"use": "operators.fusion:Any"},
}


class ArithmeticBackend:
    """encode: the value itself; fuse: the mean of what is present against 0.5. Counts what it encodes."""

    name = "arithmetic"

    def __init__(self) -> None:
        self.encoded: Counter[tuple[str, float]] = Counter()
        self.fail_when: Callable[[Mapping[str, np.ndarray]], bool] = lambda inputs: False

    def encode(self, stream: str, batch: np.ndarray) -> np.ndarray:
        assert batch.shape[1:] == (1,)
        self.encoded.update((stream, float(number)) for number in batch[:, 0])
        return batch.astype(np.float32)

    def fuse(self, inputs: Mapping[str, np.ndarray], presence: Mapping[str, np.ndarray]) -> np.ndarray:
        if self.fail_when(inputs):
            raise BackendError("told to fail")
        rows = len(next(iter(inputs.values())))
        return np.array([self._row({n: a[i] for n, a in inputs.items()}, {n: p[i] for n, p in presence.items()}) for i in range(rows)])

    def _row(self, inputs: Mapping[str, np.ndarray], presence: Mapping[str, np.ndarray]) -> np.ndarray:
        there = sum(float(p.sum()) for p in presence.values())
        mean = sum(float((inputs[name][..., 0] * presence[name]).sum()) for name in inputs) / max(there, 1.0)
        return np.array([0.5 - mean, mean - 0.5], dtype=np.float32)


def value(stream: str, seq: int, start_ms: int, length_ms: int = 50) -> Packet:
    data = np.array([seq % 7 / 7], dtype=np.float32)
    return Packet(stream=stream, seq=seq, start_ns=start_ms * MS, end_ns=(start_ms + length_ms) * MS, payload=Embedding(data=data))


def regular(stream: str, count: int, step_ms: int = 50, delay_ms: int = 0) -> list[tuple[int, StreamEvent]]:
    """Packets end to end, each with its promise, then the close; due delay_ms after their end."""
    events: list[tuple[int, StreamEvent]] = []
    for seq in range(count):
        due_ns = ((seq + 1) * step_ms + delay_ms) * MS
        events += [
            (due_ns, value(stream, seq, seq * step_ms, step_ms)),
            (due_ns, Watermark(stream=stream, time_ns=(seq + 1) * step_ms * MS)),
        ]
    end_ms = count * step_ms
    return [*events, ((end_ms + delay_ms) * MS, Closed(stream=stream, time_ns=end_ms * MS))]


class Script:
    """A source that says what it was told to; an exception in the script is raised there."""

    def __init__(
        self, events: Sequence[tuple[int, StreamEvent] | Exception], *, live: bool = False, fails: Exception | None = None
    ) -> None:
        self.live = live
        self.closed = 0
        self._script, self._fails = events, fails

    def open(self, wanted: Mapping[str, Wanted]) -> Sequence[StreamSpec]:
        if self._fails is not None:
            raise self._fails
        names = sorted({item[1].stream for item in self._script if not isinstance(item, Exception)})
        return [StreamSpec(name=name, kind="series") for name in names]

    def events(self, from_ns: int = 0) -> Iterator[tuple[int, StreamEvent]]:
        for item in self._script:
            if isinstance(item, Exception):
                raise item
            yield item

    def end_ns(self) -> int | None:
        return max((item[0] for item in self._script if not isinstance(item, Exception)), default=None)

    def close(self) -> None:
        self.closed += 1


class FakePlan:
    """One source for each input, named after it."""

    def __init__(
        self,
        sources: Mapping[str, Script],
        *,
        speed: float | str = "max",
        duration: float | None = None,
        align: Mapping[str, Any] | None = None,
    ) -> None:
        self.sources = dict(sources)
        self.backend = ArithmeticBackend()
        self.model = Model(Path("."), parse_spec(SPEC, "fake"), "f" * 64)
        self.digest = "d" * 64
        self.replay = None
        mode = {"mode": "wait"} if speed == "max" else {"mode": "deadline", "deadline_ns": 150 * MS}
        self.align: AlignConfig = self.model.align_config(**{**mode, **(align or {})})
        values = {
            "model": "fake",
            "sources": {name: {"use": "nowhere:Nothing"} for name in sources},
            "inputs": {name: f"{name}.{name}" for name in sources},
            "run": {"speed": speed, "duration": duration},
        }
        self.config: Config = validate(values, {}, origin="/nowhere/story.yaml")

    def make_source(self, name: str) -> Script:
        return self.sources[name]

    def source_inputs(self, name: str) -> dict[str, str]:
        return {name: name}

    def offset_ns(self, name: str) -> int:
        return 0

    def wanted(self, name: str) -> dict[str, Wanted]:
        return {name: Wanted()}

    def make_transforms(self, name: str) -> list[Operator]:
        return []

    def edge(self, name: str) -> EdgePolicy:
        return EdgePolicy()

    def make_backend(self) -> ArithmeticBackend:
        return self.backend

    def make_decider(self) -> Decider:
        return Decider(self.model.spec.labels)


class Notes:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.decisions: list[Decision] = []
        self.statuses: list[Status] = []
        self.closed = 0

    def decision(self, decision: Decision) -> None:
        self.decisions.append(decision)

    def status(self, status: Status) -> None:
        self.statuses.append(status)

    def close(self) -> None:
        self.closed += 1

    def events(self) -> list[str]:
        return [line for status in self.statuses for line in status.events]


def text(stream: str, seq: int, start_ms: int) -> Packet:
    return Packet(stream=stream, seq=seq, start_ns=start_ms * MS, end_ns=start_ms * MS, payload=TextSpan(text=str(seq)))
