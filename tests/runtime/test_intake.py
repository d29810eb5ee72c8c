"""From a source's streams to the model's inputs: one stream to several, each with its own offset."""

from fakeplan import text

from operators.packet import Closed, Dropped, Packet, Watermark
from pipeline.ports import StreamSpec, Wanted
from pipeline.runtime.intake import Intake, shifted

MS = 1_000_000


class Chat:
    live = False

    def open(self, wanted):
        self.wanted = wanted
        return [StreamSpec(name="chat", kind="text")]

    def events(self, from_ns=0):
        yield 0, text("chat", 0, 10)
        yield 30 * MS, text("chat", 1, 30)
        yield 30 * MS, Watermark(stream="chat", time_ns=40 * MS)
        yield 50 * MS, Closed(stream="chat", time_ns=50 * MS)

    def end_ns(self):
        return 50 * MS

    def close(self):
        pass


class TwoInputs:
    """`early` and `late` are both fed by the one stream."""

    def __init__(self, **offsets_ms):
        self.offsets_ms = offsets_ms
        self.source = Chat()

    def make_source(self, name):
        return self.source

    def source_inputs(self, name):
        return {"early": "chat", "late": "chat", "other": "absent"}

    def offset_ns(self, name):
        return self.offsets_ms.get(name, 0) * MS

    def wanted(self, name):
        return {"chat": Wanted()}

    def make_transforms(self, name):
        return []


def events_of(plan):
    intake = Intake(plan, "me")
    specs = intake.open()
    return specs, intake, [event for _, event in intake.events()]


def of(events, name, kind):
    return [event for event in events if event.stream == name and isinstance(event, kind)]


def test_a_stream_goes_to_every_input_that_it_feeds():
    specs, _, events = events_of(TwoInputs())
    assert specs.keys() == {"early", "late"}
    for name in specs:
        assert [packet.start_ns // MS for packet in of(events, name, Packet)] == [10, 30]
        assert [close.time_ns // MS for close in of(events, name, Closed)] == [50]
    assert [close.time_ns for close in of(events, "other", Closed)] == [0]


def test_an_offset_moves_packets_promises_and_the_end_of_its_input_alone():
    _, _, events = events_of(TwoInputs(late=84))
    assert [packet.start_ns // MS for packet in of(events, "early", Packet)] == [10, 30]
    assert [packet.start_ns // MS for packet in of(events, "late", Packet)] == [94, 114]
    assert [mark.time_ns // MS for mark in of(events, "late", Watermark)] == [124]
    assert [close.time_ns // MS for close in of(events, "late", Closed)] == [134]


def test_what_would_start_before_the_session_is_dropped_and_counted():
    _, intake, events = events_of(TwoInputs(early=-20))
    assert [packet.start_ns // MS for packet in of(events, "early", Packet)] == [10]
    assert intake.dropped["early"] == {"before_start": 1}
    assert [mark.time_ns // MS for mark in of(events, "early", Watermark)] == [20]


def test_nothing_is_promised_before_the_session():
    assert shifted(Watermark(stream="a", time_ns=5), -10) == Watermark(stream="a", time_ns=0)
    lost = Dropped(stream="a", reason="late", start_ns=5)
    assert shifted(lost, -10) is lost


def test_a_source_that_can_be_sent_to_tells_its_doors_and_others_have_none():
    plan = TwoInputs()
    assert Intake(plan, "me").doors() == {}
    plan.source.doors = lambda: {"text": "http://127.0.0.1:1/text"}
    assert Intake(plan, "me").doors() == {"text": "http://127.0.0.1:1/text"}
