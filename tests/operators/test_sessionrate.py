"""Sound on session time.

device    blocks of a clock that is a little fast, stamped by session time
session   sample k is the sound at k / rate
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from soundstreams import MS, block, noise, packets, same, samples_of, through

from operators.audio import SessionRate
from operators.clockmap import ClockMap, ClockRules
from operators.errors import ContractError
from operators.packet import Closed, Dropped, Frame, Packet, Watermark
from operators.sample_clock import time_of

RATE = 16_000
S = 1_000_000_000


def device(sound, ppm, seconds, *, size=320, jitter_ns=0, rate=RATE):
    """Blocks of a microphone that is ppm fast; sound(t): what is heard at t seconds. Stamps are session time."""
    lot = np.random.default_rng(1)
    period_s = 1 / (rate * (1 + ppm * 1e-6))
    for seq in range(int(seconds / (size * period_s))):
        first = seq * size
        start_ns = round(first * period_s * S + (lot.normal(0, jitter_ns) if jitter_ns else 0))
        samples = sound((first + np.arange(size)) * period_s).astype(np.float32)
        packet = block(samples, rate, max(0, start_ns), seq)
        yield packet
        yield Watermark(stream="mic", time_ns=packet.start_ns)


def tone(hz):
    return lambda t: 0.5 * np.sin(2 * np.pi * hz * t)


def distortion_db(samples, first, hz, rate=RATE):
    """Power of what is not the tone at session time, against the tone."""
    wanted = 0.5 * np.sin(2 * np.pi * hz * (first + np.arange(samples.size)) / rate)
    return 10 * np.log10(np.mean((samples - wanted) ** 2) / np.mean(wanted**2))


def residue_db(samples, hz, rate=RATE):
    """Power of what no tone of that frequency, at any phase, explains: harmonics, images, clicks."""
    t = np.arange(samples.size) / rate
    basis = np.stack([np.sin(2 * np.pi * hz * t), np.cos(2 * np.pi * hz * t)], axis=1)
    rest = samples - basis @ np.linalg.lstsq(basis, samples, rcond=None)[0]
    return 10 * np.log10(np.mean(rest**2) / np.mean(samples**2))


def worst_residue_db(samples, hz, rate=RATE):
    """The same for the worst 50 ms: a phase that wanders by some microseconds a second is no distortion, a step of it is."""
    size = rate // 20
    return max(residue_db(samples[at : at + size], hz) for at in range(0, samples.size - size, size))


@pytest.mark.parametrize("ppm", [-500, -200, 0, 50, 200, 500])
def test_a_sine_stays_that_sine_at_session_time(ppm):
    out = samples_of(through(SessionRate, [*device(tone(1000), ppm, 12)]))
    settled = 10 * RATE
    assert distortion_db(out[settled:], settled, 1000) < -80


def test_the_pitch_does_not_jump_where_stamps_jitter():
    out = samples_of(through(SessionRate, [*device(tone(1000), 200, 40, jitter_ns=0.1 * MS)]))
    assert worst_residue_db(out[20 * RATE :], 1000) < -60
    assert np.abs(np.diff(out[20 * RATE :])).max() < 0.5 * 2 * np.pi * 1000 / RATE * 1.01  # no click is steeper than the tone


def test_high_tones_make_no_images():
    out = samples_of(through(SessionRate, [*device(tone(6000), 300, 12)]))
    assert residue_db(out[10 * RATE : 11 * RATE], 6000) < -70


def test_after_a_clock_map_a_tone_is_where_it_was_heard():
    """200 ppm fast, stamped by count, arrivals late by 11 ms and a tail: the whole way from device to session time."""
    lot, clock, operator, out = np.random.default_rng(3), ClockMap(ClockRules(delay_ns=11 * MS)), SessionRate(), []
    for event in device(tone(1000), 200, 90):
        if isinstance(event, Packet):
            counted_ns = time_of(event.seq * 320, RATE)
            clock.update(counted_ns, event.end_ns + 11 * MS + round(lot.gamma(2, 1.06) * MS) - 20 * MS)
            start_ns = clock.to_session_ns(counted_ns)
            out += operator.process(block(event.payload.data, RATE, start_ns, event.seq))
    samples = samples_of(out)
    last = samples[-RATE:]
    assert worst_residue_db(last, 1000) < -60
    first = round(packets(out)[0].start_ns * RATE / S) + samples.size - RATE
    phase = np.angle(np.sum(last * np.exp(-2j * np.pi * 1000 * (first + np.arange(RATE)) / RATE)) * 1j)
    assert abs(phase / (2 * np.pi * 1000)) < 0.3e-3


def test_the_drift_that_was_found_is_told():
    operator = SessionRate()
    for event in device(tone(440), 200, 20):
        list(operator.process(event))
    assert operator.drift_ppm == pytest.approx(200, abs=2)


def test_chopping_would_click_and_this_does_not():
    """The peer: a sample left out whenever the count is one ahead."""
    chopped = np.concatenate([p.payload.data[0] for p in device(tone(1000), 200, 2) if isinstance(p, Packet)])
    chopped = np.delete(chopped, np.arange(2500, chopped.size, 5000))
    made = samples_of(through(SessionRate, [*device(tone(1000), 200, 12)]))
    assert residue_db(chopped[:RATE], 1000) > -30
    assert residue_db(made[10 * RATE : 11 * RATE], 1000) < -80


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 700), st.integers(0, 30)), max_size=12), st.integers(0, 50 * MS))
def test_every_sample_lies_on_the_sessions_own_grid(pieces, start_ns):
    at_ns, stream = start_ns, []
    for seq, (length, gap_ms) in enumerate(pieces):
        packet = block(noise(length, seq), RATE, at_ns, seq)
        at_ns = packet.end_ns + gap_ms * MS
        stream += [packet, Watermark(stream="mic", time_ns=at_ns)]
    promised = end_ns = 0
    for event in through(SessionRate, [*stream, Closed(stream="mic", time_ns=at_ns)]):
        if isinstance(event, Watermark):
            assert event.time_ns >= promised
            promised = event.time_ns
        elif isinstance(event, Packet):
            first = round(event.start_ns * RATE / S)
            assert event.start_ns == time_of(first, RATE)
            assert event.end_ns == time_of(first + event.payload.data.shape[1], RATE)
            assert event.start_ns >= max(promised, end_ns)
            end_ns = event.end_ns


def test_what_comes_out_is_as_long_as_what_went_in():
    stream = [*device(tone(300), 0, 2), Closed(stream="mic", time_ns=2 * S)]
    assert abs(samples_of(through(SessionRate, stream)).size - 2 * RATE) <= 1


def test_a_gap_is_a_gap_and_sound_after_it_is_in_its_place():
    before = block(np.full(3200, 0.25), RATE, 0, 0)
    after = block(np.full(3200, -0.25), RATE, 500 * MS, 1)
    out = packets(through(SessionRate, [before, after, Closed(stream="mic", time_ns=700 * MS)]))
    assert [(p.start_ns // MS, p.end_ns // MS) for p in (out[0], out[-1])] == [(0, 198), (698, 700)]
    assert {p.start_ns for p in out if p.start_ns >= 200 * MS} >= {500 * MS}
    assert not any(200 * MS <= p.start_ns < 500 * MS for p in out)


def test_sound_that_was_there_before_is_dropped_and_counted():
    first, again = block(noise(3200), RATE, 0, 0), block(noise(320), RATE, 100 * MS, 1)
    assert Dropped(stream="mic", reason="overlap", start_ns=100 * MS) in through(SessionRate, [first, again])


def test_nan_is_dropped_and_counted():
    assert through(SessionRate, [block([0.0, np.nan], RATE)]) == [Dropped(stream="mic", reason="not_finite", start_ns=0)]


def test_two_channels_stay_two():
    sound = np.stack([np.full(3200, 0.5), np.full(3200, -0.5)])
    [out] = packets(through(SessionRate, [block(sound, RATE)]))
    assert out.payload.data.shape[0] == 2
    np.testing.assert_allclose(out.payload.data[:, 200:-200], sound[:, 200 : out.payload.data.shape[1] - 200], atol=1e-3)


def test_a_restart_before_any_event_changes_nothing():
    stream = [*device(tone(700), 150, 1), Closed(stream="mic", time_ns=S)]
    assert same(through(SessionRate, stream, restart=True), through(SessionRate, stream))


def test_a_picture_is_refused():
    frame = Packet(stream="mic", seq=0, start_ns=0, end_ns=1, payload=Frame(data=np.zeros((2, 2), np.uint8)))
    with pytest.raises(ContractError, match="wants AudioBlock"):
        through(SessionRate, [frame])
