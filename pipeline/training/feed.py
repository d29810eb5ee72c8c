"""Segments for training, composed in a thread beside the computing: numpy and torch let go of Python's lock most of the time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np

from pipeline.training.faults import Faults, delayed
from pipeline.training.segment import Cutter, Segment
from pipeline.training.session import Dataset, LabelledSession

DEADLINE_NS = 150_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Datasets and the share of the training sessions that each gives (any positive numbers).

    A session that is always the same by its name (`LabelledSession.fixed`) and that nothing but a missing input happens to is cut once.
    """

    datasets: tuple[Dataset, ...]
    shares: tuple[float, ...]
    cut: dict[str, Segment] = field(default_factory=dict)

    def segments(
        self,
        cutter: Cutter,
        faults: Faults,
        deadline_share: float,
        rng: np.random.Generator,
        takes: Callable[[int], bool] = lambda number: True,
    ) -> Iterator[Segment]:
        """Without end: a session of some dataset, with faults, in waiting mode or (deadline_share) as it would arrive by a deadline.

        takes: the numbers of the sessions that are cut and given. All are drawn, so that they are the same whoever takes which.
        """
        streams = [dataset.sessions("train", rng) for dataset in self.datasets]
        shares = np.array(self.shares) / sum(self.shares)
        for number in count():
            session = next(streams[int(rng.choice(len(streams), p=shares))])
            if session.fixed and not (deadline_share or faults.drop or faults.outage):
                kept = faults.kept(session, rng)
                if takes(number):
                    yield without(self._cut(session, cutter), kept)
                continue
            session = faults.apply(session, rng)
            by_deadline = rng.random() < deadline_share
            if by_deadline:
                session = delayed(session, rng)
            if takes(number):
                yield cutter.cut(session, mode="deadline", deadline_ns=DEADLINE_NS) if by_deadline else cutter.cut(session)

    def _cut(self, session: LabelledSession, cutter: Cutter) -> Segment:
        if session.name not in self.cut:
            self.cut[session.name] = cutter.cut(session)
        return self.cut[session.name]


def without(segment: Segment, kept: Collection[str]) -> Segment:
    """The segment as if the other inputs had never existed."""
    table = {name: rows if name in kept else np.full_like(rows, -1) for name, rows in segment.table.items()}
    packets = {name: rows if name in kept else rows[:0] for name, rows in segment.packets.items()}
    return replace(segment, table=table, packets=packets)


@contextmanager
def ahead(make: Callable[[], Iterator[Segment]], depth: int = 24) -> Iterator[Iterator[Segment]]:
    """The iterator that make() gives, run in a thread up to `depth` items ahead. Its exception comes out where the item would have."""
    waiting: queue.Queue[Segment | BaseException | None] = queue.Queue(depth)
    stop = threading.Event()

    def work() -> None:
        try:
            for item in make():
                _put(waiting, item, stop)
                if stop.is_set():
                    return
            _put(waiting, None, stop)
        except BaseException as error:  # noqa: BLE001 - carried to the other thread and raised there
            _put(waiting, error, stop)

    def take() -> Iterator[Segment]:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=work, name="segments", daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        stop.set()
        thread.join()


def _put(waiting: queue.Queue[Segment | BaseException | None], item: Segment | BaseException | None, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            waiting.put(item, timeout=0.1)
            return
        except queue.Full:
            continue
