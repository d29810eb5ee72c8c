"""What the way itself holds back of pictures and sound."""

from types import SimpleNamespace

import pytest

from pipeline.media.holding import Holding

MS = 1_000_000


def of(form, codec, *, alone=True):
    return Holding(form, SimpleNamespace(codec_context=SimpleNamespace(name=codec)), alone=alone)


def after(holding, *stamps_ms):
    return [holding.picture(stamp * MS) for stamp in stamps_ms][-1]


@pytest.mark.parametrize(
    ("form", "codec", "pictures"),
    [
        ("mpegts", "h264", 2),
        ("mpegts", "hevc", 2),
        ("rtsp", "h264", 1),
        ("rtsp", "mjpeg", 0),
        ("flv", "h264", 0),
        ("matroska,webm", "h264", 0),
        ("mpjpeg", "mjpeg", 0),
    ],
)
def test_a_picture_waits_for_those_behind_it_where_packets_are_not_pictures(form, codec, pictures):
    assert after(of(form, codec), 0, 40, 80) == pictures * 40 * MS


def test_before_there_are_two_pictures_the_usual_distance_stands_for_theirs():
    assert after(of("rtsp", "h264"), 7) == 33_333_333


def test_one_late_picture_changes_nothing_and_a_new_rate_is_learnt():
    holding = of("rtsp", "h264")
    assert after(holding, 0, 40, 80, 220, 260, 300) == 40 * MS
    assert after(holding, *range(320, 640, 20)) == 20 * MS


def test_a_pause_or_a_jump_back_is_not_a_distance():
    holding = of("rtsp", "h264")
    assert after(holding, 0, 5000, 3000, 3040) == 40 * MS


def test_aac_is_two_blocks_behind_what_is_heard_and_other_sound_is_not():
    assert of("mpegts", "aac").sound(21 * MS) == 42 * MS
    assert of("mpegts", "mp2").sound(24 * MS) == 0
    assert of("mpegts", "aac").picture(0) == 0


def test_beside_pictures_of_the_same_clock_what_they_wait_for_is_enough():
    assert of("rtsp", "aac", alone=False).sound(21 * MS) == 0
    assert after(of("rtsp", "h264", alone=False), 0, 40, 80) == 40 * MS
