import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from soundstreams import MS, block, cuts, events, noise, packets, same, samples_of, through

from operators.denoise import Denoise, NoiseFloor
from operators.errors import ContractError
from operators.packet import Closed, Dropped, Watermark

RATE = 16_000
BLOCK = 256  # 16 ms


def voice(length):
    """Syllables of 0.3 s with pauses of 0.2 s: a buzz of 140 Hz and its harmonics."""
    time = np.arange(length) / RATE
    buzz = sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 12))
    return (0.1 * buzz * (time % 0.5 < 0.3) * np.sin(np.pi * (time % 0.5) / 0.3).clip(0)).astype(np.float32)


def snr_db(clean, sound):
    return 10 * np.log10((clean**2).sum() / ((sound - clean) ** 2).sum())


@pytest.mark.parametrize("noise_db", [0, 10])
def test_a_voice_in_white_noise_comes_out_cleaner(noise_db):
    clean = voice(6 * RATE)
    hiss = np.random.default_rng(0).normal(0, 1, clean.size) * np.sqrt((clean**2).mean()) * 10 ** (-noise_db / 20)
    out = samples_of(through(Denoise, events(clean + hiss, RATE)))
    late = slice(2 * RATE, None)  # the floor is known by then
    assert snr_db(clean[late], out[late]) > snr_db(clean[late], (clean + hiss)[late]) + 5


def test_the_sound_stays_where_it_was():
    clean = voice(187 * BLOCK)
    out = samples_of(through(Denoise, events(clean, RATE)))
    assert out.size == clean.size
    lags = range(-40, 41)
    assert max(lags, key=lambda lag: np.dot(out[100:-100], np.roll(clean, lag)[100:-100])) == 0


def test_with_no_reduction_the_sound_is_what_it_was():
    sound = noise(2048)
    np.testing.assert_allclose(samples_of(through(lambda: Denoise(floor_db=0.0), events(sound, RATE))), sound, atol=1e-6)


def test_the_floor_of_white_noise_is_its_power_within_a_decibel():
    floor, window = NoiseFloor(257, 16), np.sin(np.pi * (np.arange(512) + 0.5) / 512)
    hiss = np.random.default_rng(1).normal(0, 1, 12 * RATE)
    followed = [floor.follow(np.abs(np.fft.rfft(hiss[i : i + 512] * window)) ** 2) for i in range(0, hiss.size - 512, 256)]
    assert abs(10 * np.log10(np.mean(followed[120:]) / (window**2).sum())) < 1


def test_the_floor_follows_noise_that_falls_at_once_and_that_rises_after_the_search():
    floor = NoiseFloor(1, 16)
    level = [float(floor.follow(np.array([power]))[0]) for power in [4.0] * 200 + [1.0] * 200 + [4.0] * 200]
    assert level[220] < 0.5 * level[199]
    assert level[410] == pytest.approx(level[399])
    assert level[599] == pytest.approx(level[199])


@settings(max_examples=25, deadline=None)
@given(cuts(8 * BLOCK + 100), st.booleans())
def test_any_chunks_and_any_restarts_give_the_same_blocks(where, restart):
    sound = noise(8 * BLOCK + 100)
    whole = packets(through(Denoise, events(sound, RATE)))
    assert same(packets(through(Denoise, events(sound, RATE, where), restart=restart)), whole)


def test_it_is_one_block_late_and_says_so():
    operator, sound = Denoise(), noise(2 * BLOCK)
    first, second = block(sound[:BLOCK], RATE), block(sound[BLOCK:], RATE, 16 * MS, 1)
    assert through(lambda: operator, [first, Watermark(stream="mic", time_ns=16 * MS)]) == [Watermark(stream="mic", time_ns=0)]
    out = through(lambda: operator, [second, Watermark(stream="mic", time_ns=32 * MS)])
    assert [(p.seq, p.start_ns, p.end_ns) for p in packets(out)] == [(0, 0, 16 * MS)]
    assert out[-1] == Watermark(stream="mic", time_ns=16 * MS)
    out = through(lambda: operator, [Closed(stream="mic", time_ns=32 * MS)])
    assert [(p.seq, p.start_ns) for p in packets(out)] == [(1, 16 * MS)]
    assert out[-1] == Closed(stream="mic", time_ns=32 * MS)


