"""What an aligner refuses, and that refusing changes nothing."""

import pytest

from operators.align import Aligner
from operators.errors import ContractError
from operators.packet import Closed, Packet, TextSpan, Tick, Watermark
from operators.window import AlignConfig, AlignedWindow, StreamRule

CONFIG = AlignConfig(streams=(StreamRule(stream="cam"), StreamRule(stream="mic")), length_ns=100, hop_ns=100)


def packet(stream, start_ns):
    return Packet(stream=stream, seq=start_ns, start_ns=start_ns, end_ns=start_ns + 50, payload=TextSpan(text=""))


@pytest.mark.parametrize("event", [packet("lidar", 0), Watermark(stream="lidar", time_ns=100), Closed(stream="lidar", time_ns=100)])
def test_an_event_of_a_stream_that_the_aligner_does_not_have_is_refused_and_changes_nothing(event):
    aligner = Aligner(CONFIG)
    list(aligner.process(packet("cam", 0)))
    before = aligner.snapshot()
    with pytest.raises(ContractError, match=r"of stream 'lidar', but this aligner has \['cam', 'mic'\]"):
        aligner.process(event)
    assert aligner.snapshot() == before


def test_what_is_no_event_is_refused_by_its_type():
    class Rumour:
        stream = "cam"

    with pytest.raises(ContractError, match="takes Packet, Watermark, Closed and Tick, got Rumour"):
        Aligner(CONFIG).process(Rumour())


@pytest.mark.parametrize("other", [{"length_ns": 200}, {"hop_ns": 50}, {"start_ns": 1}, {"streams": CONFIG.streams[:1]}])
def test_a_snapshot_of_other_windows_is_refused_and_changes_nothing(other):
    given = {"streams": CONFIG.streams, "length_ns": 100, "hop_ns": 100} | other
    aligner = Aligner(CONFIG)
    list(aligner.process(packet("mic", 10)))
    before = aligner.snapshot()
    with pytest.raises(ContractError, match="does not fit"):
        aligner.restore(Aligner(AlignConfig(**given)).snapshot())
    assert aligner.snapshot() == before


def test_a_tick_means_nothing_in_the_waiting_mode():
    aligner = Aligner(CONFIG)
    assert list(aligner.process(Tick(now_ns=10**9))) == []
    assert aligner.next_deadline_ns() is None


def test_a_snapshot_owns_its_containers():
    aligner = Aligner(CONFIG)
    list(aligner.process(packet("cam", 0)))
    taken = aligner.snapshot()
    for event in (packet("cam", 50), packet("mic", 0), Closed(stream="cam", time_ns=100), Closed(stream="mic", time_ns=100)):
        list(aligner.process(event))
    again = Aligner(CONFIG)
    again.restore(taken)
    assert {name: counts.buffered for name, counts in again.counts().items()} == {"cam": 1, "mic": 0}
    [window] = [
        out for event in (Watermark(stream="mic", time_ns=100), Watermark(stream="cam", time_ns=100)) for out in again.process(event)
    ]
    assert isinstance(window, AlignedWindow)
    assert [one.start_ns for one in window.slots["cam"].packets] == [0]


def test_an_aligner_restored_after_the_end_knows_that_it_ended():
    config = AlignConfig(streams=CONFIG.streams, length_ns=100, hop_ns=100, mode="deadline", deadline_ns=50)
    ended, again = Aligner(config), Aligner(config)
    for event in (packet("cam", 0), Closed(stream="cam", time_ns=100), Closed(stream="mic", time_ns=100)):
        list(ended.process(event))
    assert ended.next_deadline_ns() is None
    again.restore(ended.snapshot())
    assert again.next_deadline_ns() is None
    assert list(again.process(Tick(now_ns=10**9))) == []
