"""Sound against mouths: a drawn mouth that opens as a noise becomes loud, one of them moved."""

import numpy as np
import pytest

from operators.avoffset import AvOffset, AvOffsetMeter, NoOffset, darkness
from operators.errors import ContractError
from operators.packet import AudioBlock, Dropped, Frame, Packet

MS = 1_000_000
RATE = 16_000


def loudness(seed, seconds):
    """Syllables of random length and strength, and pauses, at 100 Hz."""
    lot, out = np.random.default_rng(seed), []
    while len(out) < seconds * 100:
        length = int(lot.integers(12, 35))
        out += [*(np.hanning(length) * lot.uniform(0.3, 1.0)), *([0.0] * int(lot.choice([0, 5, 60], p=[0.5, 0.4, 0.1])))]
    return np.array(out[: int(seconds * 100)])


def mouths(curve, frame_ms=40):
    lot = np.random.default_rng(0)
    for seq, at in enumerate(range(0, curve.size * 10, frame_ms)):
        picture = np.full((48, 48), 150.0)
        picture[16:32, 10:38] -= 100 * curve[at // 10]
        data = np.clip(picture + lot.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)
        start_ns = (at + 1000) * MS
        yield Packet(stream="v", seq=seq, start_ns=start_ns, end_ns=start_ns + frame_ms * MS, payload=Frame(data=data))


def sound(curve, shift_ms=0, level=0.3):
    lot = np.random.default_rng(1)
    data = (lot.normal(0, level, curve.size * 160) * np.repeat(curve, 160) + lot.normal(0, 0.001, curve.size * 160)).astype(np.float32)
    for seq in range(data.size // 320):
        start_ns = (seq * 20 + 1000 + shift_ms) * MS
        block = AudioBlock(data=data[None, seq * 320 : (seq + 1) * 320], rate_hz=RATE)
        yield Packet(stream="a", seq=seq, start_ns=start_ns, end_ns=start_ns + 20 * MS, payload=block)


def measured(*streams, **options):
    meter = AvOffsetMeter(video="v", audio="a", **options)
    for stream in streams:
        for event in stream:
            meter.process(event)
    return meter.measure()


@pytest.mark.parametrize("shift_ms", [-300, -84, 0, 40, 200])
def test_a_known_offset_is_found_to_the_tenth_of_a_frame_or_so(shift_ms):
    curve = loudness(3, 20)
    found = measured(mouths(curve), sound(curve, shift_ms))
    assert isinstance(found, AvOffset)
    assert found.audio_ms == pytest.approx(shift_ms, abs=12)


def test_the_order_across_streams_does_not_matter():
    curve = loudness(3, 12)
    assert measured(mouths(curve), sound(curve, 84)) == measured(sound(curve, 84), mouths(curve))


def test_it_is_said_as_a_person_would():
    offset = AvOffset(audio_ms=-84.2, spread_ms=6.6, correlation=0.5, voiced_s=10)
    assert str(offset) == "the microphone leads by 84 ms (give or take 7 ms)"
    assert "lags by 40 ms" in str(AvOffset(audio_ms=40, spread_ms=5, correlation=0.5, voiced_s=10))


def test_a_voice_of_somebody_else_is_no_offset():
    for seed in range(10, 20):
        assert measured(mouths(loudness(seed, 20)), sound(loudness(seed + 50, 20))) == NoOffset(why="unclear")


def test_a_silent_room_a_missing_face_and_a_dead_microphone_are_told_apart():
    curve = loudness(3, 20)
    assert measured(mouths(curve), sound(curve * 0)) == NoOffset(why="no_voice")
    assert measured(sound(curve)) == NoOffset(why="no_face")
    assert measured(mouths(curve)) == NoOffset(why="no_sound")
    absent = [Dropped(stream="v", reason="no_face", count=501)]
    assert measured(mouths(curve), absent, sound(curve)) == NoOffset(why="no_face")


def test_only_the_last_window_counts_and_memory_is_bounded():
    curve = loudness(3, 60)
    meter = AvOffsetMeter(video="v", audio="a", window_s=10)
    for event in [*mouths(curve), *sound(curve, 84)]:
        meter.process(event)
    assert len(meter._dark) <= 12 * 25 + 1
    assert len(meter._loud) <= 12 * 100 + 1
    assert meter.measure().audio_ms == pytest.approx(84, abs=15)


def test_light_that_changes_over_the_whole_face_opens_no_mouth():
    bright, dim = (Frame(data=np.full((48, 48), level, np.uint8)) for level in (200, 100))
    assert darkness(Packet(stream="v", seq=0, start_ns=0, end_ns=1, payload=bright)) == 0.0
    assert darkness(Packet(stream="v", seq=0, start_ns=0, end_ns=1, payload=dim)) == 0.0


def test_colour_pictures_and_odd_options_are_refused():
    with pytest.raises(ContractError, match="grey pictures"):
        darkness(Packet(stream="v", seq=0, start_ns=0, end_ns=1, payload=Frame(data=np.zeros((4, 4, 3), np.uint8))))
    with pytest.raises(ContractError, match="window_s"):
        AvOffsetMeter(video="v", audio="a", window_s=1)
