"""From a labelled session to arrays: the model's own transforms, the aligner and the tensorizer, exactly as in a run.

 session      video |--|--|--|--|--|--|     audio |-|-|-|-|-|-|-|-|     text |----hello----|
                 \\ transforms, aligner, tensorizer: window 0, 1, 2 ...
 segment      packets["video"]: (N, 48, 48), every packet once;  table["video"][window, step]: its row, or -1 where nothing stands

Training encodes each packet of a segment once and gathers, as serving does with its cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import merge
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.align import Aligner
from operators.operator import Operator, run_chain
from operators.packet import Closed, Dropped, Packet, Tick
from operators.tensorize import InputRule, Tensorizer, packet_array
from operators.window import AlignedWindow, Mode
from pipeline.model import Model
from pipeline.training.session import LabelledSession, Timed, truth_at

UNLABELLED = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One session as arrays.

    packets    input -> (N, *shape of one packet); N may be 0
    table      input -> int64 (windows, steps): row of `packets`, -1 where no packet stands for the step
    label      int64 (windows,): index into the model's labels, UNLABELLED where the truth says nothing
    also       question -> int64 (windows,): index into its answers, UNLABELLED where the truth says nothing
    condition  kind of scene, by window
    start_ns   int64 (windows,): where the span begins that the window's decision is about
    level      how noisy the session was made (`LabelledSession.level`)
    carried    inputs whose embeddings depend on the one before -> length of an embedding; their packets are in the order of encoding
    """

    name: str
    packets: dict[str, NDArray[Any]]
    table: dict[str, NDArray[np.int64]]
    label: NDArray[np.int64]
    condition: list[str]
    start_ns: NDArray[np.int64]
    level: str = ""
    carried: Mapping[str, int] = field(default_factory=dict)
    also: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)


class Cutter:
    """Makes segments for one model; `transforms` makes a fresh chain for an input (operators hold state)."""

    def __init__(self, model: Model, transforms: Mapping[str, Any]) -> None:
        self._model = model
        self._transforms = transforms
        self._rules = model.input_rules()
        self._tensorizer = Tensorizer(model)
        self._labels = {label: index for index, label in enumerate(model.spec.labels)}
        self._also = {name: {answer: index for index, answer in enumerate(answers)} for name, answers in model.spec.also.items()}

    def cut(self, session: LabelledSession, *, mode: Mode = "wait", deadline_ns: int = 0) -> Segment:
        """mode deadline: the events' due times are when they arrive, and windows go out at their deadline whatever is there."""
        rows: dict[str, dict[tuple[int, int], int]] = {name: {} for name in self._rules}
        arrays: dict[str, list[NDArray[Any]]] = {name: [] for name in self._rules}
        tables: dict[str, list[list[int]]] = {name: [] for name in self._rules}
        labels, conditions, starts = [], [], []
        also: dict[str, list[int]] = {name: [] for name in self._also}
        for window in self._windows(session, mode, deadline_ns):
            start_ns, end_ns = self._model.decision_span(window)
            truth = truth_at(session.truth, start_ns, end_ns)
            labels.append(UNLABELLED if truth is None else self._labels[truth.label])
            conditions.append("" if truth is None else truth.condition)
            starts.append(start_ns)
            for name, answers in self._also.items():
                span = truth_at(session.truth, start_ns, end_ns, name)
                also[name].append(UNLABELLED if span is None else answers[span.also[name]])
            for name, steps in self._tensorizer.steps(window).items():
                tables[name].append([_row(packet, rows[name], arrays[name]) for packet in steps])
        return Segment(
            name=session.name,
            packets={name: _stacked(arrays[name], rule) for name, rule in self._rules.items()},
            table={name: np.array(tables[name], np.int64).reshape(-1, rule.steps) for name, rule in self._rules.items()},
            label=np.array(labels, np.int64),
            condition=conditions,
            start_ns=np.array(starts, np.int64),
            level=session.level,
            carried={name: rule.dim for name, rule in self._rules.items() if rule.carry},
            also={name: np.array(answers, np.int64) for name, answers in also.items()},
        )

    def _windows(self, session: LabelledSession, mode: Mode, deadline_ns: int) -> Iterator[AlignedWindow]:
        config = self._model.align_config(mode=mode, deadline_ns=deadline_ns, catch_up=1 << 20)
        aligner = Aligner(config)
        for due_ns, event in merge(*(self._events(session, name) for name in self._rules), key=lambda timed: timed[0]):
            while mode == "deadline" and (tick_ns := aligner.next_deadline_ns()) is not None and tick_ns <= due_ns:
                yield from _windows_of(aligner.process(Tick(now_ns=tick_ns)))
            if not isinstance(event, Dropped):
                yield from _windows_of(aligner.process(event))

    def _events(self, session: LabelledSession, name: str) -> Iterator[Timed]:
        """The input's events behind the model's transforms, each due when what it was made of was."""
        if name not in session.events:
            yield 0, Closed(stream=name, time_ns=0)
            return
        chain: Sequence[Operator] = () if name in session.prepared else self._transforms[name]()
        for due_ns, event in session.events[name]:
            for out in run_chain(chain, (replace(event, stream=name),)):
                yield due_ns, out


def _windows_of(outputs: Iterable[object]) -> Iterator[AlignedWindow]:
    return (out for out in outputs if isinstance(out, AlignedWindow) and out.revision == 0)


def _row(packet: Packet | None, rows: dict[tuple[int, int], int], arrays: list[NDArray[Any]]) -> int:
    if packet is None:
        return -1
    key = (packet.seq, packet.start_ns)
    if key not in rows:
        rows[key] = len(arrays)
        arrays.append(packet_array(packet))
    return rows[key]


def _stacked(arrays: list[NDArray[Any]], rule: InputRule) -> NDArray[Any]:
    if not arrays:
        return np.zeros((0, *rule.shape), rule.dtype)
    return np.stack(arrays).astype(rule.dtype, copy=False)
