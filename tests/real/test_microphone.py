"""A microphone through PortAudio, ALSA and a sound server that plays what is known."""

import signal
import threading
import time
from itertools import pairwise

import numpy as np
import pytest
from waiting import until

sounddevice = pytest.importorskip("sounddevice", reason="missing part: sounddevice and PortAudio", exc_type=(ImportError, OSError))
pytestmark = pytest.mark.real
MICROPHONE = "pipeline.sources.microphone:Microphone"
RATE = 48_000


@pytest.fixture
def tone(sound):
    """A tone of 0.3 that the microphone hears for as long as the test lasts, whatever becomes of the server."""
    stop = threading.Event()
    block = (0.3 * 32767 * np.sin(2 * np.pi * 1000 * np.arange(RATE // 10) / RATE)).astype("<i2").tobytes()

    def play():
        while not stop.is_set():
            player = sound.speaker()
            try:
                while not stop.is_set():
                    player.stdin.write(block)
            except (OSError, ValueError):
                time.sleep(0.1)

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    yield
    stop.set()


def loud(source, since=0):
    return [row for row in source.packets("audio", since) if row["peak"] > 0.2]


def test_samples_are_those_that_were_played_and_stamps_are_steady(watch, sound):
    source = watch(MICROPHONE, {"device": "vmic", "rate_hz": RATE}, sound.env)
    source.wait_packets("audio", 30)
    player, half = sound.speaker(latency_ms=1000), np.zeros(RATE // 2, "<i2")
    half[:480] = 20_000  # a click each 500 ms, as the player's samples count them
    threading.Thread(target=player.stdin.write, args=(half.tobytes() * 20,), daemon=True).start()
    until(lambda: len(onsets(source)) >= 18, 25, "18 clicks")
    rows = source.packets("audio")
    gaps = np.diff([onset for onset in onsets(source) if onset > rows[0]["start_ms"] + 4000])
    steady = [row for row in rows if row["start_ms"] > rows[0]["start_ms"] + 4000]
    print(f"steps of 500 ms: {gaps.round(2).tolist()}")
    assert max(row["peak"] for row in rows) == pytest.approx(20_000 / 32_768, abs=0.02)
    assert len(gaps) >= 8
    assert np.median(np.abs(gaps - 500)) < 0.5
    assert np.median([b["start_ms"] - a["end_ms"] for a, b in pairwise(steady)]) == 0
    assert steady[0]["quality"] == "device"


def onsets(source):
    rows = source.packets("audio")
    return [row["onset_ms"] for before, row in pairwise(rows) if row["onset_ms"] and not before["onset_ms"]]


def test_the_stamp_of_a_click_is_near_the_moment_at_which_it_was_made(watch, sound):
    source = watch(MICROPHONE, {"device": "vmic", "rate_hz": RATE}, sound.env)
    source.wait_packets("audio", 30)
    player, begun, written = sound.speaker(latency_ms=10), time.monotonic_ns(), []
    for step in range(300):  # in steps of 10 ms, so that it is heard at once: unless this machine is too busy to write in time
        time.sleep(max(0, begun + step * 10_000_000 - time.monotonic_ns()) / 1e9)
        written += [source.now_ms()] if step % 50 == 0 else []
        player.stdin.write(np.full(480, 20_000 if step % 50 == 0 else 0, "<i2").tobytes())
        player.stdin.flush()
    until(lambda: len(onsets(source)) >= 5, 5, "5 clicks")
    nearest = [min(onsets(source), key=lambda onset: abs(onset - at)) - at for at in written]
    print(f"written to stamp, ms: {np.round(nearest, 1).tolist()}")
    assert np.min(np.abs(nearest)) < 60


def test_silence_is_muted_and_not_dead(watch, sound):
    source = watch(MICROPHONE, {"device": "vmic"}, sound.env)
    source.wait_state("audio", "muted", 10)
    assert source.packets("audio")


def test_a_server_that_is_killed_is_lost_at_once_and_found_when_it_is_back(watch, sound, tone):
    source = watch(MICROPHONE, {"device": "vmic"}, sound.env)
    until(lambda: len(loud(source)) > 20, 10, "sound")
    since, last_ms = len(source.rows), source.now_ms()
    sound.signal(signal.SIGKILL)
    sound.process.wait()
    source.wait_state("audio", "lost", 3)
    assert source.when("audio", "lost", since) - last_ms < 2000
    sound.start()
    back_ms, since = source.now_ms(), len(source.rows)
    until(lambda: len(loud(source, since)) > 20, 15, f"sound again {source.states('audio')} {source.errors[-2:]}")
    assert source.packets("audio", since)[0]["at_ms"] - back_ms < 5000
    starts = [row["start_ms"] for row in source.packets("audio")]
    assert starts == sorted(starts)


def test_a_server_that_is_frozen_for_5_s_is_seen_in_2_s_and_back_in_5(watch, sound, tone):
    source = watch(MICROPHONE, {"device": "vmic"}, sound.env)
    until(lambda: len(loud(source)) > 20, 10, "sound")
    since, last_ms = len(source.rows), source.now_ms()
    sound.signal(signal.SIGSTOP)
    try:
        source.wait_state("audio", "stalled", 4)
        assert source.when("audio", "stalled", since) - last_ms < 2100
        time.sleep(max(0, 5 - (source.now_ms() - last_ms) / 1000))
    finally:
        sound.signal(signal.SIGCONT)
    back_ms, since = source.now_ms(), len(source.rows)
    until(lambda: len(loud(source, since)) > 20, 15, f"sound again {source.states('audio')} {source.errors[-2:]}")
    assert loud(source, since)[0]["at_ms"] - back_ms < 5000


def test_a_microphone_that_is_unplugged_is_noticed_and_found_again(watch, sound, tone):
    source = watch(MICROPHONE, {"device": "vmic"}, sound.env)
    until(lambda: len(loud(source)) > 20, 10, "sound")
    since, last_ms = len(source.rows), source.now_ms()
    sound.control("unload-module", "module-null-sink")
    until(lambda: source.state("audio") != "live", 5, "noticed")
    noticed_ms = next(row["at_ms"] for row in source.rows[since:] if "health" in row)
    assert noticed_ms - last_ms < 2100
    sound.control("load-module", "module-null-sink", "sink_name=vspk", "rate=48000", "channels=1", "norewinds=1")
    sound.control("load-module", "module-remap-source", "source_name=vmic", "master=vspk.monitor")
    back_ms, since = source.now_ms(), len(source.rows)
    until(lambda: len(loud(source, since)) > 20, 15, f"sound again {source.states('audio')} {source.errors[-2:]}")
    assert loud(source, since)[0]["at_ms"] - back_ms < 5000


def test_a_name_that_is_no_microphone_is_said_with_what_there_is(watch, sound):
    source = watch(MICROPHONE, {"device": "nothing like it"}, sound.env)
    until(lambda: any("news" in row for row in source.rows), 10, "a word about it")
    news = next(row["news"] for row in source.rows if "news" in row)
    assert news.startswith("microphone nothing like it: connecting: no such microphone; there are ")
    assert "vmic" in news
