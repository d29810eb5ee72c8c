"""A microphone through PortAudio, ALSA and a sound server that plays what is known."""

import signal
import threading
import time

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
    player, begun = sound.speaker(), time.monotonic_ns()
    written, beep = [], np.zeros(RATE // 2, np.int16)
    beep[:480] = 20_000
    for number in range(20):  # a click each 500 ms, written in steps of 10 ms so that it is heard soon
        for step in range(50):
            due = begun + (number * 50 + step) * 10_000_000
            time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
            if step == 0:
                written.append(source.now_ms())
            player.stdin.write(beep[step * 480 : step * 480 + 480].tobytes())
            player.stdin.flush()
    rows = source.packets("audio")
    onsets = [row["onset_ms"] for row, before in zip(rows[1:], rows, strict=False) if row["onset_ms"] and not before["onset_ms"]]
    assert len(onsets) == pytest.approx(20, abs=1)
    assert max(row["peak"] for row in rows) == pytest.approx(20_000 / 32_768, abs=0.02)
    gaps = np.diff([onset for onset in onsets if onset > written[0] + 3000])
    delay = np.array(onsets[-15:]) - written[-15:]
    print(f"steps of 500 ms: {gaps.round(2).tolist()}; written to stamp, ms: median {np.median(delay):.1f}, sd {delay.std():.2f}")
    assert np.median(np.abs(gaps - 500)) < 0.5  # a writer that is held up shifts one of them
    assert -10 < np.median(delay) < 60
    assert all(row["start_ms"] == before["end_ms"] for row, before in zip(rows[1:], rows, strict=False))


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