def test_a_promise_beyond_the_next_block_releases_the_one_that_is_held():
    out = through(Denoise, [block(noise(BLOCK), RATE), Watermark(stream="mic", time_ns=160 * MS)])
    assert [p.start_ns for p in packets(out)] == [0]
    assert out[-1] == Watermark(stream="mic", time_ns=160 * MS)


def test_nothing_of_the_sound_after_a_gap_is_heard_before_it():
    loud, silent = np.full(2 * BLOCK, 0.5), np.zeros(2 * BLOCK)
    out = through(
        lambda: Denoise(floor_db=0.0), [block(silent, RATE), block(loud, RATE, 320 * MS, 1), Closed(stream="mic", time_ns=352 * MS)]
    )
    assert [p.start_ns // MS for p in packets(out)] == [0, 16, 320, 336]
    assert not np.concatenate([p.payload.data for p in packets(out)[:2]]).any()
    np.testing.assert_allclose(samples_of(packets(out)[2:]), loud, atol=1e-6)


def test_a_hole_inside_a_block_is_counted_and_its_neighbours_are_whole():
    sound = noise(8 * BLOCK)
    early, late = block(sound[: 2 * BLOCK + 50], RATE), block(sound[3 * BLOCK :], RATE, 48 * MS, 1)
    out = through(lambda: Denoise(floor_db=0.0), [early, late, Closed(stream="mic", time_ns=128 * MS)])
    assert [event for event in out if isinstance(event, Dropped)] == [Dropped(stream="mic", reason="partial_block", start_ns=32 * MS)]
    kept = np.concatenate([sound[: 2 * BLOCK], sound[3 * BLOCK :]])
    np.testing.assert_allclose(samples_of(out), kept, atol=1e-6)


def test_nan_costs_its_own_block_and_no_other():
    sound = noise(6 * BLOCK)
    sound[3 * BLOCK + 7] = np.nan
    out = through(Denoise, events(sound, RATE))
    assert [event.reason for event in out if isinstance(event, Dropped)] == ["not_finite"]
    assert [p.seq for p in packets(out)] == [0, 1, 2, 4, 5]
    assert np.isfinite(samples_of(out)).all()


def test_silence_stays_silence():
    assert not samples_of(through(Denoise, events(np.zeros(20 * BLOCK), RATE))).any()


def test_channels_are_averaged():
    out = through(
        lambda: Denoise(floor_db=0.0), [block([np.full(BLOCK, 0.2), np.full(BLOCK, 0.4)], RATE), Closed(stream="mic", time_ns=16 * MS)]
    )
    np.testing.assert_allclose(samples_of(out), np.full(BLOCK, 0.3), atol=1e-6)


def test_another_rate_starts_afresh():
    out = through(Denoise, [block(noise(BLOCK), RATE), block(noise(128), 8000, 16 * MS, 1), Closed(stream="mic", time_ns=32 * MS)])
    assert [(p.start_ns // MS, p.payload.rate_hz, p.payload.data.shape) for p in packets(out)] == [
        (0, 16_000, (1, 256)),
        (16, 8000, (1, 128)),
    ]


def test_a_rate_without_whole_samples_in_a_block_is_refused():
    with pytest.raises(ContractError, match="whole samples in 16 ms, got 11025 Hz"):
        through(Denoise, events(noise(1000), 11_025))


@pytest.mark.parametrize("wrong", [{"block_ms": 3}, {"block_ms": 101}, {"floor_db": -1.0}])
def test_figures_that_cannot_be_are_refused(wrong):
    with pytest.raises(ContractError, match="Denoise wants"):
        Denoise(**wrong)
