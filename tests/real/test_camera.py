"""A camera through Video4Linux: real libraries over a device that is faked below them."""

import numpy as np
import pytest
from waiting import until

pytestmark = pytest.mark.real
CAMERA = "pipeline.sources.camera:Camera"


@pytest.mark.parametrize("reader", ["opencv", "v4l2"])
def test_pictures_are_stamped_when_they_were_taken(watch, camera, reader):
    source = watch(CAMERA, {"device": "fake", "width": 640, "height": 360, "reader": reader}, camera.env)
    source.wait_packets("video", 90)
    pictures = source.packets("video")
    off = np.array([row["off_ms"] for row in pictures])
    steps = np.diff([row["start_ms"] for row in pictures])
    assert {row["quality"] for row in pictures} == {"device"}
    assert np.percentile(np.abs(off), 95) <= 2  # the truth is in whole milliseconds
    assert abs(np.median(steps) - 100 / 3) < 1
    assert pictures[0]["shape"] == [360, 640, 3]
    assert source.health("video")["detail"].startswith("640x360 ")
    assert "30 fps" in source.health("video")["detail"]


@pytest.mark.parametrize("reader", ["opencv", "v4l2"])
def test_a_camera_that_hangs_is_seen_in_2_s_and_back_in_5_s_after_it_is(watch, camera, reader):
    source = watch(CAMERA, {"device": 0, "reader": reader}, camera.env)
    source.wait_packets("video", 20)
    last_ms, since = source.packets("video")[-1]["at_ms"], len(source.rows)
    camera.be("stall")
    source.wait_state("video", "stalled", 5)
    assert source.when("video", "stalled", since) - last_ms < 2100
    if reader == "v4l2":  # a read that nothing can interrupt: the process goes
        source.wait_state("video", "connecting", 5)
    back_ms, since = source.now_ms(), len(source.rows)
    camera.be("")
    source.wait_packets("video", 20)
    assert source.packets("video", since)[0]["at_ms"] - back_ms < 5000
    assert any(row.get("ended") == 3 for row in source.rows) == (reader == "v4l2")


@pytest.mark.parametrize("reader", ["opencv", "v4l2"])
def test_a_camera_that_is_unplugged_is_lost_at_once_and_comes_back(watch, camera, reader):
    source = watch(CAMERA, {"device": "Fake Camera", "reader": reader}, camera.env)
    source.wait_packets("video", 20)
    since, last_ms = len(source.rows), source.now_ms()
    camera.be("unplug")
    source.wait_state("video", "lost", 3)
    assert source.when("video", "lost", since) - last_ms < 2000
    back_ms, since = source.now_ms(), len(source.rows)
    camera.be("")
    source.wait_packets("video", 20)
    assert source.packets("video", since)[0]["at_ms"] - back_ms < 5000
    starts = [row["start_ms"] for row in source.packets("video")]
    assert starts == sorted(starts)


def test_a_camera_that_is_not_there_is_said_once_and_waited_for(watch, camera):
    camera.be("unplug")
    source = watch(CAMERA, {"device": 0}, camera.env)
    until(lambda: any("news" in row for row in source.rows), 5, "a word about it")
    camera.be("")
    source.wait_packets("video", 5)
    news = [row["news"] for row in source.rows if "news" in row]
    assert news[0] == "camera 0: connecting: no such camera; this machine has none that may be used; trying again"
    assert len(news) == 2
