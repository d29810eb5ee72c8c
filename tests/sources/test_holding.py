"""What the way itself holds back of pictures and sound."""

from types import SimpleNamespace

import pytest

from pipeline.media.holding import Holding


def of(form, codec, *, alone=True):
    return Holding(form, SimpleNamespace(codec_context=SimpleNamespace(name=codec)), alone=alone)


def held(holding, *came):
    return [holding.picture(each) for each in came]


@pytest.mark.parametrize(("form", "codec"), [("rtsp", "h264"), ("rtp", "hevc"), ("sdp", "mpeg4")])
def test_a_picture_began_to_arrive_when_the_one_before_was_given_out(form, codec):
    assert held(of(form, codec), 100, 140, 190) == [0, 40, 50]


def test_in_mpeg_ts_it_began_when_the_one_before_that_was():
    assert held(of("mpegts", "h264"), 100, 140, 190, 220) == [0, 0, 90, 80]


@pytest.mark.parametrize(("form", "codec"), [("rtsp", "mjpeg"), ("flv", "h264"), ("matroska,webm", "h264"), ("mpjpeg", "mjpeg")])
def test_where_packets_are_whole_pictures_none_waits(form, codec):
    assert held(of(form, codec), 100, 140, 190) == [0, 0, 0]


def test_aac_is_two_blocks_behind_what_is_heard_and_other_sound_is_not():
    assert of("mpegts", "aac").sound(21) == 42
    assert of("mpegts", "mp2").sound(24) == 0


def test_beside_pictures_of_the_same_clock_what_they_wait_for_is_enough():
    assert of("rtsp", "aac", alone=False).sound(21) == 0
    assert held(of("rtsp", "h264", alone=False), 100, 140) == [0, 40]
