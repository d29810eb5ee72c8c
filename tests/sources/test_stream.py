"""The clock of a sender with several streams, and what a URL must be."""

import pytest

from operators.errors import ContractError
from pipeline.media.sender import SenderClock
from pipeline.sources.stream import Stream

MS = 1_000_000


def test_before_the_sender_tells_its_wall_clock_stamps_are_taken_as_they_are():
    clock = SenderClock(["video", "audio"])
    assert clock.quality == "device"
    assert not clock.told("video", 100 * MS, 5_000 * MS)
    assert clock.device_ns("audio", 7 * MS) == 7 * MS


def test_when_both_streams_have_told_it_the_second_is_moved_beside_the_first():
    clock = SenderClock(["video", "audio"])
    clock.told("video", 100 * MS, 5_000 * MS)
    assert clock.told("audio", 100 * MS, 5_030 * MS)
    assert clock.quality == "ntp"
    assert clock.device_ns("video", 200 * MS) == 200 * MS
    assert clock.device_ns("audio", 170 * MS) == 200 * MS


def test_the_jitter_of_reports_moves_nothing():
    clock = SenderClock(["video", "audio"])
    clock.told("video", 0, 5_000 * MS)
    clock.told("audio", 0, 5_030 * MS)
    assert not clock.told("audio", 1000 * MS, 6_030 * MS + 900_000)
    assert clock.device_ns("audio", 0) == 30 * MS
    assert clock.told("audio", 2000 * MS, 7_032 * MS)


def test_a_single_stream_is_its_own_clock():
    clock = SenderClock(["video"])
    assert not clock.told("video", 0, 5_000 * MS)
    assert (clock.quality, clock.device_ns("video", 3)) == ("ntp", 3)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "concat:a|b", "/dev/video0", "rtsp:", "", "ftp://x/y", "gopher://me:hunter2@x"])
def test_only_streams_of_the_network_are_taken(url):
    with pytest.raises(ContractError, match="rtsp://") as caught:
        Stream(url=url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"delay_ms": -1}, {"stall_ms": 10}])
def test_options_that_cannot_be_are_refused(wrong):
    with pytest.raises(ContractError):
        Stream(url="rtsp://cam/1", **wrong)


def test_what_messages_call_it_has_no_secret():
    assert Stream(url="rtsp://me:hunter2@cam/1?token=abc").label == "stream rtsp://***@cam/1?token=***"
