"""The core of every runner: what a decision says, what is remembered, and that a restart is not seen."""

from __future__ import annotations

import heapq
from operator import itemgetter
from typing import Any

import pytest
from fakeplan import MS, ArithmeticBackend, FakePlan, Script, regular

from operators.decision import Decision
from operators.packet import Closed, CoreEvent, Dropped, Tick
from operators.window import Slot
from pipeline.clock import FakeClock
from pipeline.runtime.core import FusionCore, presence_of, unused
from pipeline.runtime.graphs import Graphs
from pipeline.runtime.pace import Pace
from pipeline.runtime.parts import make_core


def plan(**kwargs: Any) -> FakePlan:
    return FakePlan({"cam": Script([]), "mic": Script([])}, **kwargs)


def core(of: FakePlan | None = None) -> FusionCore:
    of = of or plan()
    return make_core(of, Graphs(of.model, of.backend, FakeClock()))


def events(count: int = 20) -> list[CoreEvent]:
    merged = heapq.merge(regular("cam", count), regular("mic", count, delay_ms=20), key=itemgetter(0))
    return [event for _, event in merged if not isinstance(event, Dropped)]


def decide(it: FusionCore, some: list[CoreEvent]) -> list[Decision]:
    return [out for event in some for out in it.process(event) if isinstance(out, Decision)]


def test_a_restart_from_a_snapshot_at_any_event_is_not_seen() -> None:
    whole = decide(core(), events())
    assert len(whole) == 10
    for cut in range(len(events()) + 1):
        first, second = core(), core()
        before = decide(first, events()[:cut])
        second.restore(first.snapshot())
        assert before + decide(second, events()[cut:]) == whole
        assert second.counts["decisions"] == 10
        assert second.ended


def test_the_order_across_streams_changes_no_decision() -> None:
    by_stream = sorted(events(), key=lambda event: event.stream)  # type: ignore[union-attr]
    assert decide(core(), by_stream) == decide(core(), events())


def test_a_core_that_begins_later_makes_the_same_later_decisions() -> None:
    later = plan(speed=1)
    it = core(later)
    it.start(Pace(clock=FakeClock(), epoch_ns=0), first_window=4)
    whole = decide(core(), events())
    out = decide(it, events())
    assert [(d.window, d.start_ns, d.label, d.scores) for d in out] == [(d.window, d.start_ns, d.label, d.scores) for d in whole[4:]]


@pytest.mark.parametrize(("now_ms", "first"), [(0, 0), (249, 0), (250, 1), (349, 1), (350, 2)])
def test_the_first_open_window_is_the_first_whose_deadline_has_not_passed(now_ms: int, first: int) -> None:
    assert core(plan(speed=1)).first_open_window(now_ms * MS) == first  # window 0 ends at 100 ms, its deadline is 150 ms later


def test_embeddings_are_kept_only_while_a_window_can_use_them() -> None:
    it = core()
    most = 0
    for event in events(200):
        list(it.process(event))
        most = max(most, it._inference.cached)
    assert most <= 2 * 5
    assert it._inference.encoded == 2 * 200


def test_a_tick_wakes_the_core_early_by_what_a_decision_takes() -> None:
    it = core(plan(speed=1))
    it.start(Pace(clock=FakeClock(), epoch_ns=0), spare_ns=3 * MS)
    assert it.next_tick_ns() == 250 * MS - 3 * MS
    it.expect(10 * MS)
    assert it.next_tick_ns() == 250 * MS - 13 * MS
    it.expect(10_000 * MS)
    assert it.next_tick_ns() == 250 * MS - 3 * MS - 75 * MS  # never more than half the deadline


class SlowBackend(ArithmeticBackend):
    """Each fusion takes 200 ms of the clock."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def fuse(self, inputs: Any, presence: Any) -> Any:
        self._clock.sleep_until(self._clock.now_ns() + 200 * MS)
        return super().fuse(inputs, presence)


def test_a_decision_after_its_deadline_is_counted_as_missed() -> None:
    clock, slow = FakeClock(), plan(speed=1)
    it = make_core(slow, Graphs(slow.model, SlowBackend(clock), clock))
    it.start(Pace(clock=clock, epoch_ns=clock.now_ns()))
    clock.sleep_until(clock.now_ns() + 250 * MS)
    out = decide(it, [Tick(now_ns=250 * MS)])
    assert it.counts["missed_deadlines"] == 1
    assert out[0].latency_ns == {"transport": 0, "align": 150 * MS, "encode": 0, "fuse": 200 * MS, "total": 350 * MS}


@pytest.mark.parametrize(
    ("missing", "complete", "word"),
    [
        (None, True, "present"),
        (None, False, "partial"),
        ("empty", True, "empty"),
        ("closed", True, "closed"),
        ("timeout", False, "timeout"),
    ],
)
def test_presence_says_why(missing: Any, complete: bool, word: str) -> None:
    assert presence_of(Slot(packets=(), missing=missing, age_ns=None, complete=complete)) == word


def test_inputs_without_a_source_close_at_once() -> None:
    assert list(unused(plan().align, ["mic"])) == [Closed(stream="cam", time_ns=0)]
