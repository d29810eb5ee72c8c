"""What Resample, Segment and LogMel have in common: chunks, restarts, gaps, promises and NaN."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from soundstreams import MS, block, cuts, events, noise, packets, same, samples_of, through

from operators.audio import Denoise, LogMel, Resample, Segment
from operators.errors import ContractError
from operators.packet import Closed, Dropped, Frame, Packet, Watermark

RATE = 16_000
BLOCKWISE = [Segment, LogMel, Denoise]
EVERY = [Resample, *BLOCKWISE]


@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("make", [Segment, LogMel])
@given(where=cuts(5000), restart=st.booleans(), start=st.integers(0, 100 * MS))
def test_blocks_do_not_depend_on_chunks_or_restarts(make, where, restart, start):
    # A whole sample, so that the stamps of all chunks agree.
    start = start // 62_500 * 62_500
    sound = noise(5000)
    whole = packets(through(make, events(sound, RATE, start_ns=start)))
    assert whole
    assert same(packets(through(make, events(sound, RATE, where, start), restart=restart)), whole)


@settings(max_examples=25, deadline=None)
@given(cuts(4000), st.sampled_from([8000, 11_025, 44_100, 48_000]))
def test_resampled_sound_does_not_depend_on_chunks(where, rate):
    sound = noise(4000)
    whole, cut = (samples_of(through(Resample, events(sound, rate, edges))) for edges in ((), where))
    assert whole.size == -(-4000 * RATE // rate)
    np.testing.assert_array_equal(cut, whole)


@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("make", EVERY)
@given(cuts(4000), st.sampled_from([8000, 16_000, 48_000]))
def test_a_restart_before_any_event_changes_nothing(make, where, rate):
    def operator():
        return LogMel(fmax=3800.0) if make is LogMel else make()

    stream = events(noise(4000), rate, where)
    assert same(through(operator, stream, restart=True), through(operator, stream))


@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("make", EVERY)
@given(st.lists(st.tuples(st.integers(1, 900), st.integers(0, 30)), max_size=12))
def test_nothing_starts_before_a_promise_that_came_out(make, pieces):
    at_ns, stream = 0, []
    for seq, (length, gap_ms) in enumerate(pieces):
        packet = block(noise(length, seq), 48_000, at_ns, seq)
        at_ns = packet.end_ns + gap_ms * MS
        stream += [packet, Watermark(stream="mic", time_ns=at_ns)]
    promised = -1
    for event in through(make, [*stream, Closed(stream="mic", time_ns=at_ns)]):
        if isinstance(event, Watermark):
            assert event.time_ns >= promised
            promised = event.time_ns
        elif isinstance(event, Packet):
            assert event.start_ns >= promised


@pytest.mark.parametrize("make", EVERY)
def test_a_close_comes_out_last_also_without_any_sound(make):
    assert through(make, [Closed(stream="mic", time_ns=7)]) == [Closed(stream="mic", time_ns=7)]


@pytest.mark.parametrize("make", EVERY)
def test_an_empty_block_is_no_error_and_no_sound(make):
    out = through(make, [block(np.zeros((1, 0)), RATE), Closed(stream="mic", time_ns=0)])
    assert not sum(packet.payload.data.size for packet in packets(out))


@pytest.mark.parametrize("make", EVERY)
def test_a_picture_is_not_sound(make):
    picture = Packet(stream="mic", seq=0, start_ns=0, end_ns=1, payload=Frame(data=np.zeros((2, 2), np.uint8)))
    with pytest.raises(ContractError, match=r"AudioBlock.* got Frame"):
        through(make, [picture])


@pytest.mark.parametrize("make", BLOCKWISE)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_block_with_a_sample_that_is_no_number_is_counted_and_goes_no_further(make, bad):
    sound = noise(10 * 640)
    sound[1000] = bad
    out = through(make, events(sound, RATE))
    assert [event.reason for event in out if isinstance(event, Dropped)] == ["not_finite"]
    assert all(np.isfinite(packet.payload.data).all() for packet in packets(out))


def test_resample_drops_a_packet_with_nan_and_starts_afresh():
    sound = noise(3 * 960)
    sound[1500] = np.nan
    out = through(Resample, events(sound, 48_000, [960, 1920]))
    assert Dropped(stream="mic", reason="not_finite", start_ns=20 * MS) in out
    assert np.isfinite(samples_of(out)).all()
    assert packets(out)[1].start_ns == 40 * MS


def test_a_tone_keeps_its_place_and_height_in_another_rate():
    def tone(rate):
        return np.sin(2 * np.pi * 440 * np.arange(rate // 2) / rate)

    middle = slice(400, -400)
    out = samples_of(through(Resample, events(tone(48_000), 48_000)))
    np.testing.assert_allclose(out[middle], tone(RATE)[middle], atol=1e-3)


def test_a_tone_above_the_new_nyquist_is_gone():
    tone = np.sin(2 * np.pi * 12_000 * np.arange(24_000) / 48_000)
    assert np.abs(samples_of(through(Resample, events(tone, 48_000)))[400:-400]).max() < 1e-3


def test_what_fits_passes_untouched():
    packet = block(noise(100), RATE)
    assert through(Resample, [packet]) == [packet]


def test_blocks_lie_on_the_grid_of_session_time_and_a_part_is_counted():
    out = through(Segment, events(noise(2000), RATE, start_ns=10 * MS))  # 10 .. 135 ms
    assert [(p.seq, p.start_ns // MS, p.end_ns // MS) for p in packets(out)] == [(1, 40, 80), (2, 80, 120)]
    assert [(d.reason, d.start_ns // MS) for d in out if isinstance(d, Dropped)] == [("partial_block", 0), ("partial_block", 120)]


def test_a_block_sent_twice_is_counted_as_overlap():
    once = block(noise(640), RATE)
    assert Dropped(stream="mic", reason="overlap", start_ns=0) in through(Segment, [once, once])


def test_log_mel_is_the_same_after_a_gap_as_at_a_start():
    sound, other = noise(640), noise(640, 1)
    alone = through(LogMel, [block(sound, RATE)])
    after = through(LogMel, [block(other, RATE), block(sound, RATE, 400 * MS, 1)])
    np.testing.assert_array_equal(packets(after)[1].payload.data, packets(alone)[0].payload.data)


def test_log_mel_hears_the_tone_in_its_band_and_silence_nowhere():
    tone = np.sin(2 * np.pi * 1000 * np.arange(1280) / RATE)
    heard = packets(through(LogMel, events(tone, RATE)))[1].payload.data
    assert (heard.shape, heard.dtype) == ((4, 40), np.float32)
    # 1000 mel of 112 .. 2787, 41 steps of 65: band 13 or 14, counted from 0.
    assert set(heard.argmax(axis=1)) <= {12, 13, 14}
    assert np.unique(packets(through(LogMel, events(np.zeros(640), RATE)))[0].payload.data).tolist() == pytest.approx([np.log(1e-6)])
