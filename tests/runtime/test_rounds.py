"""Many sessions at one fusion process, in virtual time: each decides as if it were alone, and none starves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fakeplan import MS, ArithmeticBackend, FakePlan, Notes, Script, regular, value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seats import Costly, World, told

from operators.errors import BackendError
from operators.packet import Closed, Embedding, Packet, StreamEvent, Watermark
from pipeline.clock import FakeClock
from pipeline.runtime.edge import EdgePolicy
from pipeline.runtime.fusion import FusionSeat
from pipeline.runtime.inline import run_inline

Events = list[tuple[int, StreamEvent]]


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def plan(backend: ArithmeticBackend | None = None, cam: Events | None = None, mic: Events | None = None, **options: Any) -> FakePlan:
    made = FakePlan({"cam": Script(cam or []), "mic": Script(mic or [])}, **options)
    made.backend = backend or made.backend
    return made


def alone(cam: Events, mic: Events, **options: Any) -> list[dict[str, Any]]:
    notes = Notes()
    run_inline(plan(None, cam, mic, **options), [notes], FakeClock())
    return told([decision.to_json() for decision in notes.decisions])


def delayed(stream: str, delays_ms: list[int]) -> Events:
    """Packets of 50 ms, each with its promise, each so late; in order."""
    events: Events = []
    due_ns = 0
    for seq, delay_ms in enumerate(delays_ms):
        end_ms = (seq + 1) * 50
        due_ns = max(due_ns, (end_ms + delay_ms) * MS)
        events += [(due_ns, value(stream, seq, end_ms - 50)), (due_ns, Watermark(stream=stream, time_ns=end_ms * MS))]
    end_ns = len(delays_ms) * 50 * MS
    return [*events, (max(due_ns, end_ns), Closed(stream=stream, time_ns=end_ns))]


# Never within the few milliseconds before a deadline, at which a seat cuts a little earlier than the runner of one.
DELAYS = st.lists(st.sampled_from([10, 20, 30, 40, 60, 110, 160, 230]), min_size=10, max_size=10)
SPEED = st.sampled_from([1, "max"])


@given(sessions=st.lists(st.tuples(SPEED, DELAYS, DELAYS), min_size=2, max_size=5))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_of_many_sessions_decides_as_it_does_alone(sessions: list[tuple[Any, list[int], list[int]]]) -> None:
    world, backend = World(), ArithmeticBackend()
    try:
        for number, (speed, cam_ms, mic_ms) in enumerate(sessions):
            world.add(str(number), plan(backend, speed=speed), [*delayed("cam", cam_ms), *delayed("mic", mic_ms)])
        world.run(2000 * MS)
        for number, (speed, cam_ms, mic_ms) in enumerate(sessions):
            assert told(world.decisions[str(number)]) == alone(delayed("cam", cam_ms), delayed("mic", mic_ms), speed=speed)
    finally:
        world.close()


def test_a_session_that_fails_ends_alone(world: World) -> None:
    backend = ArithmeticBackend()
    backend.fail_when = lambda inputs: bool((inputs["cam"] > 1).any())
    world.add("good", plan(backend, speed=1), [*regular("cam", 40), *regular("mic", 40)])
    world.add("bad", plan(backend, speed=1), [*with_data(regular("cam", 40), [7.0]), *regular("mic", 40)])
    world.run(3000 * MS)
    assert isinstance(world.rounds.failed["bad"], BackendError)
    assert list(world.rounds.seats) == ["good"]
    assert told(world.decisions["good"]) == alone(regular("cam", 40), regular("mic", 40), speed=1)


def with_data(events: Events, data: list[float]) -> Events:
    payload = Embedding(data=np.array(data, np.float32))
    return [(due, replace(event, payload=payload) if isinstance(event, Packet) else event) for due, event in events]


def test_packets_that_no_encoder_takes_end_their_session_alone(world: World) -> None:
    backend = ArithmeticBackend()
    world.add("good", plan(backend, speed=1), [*regular("cam", 20), *regular("mic", 20)])
    world.add("bad", plan(backend, speed=1), [*with_data(regular("cam", 20), [0.0] * 3), *regular("mic", 20)])
    world.run(2000 * MS)
    assert "bad" in world.rounds.failed
    assert told(world.decisions["good"]) == alone(regular("cam", 20), regular("mic", 20), speed=1)


def test_windows_that_are_ready_together_are_one_batch(world: World) -> None:
    backend = ArithmeticBackend()
    seats = [world.add(str(number), plan(backend, speed=1), [*regular("cam", 20), *regular("mic", 20)]) for number in range(4)]
    world.run(2000 * MS)
    assert seats[0].core.graphs.batches["fuse"] == {4: 10}
    assert [len(world.decisions[str(number)]) for number in range(4)] == [10] * 4


def test_a_seat_that_leaves_changes_nothing_for_those_that_stay(world: World) -> None:
    backend = ArithmeticBackend()
    for name in ("stays", "leaves"):
        world.add(name, plan(backend, speed=1), [*regular("cam", 40), *regular("mic", 40)])
    world.run(1010 * MS)
    world.leave("leaves")
    world.run(3000 * MS)
    assert len(world.decisions["leaves"]) == 10
    assert told(world.decisions["stays"]) == alone(regular("cam", 40), regular("mic", 40), speed=1)


def both_streams(seconds: float) -> Events:
    count = round(seconds * 20)
    return [*regular("cam", count), *regular("mic", count)]


def at_once(events: Events) -> Events:
    """In an order that a file's sources might give them."""
    return [(0, event) for _, event in sorted(events, key=lambda item: item[0])]


