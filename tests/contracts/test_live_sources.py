"""What every live source must keep to, see `pipeline.ports.LiveSource`: whatever its device does. Its device here is tests/livebeat.py's."""

import importlib
import inspect
import itertools
import pkgutil
from typing import get_args

import pytest

import pipeline.sources
from operators.packet import Closed, Packet, Watermark
from pipeline.clock import SystemClock
from pipeline.ports import Kind, StreamState, Wanted
from pipeline.runtime.pace import Pace

METHODS = ("look", "open", "begin", "events", "health", "news", "end_ns", "close")
MS = 1_000_000


def found_sources():
    for info in pkgutil.iter_modules(pipeline.sources.__path__, "pipeline.sources."):
        for name, value in vars(importlib.import_module(info.name)).items():
            if (
                inspect.isclass(value)
                and value.__module__ == info.name
                and not name.startswith("_")
                and getattr(value, "live", False) is True
            ):
                yield name, value


SOURCES = dict(found_sources())


@pytest.fixture(params=sorted(SOURCES))
def source(request, make_live):
    made = make_live(request.param)
    yield made
    made.close()


@pytest.fixture
def control(tmp_path):
    return tmp_path / "control"


def begin(source, wanted=None):
    """(pace, events) of a session that has just begun."""
    specs = source.open(wanted or {})
    clock = SystemClock()
    pace = Pace(clock=clock, epoch_ns=clock.now_ns())
    source.begin(pace.now_ns)
    return specs, pace, source.events()


def take(events, until_ns, pace):
    """(when it was given, due_ns, event) until the session is so old."""
    taken = []
    for due_ns, event in events:
        taken.append((pace.now_ns(), due_ns, event))
        if pace.now_ns() >= until_ns:
            break
    return taken


def test_the_live_sources_are_found():
    assert {"Browser", "Camera", "Microphone", "Mqtt", "Post", "Stdin", "Stream", "Tail", "WebSocket"} <= set(SOURCES)


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_live_source_has_all_that_the_runner_asks_of_it(name):
    assert all(callable(getattr(SOURCES[name], method, None)) for method in METHODS)


def test_opening_waits_for_no_device_and_names_the_streams(source):
    before_ns = SystemClock().now_ns()
    specs = source.open({})
    assert SystemClock().now_ns() - before_ns < 500 * MS
    assert specs
    assert all(spec.kind in get_args(Kind) for spec in specs)
    assert source.end_ns() is None


def test_while_the_device_is_away_promises_follow_the_clock_and_something_is_said_every_100_ms(source, control):
    control.write_text("gone")
    specs, pace, events = begin(source)
    taken = take(events, 600 * MS, pace)
    given = [when for when, _, _ in taken]
    assert max(b - a for a, b in itertools.pairwise(given)) < 150 * MS
    for spec in specs:
        promised = [event.time_ns for _, _, event in taken if isinstance(event, Watermark) and event.stream == spec.name]
        assert promised == sorted(promised)
        assert promised[-1] > 400 * MS
        assert source.health()[spec.name].state == "connecting"


def test_packets_keep_their_promises_and_their_order(source):
    _, pace, events = begin(source)
    taken = take(events, 800 * MS, pace)
    due = [due_ns for _, due_ns, _ in taken]
    assert due == sorted(due)
    promised, seqs = {}, {}
    for when, _, event in taken:
        if isinstance(event, Packet):
            assert event.start_ns >= promised.get(event.stream, 0)
            assert 0 <= when - event.start_ns < 500 * MS
            assert event.seq > seqs.get(event.stream, -1)
            seqs[event.stream] = event.seq
        elif isinstance(event, Watermark):
            assert event.time_ns >= promised.get(event.stream, 0)
            promised[event.stream] = event.time_ns
    assert seqs
    health = source.health()
    assert {health[stream].state for stream in seqs} == {"live"}
    assert {health[stream].quality for stream in seqs} <= {"device", "arrival"}


def test_a_device_that_goes_away_is_lost_and_found_again_with_a_line_for_each(source, control):
    _, pace, events = begin(source)
    take(events, 300 * MS, pace)
    control.write_text("gone")
    take(events, 700 * MS, pace)
    states = {health.state for health in source.health().values()}
    assert "lost" in states
    control.write_text("")
    take(events, 2500 * MS, pace)
    states = {health.state for health in source.health().values()}
    assert "live" in states
    news = source.news()
    assert any(": connected" in line for line in news)
    assert any(": lost: " in line for line in news)
    assert not any("hunter2" in line for line in news)
    assert source.news() == []


def test_states_are_words_that_status_knows(source, control):
    _, pace, events = begin(source)
    take(events, 100 * MS, pace)
    assert all(health.state in get_args(StreamState) for health in source.health().values())


def test_only_wanted_streams_are_delivered(source):
    name = source.open({})[-1].name
    specs, pace, events = begin(source, {name: Wanted()})
    assert [spec.name for spec in specs] == [name]
    assert {event.stream for _, _, event in take(events, 300 * MS, pace)} == {name}


def test_a_restart_gives_nothing_of_before_and_no_number_again(source):
    _, pace, events = begin(source)
    before = {event.seq for _, _, event in take(events, 300 * MS, pace) if isinstance(event, Packet)}
    from_ns = pace.now_ns()
    after = [event for _, _, event in take(source.events(from_ns), 800 * MS, pace) if isinstance(event, Packet)]
    assert after
    assert all(packet.start_ns >= from_ns for packet in after)
    assert not before & {packet.seq for packet in after}


def test_stopping_closes_every_stream(source):
    specs, pace, events = begin(source)
    take(events, 200 * MS, pace)
    source.stop()
    closed = [event for _, event in events if isinstance(event, Closed)]
    assert {close.stream for close in closed} == {spec.name for spec in specs}
    assert {health.state for health in source.health().values()} == {"closed"}


def test_close_may_be_called_at_any_time_and_twice(source):
    source.close()
    _, _, events = begin(source)
    next(events)
    source.close()
    source.close()
    assert list(events) == []
