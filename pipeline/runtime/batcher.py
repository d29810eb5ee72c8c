"""Windows of many sessions through one model: what goes together, when it starts, and that nobody's result shows the company.

    ready windows, by deadline ->  encode: input by input, new packets of all of them  ->  fuse -> one Inferred each
Encoders that carry a state take the first new packet of every session together, then the second, each with what came before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np

from operators.errors import BackendError
from operators.packet import Packet
from operators.tensorize import packet_array
from operators.window import AlignedWindow
from pipeline.runtime.coalitions import Fusable, ask
from pipeline.runtime.graphs import FUSE, Graphs
from pipeline.runtime.inference import Inference, Inferred, Steps
from pipeline.runtime.samebits import Vector

MOST = 32
"""Windows in a batch: while one runs, nothing more urgent can begin."""
BUSY = 0.5
"""Of the time: below it there is no need to save any by waiting for company."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A window of a session that is to be inferred."""

    inference: Inference
    window: AlignedWindow


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The oldest waiting window of a seat. deadline_ns: on the clock; budget_ns: what its decisions have taken at most of late."""

    seat: str
    deadline_ns: int
    work: Work
    budget_ns: int = 0

    @property
    def graphs(self) -> Graphs:
        return self.work.inference.graphs


def choose(ready: Sequence[Ready], now_ns: int) -> list[Ready]:
    """The most urgent, and by deadline those that can go with it: of the same model on the same engine.

    Where company makes nothing cheaper, so many as are done by the first deadline: the results of a batch come at its end.
    """
    urgent = sorted(ready, key=lambda one: (one.deadline_ns, one.seat))
    graphs, until_ns = urgent[0].graphs, urgent[0].deadline_ns
    batch = [one for one in urgent if one.graphs is graphs][:MOST]
    while not graphs.pays and len(batch) > 1 and now_ns + graphs.expected_ns(len(batch)) > until_ns:
        batch.pop()
    return batch


def launch_ns(batch: Sequence[Ready], seats: int, busy: float, now_ns: int, spare_ns: int) -> int:
    """When to start it, on the clock. seats: how many have this model; busy: the share of the time that is worked.

    At once, unless there is somebody left to wait for, waiting is worth it and the time is needed; then as late as the most
    urgent of them allows, by what such batches and decisions were measured to take.
    """
    graphs = batch[0].graphs
    if len(batch) >= min(seats, MOST) or not graphs.pays or busy < BUSY:
        return now_ns
    takes_ns = max(graphs.expected_ns(len(batch) + 1), *(one.budget_ns for one in batch))
    return max(now_ns, batch[0].deadline_ns - takes_ns - spare_ns)


def infer(works: Sequence[Work]) -> Iterator[tuple[Work, Inferred | Exception]]:
    """Each with its result as soon as it is there, in order. All of one model on one engine, at most one of a session.

    BackendError also for logits that are not finite. What fails for one is tried again one by one, so that it fails only that one.
    """
    graphs = works[0].inference.graphs
    begun_ns = graphs.clock.now_ns()
    try:
        steps = [work.inference.steps(work.window) for work in works]
        _encode(graphs, works, steps)
        fusable = [work.inference.gather(taken) for work, taken in zip(works, steps, strict=True)]
    except Exception as error:  # noqa: BLE001 - one session's packets, or one window that an engine refuses, must not cost the others theirs
        yield from _one_by_one(works, error)
        return
    encode_ns = graphs.clock.now_ns() - begun_ns
    first = 0
    for size in graphs.sizes(FUSE, [1] * len(works)):
        part = works[first : first + size]
        yield from _fuse(graphs, part, fusable[first : first + size], encode_ns)
        first += size


def _one_by_one(works: Sequence[Work], error: Exception) -> Iterator[tuple[Work, Inferred | Exception]]:
    if len(works) == 1:
        yield works[0], error
        return
    for work in works:
        yield from infer([work])


def _encode(graphs: Graphs, works: Sequence[Work], steps: Sequence[Steps]) -> None:
    for name, rule in graphs.inputs.items():
        new = [work.inference.unknown(name, taken) for work, taken in zip(works, steps, strict=True)]
        if rule.carry:
            for wave in zip_longest(*new):
                _learn(graphs, name, [(work, packet) for work, packet in zip(works, wave, strict=True) if packet is not None])
        else:
            _learn(graphs, name, [(work, packet) for work, packets in zip(works, new, strict=True) for packet in packets])


def _learn(graphs: Graphs, name: str, wanted: Sequence[tuple[Work, Packet]]) -> None:
    if not wanted:
        return
    rows = np.stack([packet_array(packet) for _, packet in wanted])
    before = np.stack([work.inference.before(name) for work, _ in wanted]) if graphs.inputs[name].carry else None
    for (work, packet), vector in zip(wanted, graphs.encode(name, rows, before), strict=True):
        work.inference.learn(name, packet, vector)


def _fuse(graphs: Graphs, works: Sequence[Work], fusable: Sequence[Fusable], encode_ns: int) -> Iterator[tuple[Work, Inferred | Exception]]:
    try:
        made = _inferred(graphs, works, fusable, encode_ns)
    except Exception as error:  # noqa: BLE001 - as above
        yield from _one_by_one(works, error)
        return
    for work, one in zip(works, made, strict=True):
        work.inference.forget(work.window)
        yield work, one


def _inferred(graphs: Graphs, works: Sequence[Work], fusable: Sequence[Fusable], encode_ns: int) -> list[Inferred]:
    """One for each. Whoever asked for every set of its streams has, where the graph for that decides, no need of another."""
    begun_ns = graphs.clock.now_ns()
    asked = [index for index, work in enumerate(works) if work.inference.attribute]
    apart = [index for index in range(len(works)) if not (graphs.decides and index in asked)]
    rows: Sequence[Vector] = list(graphs.fuse(*_joined([fusable[index] for index in apart]), [1] * len(apart))) if apart else []
    fused_ns = graphs.clock.now_ns()
    answers = dict(zip(asked, ask(graphs, [fusable[index] for index in asked]), strict=True)) if asked else {}
    attribute_ns = graphs.clock.now_ns() - fused_ns
    logits = {index: every[-1] for index, (_, every) in answers.items()} | dict(zip(apart, rows, strict=True))
    made = []
    for index, work in enumerate(works):
        if not np.isfinite(logits[index]).all():
            raise BackendError(f"window {work.window.index}: the model gave {logits[index].tolist()}; scores must be finite")
        one = Inferred(logits=logits[index], encode_ns=encode_ns, fuse_ns=fused_ns - begun_ns)
        made.append(_attributed(one, *answers[index], attribute_ns) if index in answers else one)
    return made


def _attributed(made: Inferred, present: Sequence[str], rows: Vector, took_ns: int) -> Inferred:
    if not np.isfinite(rows).all():
        raise BackendError("the model's scores without some of the streams are not finite")
    return replace(made, present=present, coalitions=rows, attribute_ns=took_ns)


def _joined(fusable: Sequence[Fusable]) -> Fusable:
    if len(fusable) == 1:
        return fusable[0]
    names = fusable[0][0].keys()
    inputs = {name: np.concatenate([one[0][name] for one in fusable]) for name in names}
    return inputs, {name: np.concatenate([one[1][name] for one in fusable]) for name in names}
