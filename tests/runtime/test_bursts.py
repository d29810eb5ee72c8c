"""Reading ahead in bursts: the same events in the same order, and no more asked for than a burst needs."""

import pytest

from operators.packet import Watermark
from pipeline.runtime.bursts import in_bursts


def timed(*dues):
    return [(due, Watermark(stream="video", time_ns=due)) for due in dues]


@pytest.mark.parametrize("dues", [(), (0,), (0, 0, 0), (0, 4, 10, 11, 19, 30), tuple(range(100))])
@pytest.mark.parametrize("span", [1, 10, 1000])
def test_the_events_are_the_same_whatever_the_span(dues, span):
    assert list(in_bursts(iter(timed(*dues)), span)) == timed(*dues)


def test_a_burst_is_read_when_its_first_event_is_asked_for_and_ends_with_the_first_that_is_due_a_span_later():
    read = []

    def source():
        for event in timed(0, 5, 10, 12, 20):
            read.append(event[0])
            yield event

    events = in_bursts(source(), 10)
    assert read == []
    next(events)
    assert read == [0, 5, 10]
    assert [next(events), next(events)] == timed(5, 10)
    assert read == [0, 5, 10]
    next(events)
    assert read == [0, 5, 10, 12, 20]


def test_what_reading_raises_comes_after_what_was_read_before_it():
    def source():
        yield from timed(0, 5)
        raise OSError("the disk is gone")

    events, seen = in_bursts(source(), 10), []
    with pytest.raises(OSError, match="the disk is gone"):
        seen.extend(events)
    for_each = in_bursts(source(), 10)
    assert [next(for_each), next(for_each)] == timed(0, 5)
    with pytest.raises(OSError, match="gone"):
        next(for_each)
