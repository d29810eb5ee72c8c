"""What every source that has an end must keep to, see `pipeline.ports.Source`. A new class in pipeline/sources is found and run through it.

Live sources have their own: test_live_sources.py.
"""

import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import pipeline.sources
from operators.packet import AudioBlock, Closed, Dropped, Frame, Packet, Series, TextSpan, Watermark
from pipeline.ports import Wanted

METHODS = ("open", "events", "end_ns", "close")
PAYLOAD = {"video": Frame, "audio": AudioBlock, "text": TextSpan, "series": Series}


def is_live(value):
    """Those deliver in their own time; see test_live_sources, test_text_feeds and tests/real."""
    return getattr(value, "live", False) is True


def found_sources():
    for info in pkgutil.iter_modules(pipeline.sources.__path__, "pipeline.sources."):
        for name, value in vars(importlib.import_module(info.name)).items():
            own = inspect.isclass(value) and value.__module__ == info.name and not name.startswith("_") and not is_live(value)
            if own and all(callable(getattr(value, method, None)) for method in METHODS):
                yield name


SOURCES = sorted(found_sources())


@pytest.fixture(params=SOURCES)
def source(request, make_source):
    made = make_source(request.param)
    yield made
    made.close()


@pytest.fixture
def opened(source):
    return source, {spec.name: spec for spec in source.open({})}


def key(timed):
    due_ns, event = timed
    if isinstance(event, Packet):
        data = event.payload.text if isinstance(event.payload, TextSpan) else numbers(event.payload).tobytes()
        return due_ns, event.stream, event.seq, event.start_ns, event.end_ns, data
    return due_ns, event


def numbers(payload):
    return payload.values if isinstance(payload, Series) else payload.data


def test_the_sources_are_found():
    assert {"MediaFile", "Playlist", "Scene", "Faulty", "TableRows"} <= set(SOURCES)


def test_events_come_in_order_of_when_they_are_due(opened):
    source, _ = opened
    due = [due_ns for due_ns, _ in source.events()]
    assert due == sorted(due)
    assert due[0] >= 0


def test_no_packet_starts_before_a_promise_of_its_stream(opened):
    source, _ = opened
    promised = {}
    packets = 0
    for _, event in source.events():
        if isinstance(event, Packet):
            packets += 1
            assert event.start_ns >= promised.get(event.stream, 0)
        elif isinstance(event, Watermark):
            promised[event.stream] = max(event.time_ns, promised.get(event.stream, 0))
    assert packets > 20


def test_promises_never_go_back(opened):
    source, _ = opened
    promised = {}
    for _, event in source.events():
        if isinstance(event, Watermark):
            assert event.time_ns >= promised.get(event.stream, 0)
            promised[event.stream] = event.time_ns


def test_every_stream_is_closed_once_and_nothing_follows(opened):
    source, specs = opened
    closed = {}
    for _, event in source.events():
        assert event.stream not in closed
        if isinstance(event, Closed):
            closed[event.stream] = event.time_ns
    assert closed.keys() == specs.keys()


def test_numbers_rise_and_are_never_given_twice(opened):
    source, _ = opened
    seqs = {}
    for _, event in source.events():
        if isinstance(event, Packet):
            seqs.setdefault(event.stream, []).append(event.seq)
    for stream, numbers in seqs.items():
        assert len(set(numbers)) == len(numbers)
        if not (type(source).__name__ == "Faulty" and stream == "video"):  # whose packets overtake each other on purpose
            assert numbers == sorted(numbers)


def test_payloads_are_of_the_kind_that_open_named(opened):
    source, specs = opened
    for _, event in source.events():
        assert event.stream in specs
        if isinstance(event, Packet):
            assert isinstance(event.payload, PAYLOAD[specs[event.stream].kind])


def test_a_quiet_text_stream_promises_at_least_every_100_ms(opened):
    source, specs = opened
    if type(source).__name__ == "Faulty" or "text" not in specs:
        pytest.skip("its text is delayed on purpose, or it has none")
    promised = [event.time_ns for _, event in source.events() if isinstance(event, Watermark) and event.stream == "text"]
    assert max(np.diff([0, *promised])) <= 100_000_000


def test_a_second_reading_is_like_the_first(opened):
    source, _ = opened
    assert [key(timed) for timed in source.events()] == [key(timed) for timed in source.events()]


def test_a_restart_goes_on_from_there(opened):
    source, specs = opened
    whole = [event for _, event in source.events() if isinstance(event, Packet)]
    from_ns = 600_000_000
    before = {(packet.stream, packet.seq) for packet in whole if packet.start_ns < from_ns}
    due, rest, closed = [], [], set()
    for due_ns, event in source.events(from_ns):
        due.append(due_ns)
        rest += [event] if isinstance(event, Packet) else []
        closed |= {event.stream} if isinstance(event, Closed) else set()
    assert due == sorted(due)
    assert closed == specs.keys()
    assert not before & {(packet.stream, packet.seq) for packet in rest}
    allowed = from_ns if type(source).__name__ != "Faulty" else 0.9 * from_ns
    assert rest
    assert all(packet.start_ns >= allowed for packet in rest)


def test_a_restart_after_the_end_only_closes(opened):
    source, specs = opened
    events = [event for _, event in source.events(3_600_000_000_000)]
    assert {event.stream for event in events if isinstance(event, Closed)} == specs.keys()
    assert not any(isinstance(event, Packet) for event in events)


def test_what_is_wanted_of_a_picture_is_given(source):
    if type(source).__name__ == "TableRows":
        pytest.skip("it has no pictures")
    source.open({"video": Wanted(pixels="gray", max_width=40)})
    shapes = {event.payload.data.shape for _, event in source.events() if isinstance(event, Packet)}
    assert len(shapes) == 1
    assert shapes.pop() == (30, 40)


def test_only_wanted_streams_are_read(source):
    specs = source.open({"audio": Wanted()})
    assert [spec.name for spec in specs] == ["audio"]
    assert {event.stream for _, event in source.events()} == {"audio"}


def test_the_end_is_told_before_it_comes(opened):
    source, _ = opened
    told = source.end_ns()
    assert told is not None
    assert abs(told - max(event.time_ns for _, event in source.events() if isinstance(event, Closed))) < 100_000_000


def test_close_may_be_called_at_any_time_and_twice(opened):
    source, _ = opened
    events = source.events()
    next(events)
    source.close()
    source.close()
    assert list(events) == []


def test_closing_a_source_that_was_never_opened_is_nothing(source):
    source.close()


def test_losses_are_counted(opened):
    source, _ = opened
    seqs, lost = {}, {}
    for _, event in source.events():
        if isinstance(event, Packet):
            seqs.setdefault(event.stream, set()).add(event.seq)
        elif isinstance(event, Dropped):
            lost[event.stream] = lost.get(event.stream, 0) + event.count
    for stream, numbers in seqs.items():
        assert len(numbers) + lost.get(stream, 0) >= max(numbers) - min(numbers) + 1