def most_held(world: World, seats: list[FusionSeat], until_ms: int) -> tuple[int, int]:
    """The most windows that waited at a seat until then, and the most bytes that its aligner held."""
    waiting = held = 0
    while world.clock.now_ns() < until_ms * MS:
        world.run(world.clock.now_ns() + 10 * MS)
        waiting = max(waiting, *(len(seat.core.waiting) for seat in seats))
        held = max(held, *(seat.core.buffered_bytes() for seat in seats))
    return waiting, held


def test_under_tenfold_overload_queues_stay_small_the_oldest_are_shed_and_it_recovers_within_two_seconds(world: World) -> None:
    backend = Costly(world.clock)
    names = ["a", "b", "c", "d"]
    seats = [world.add(name, plan(backend, speed=1), both_streams(12), EdgePolicy()) for name in names]
    _, usual_bytes = most_held(world, seats, 3000)
    assert all(seat.core.counts["overload"] == 0 for seat in seats)
    backend.cost_ms = 250  # four sessions want forty windows a second
    waiting, most_bytes = most_held(world, seats, 7000)
    assert waiting <= 12  # a second of blocking, and what the deadline allows
    assert most_bytes <= 4 * usual_bytes
    assert all(seat.core.counts["overload"] > 20 for seat in seats)
    told_of = [line for line in world.lines["a"] if line.endswith(" decisions dropped: overload")]
    assert sum(int(line.split()[0]) for line in told_of) <= seats[0].core.counts["overload"]
    assert 0 < len(told_of) <= 25  # one line a report, not one a window
    backend.cost_ms = 0
    world.run(20_000 * MS)
    for name, seat in zip(names, seats, strict=True):
        decided = [decision["window"] for decision in world.decisions[name]]
        assert decided == sorted(set(decided))
        assert len(decided) + seat.core.counts["skipped"] == 120
        assert set(range(90, 120)) <= set(decided)  # two seconds after it was over
        assert any(30 <= window < 70 for window in decided)


@given(
    costs=st.lists(st.sampled_from([0, 1, 7, 30, 80, 200]), min_size=4, max_size=4),
    deadlines=st.lists(st.sampled_from([40, 150, 600]), min_size=1, max_size=5),
)
@settings(max_examples=40, deadline=None)
def test_whatever_it_costs_nobody_starves_and_every_window_is_decided_or_counted_in_order(costs: list[int], deadlines: list[int]) -> None:
    world = World()
    try:
        backend = Costly(world.clock)
        aligns = [{"mode": "deadline", "deadline_ns": deadline_ms * MS} for deadline_ms in deadlines]
        seats = [
            world.add(str(number), plan(backend, speed=1, align=align), both_streams(6), EdgePolicy())
            for number, align in enumerate(aligns)
        ]
        for second, cost_ms in enumerate(costs):
            backend.cost_ms = cost_ms
            world.run((second + 1) * 1000 * MS)
        backend.cost_ms = 0
        world.run(8000 * MS)
        for seat in seats:
            decided = [decision["window"] for decision in world.decisions[seat.name]]
            assert decided == sorted(set(decided))
            assert len(decided) + seat.core.counts["skipped"] == 60
            for second in range(6):
                assert any(second * 10 <= window < second * 10 + 10 for window in decided)
    finally:
        world.close()


def test_a_session_at_full_speed_takes_only_what_live_ones_leave(world: World) -> None:
    backend = Costly(world.clock)
    live = world.add("live", plan(backend, speed=1), both_streams(4))
    world.add("fast", plan(backend), at_once(both_streams(400)))
    backend.cost_ms = 20
    world.run(4500 * MS)
    assert len(world.decisions["live"]) == 40
    assert live.core.counts["missed_deadlines"] == live.core.counts["overload"] == 0
    late_ns = [decision["latency_ns"]["total"] for decision in world.decisions["live"]]
    assert max(late_ns) <= 45 * MS  # its own 20, and one that had begun
    assert len(world.decisions["fast"]) > 100


def test_two_sessions_at_full_speed_get_equal_shares(world: World) -> None:
    backend = Costly(world.clock)
    for name in ("one", "other"):
        world.add(name, plan(backend), at_once(both_streams(400)))
    backend.cost_ms = 20
    world.run(4000 * MS)
    one, other = len(world.decisions["one"]), len(world.decisions["other"])
    assert one + other > 150
    assert abs(one - other) <= 2
