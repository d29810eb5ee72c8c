"""A stamp that is burned in is read back exactly, or not at all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.stamps import MARK_NS, UNIT_NS, burn, burned_ns, burned_units, find_marks, mark_ns, marks

DAY_NS = 86_400_000_000_000


@given(st.integers(0, 30 * DAY_NS), st.sampled_from([(360, 640), (480, 640, 3), (180, 320)]))
def test_a_picture_says_when_it_was_made_to_a_tenth_of_a_millisecond(time_ns, shape):
    picture = np.full(shape, 80, np.uint8)
    burn(picture, time_ns)
    assert burned_ns(burned_units(picture), time_ns + 2 * DAY_NS) == time_ns // UNIT_NS * UNIT_NS


def test_a_picture_whose_stamp_was_painted_over_says_nothing():
    picture = np.full((360, 640), 80, np.uint8)
    assert burned_units(picture) is None
    burn(picture, 1 << 40)
    picture[:48, 100:120] = 128
    assert burned_units(picture) is None


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
@pytest.mark.parametrize("ppm", [0, 200])
def test_marks_are_found_within_20_microseconds_in_noise(rate_hz, ppm):
    begun_ns, sample_ns = 3 * DAY_NS + 123_456_789, 1e9 / (rate_hz * (1 + ppm * 1e-6))
    sound = marks(np.arange(5 * rate_hz) * sample_ns, begun_ns)
    sound += 0.02 * np.random.default_rng(1).standard_normal(len(sound)).astype(np.float32)
    heard = [(begun_ns + at * sample_ns, index) for at, index in find_marks(sound, rate_hz)]
    made = [mark_ns(index, round(at_ns) + 700_000_000) for at_ns, index in heard]
    first = made[0] // MARK_NS
    assert len(made) >= 49
    assert made == [(first + k) * MARK_NS for k in range(len(made))]
    assert max(abs(at_ns - made_ns) for (at_ns, _), made_ns in zip(heard, made, strict=True)) < 20_000


def test_in_silence_and_in_noise_there_are_no_marks():
    assert find_marks(np.zeros(48_000, np.float32), 48_000) == []
    assert find_marks(0.1 * np.random.default_rng(2).standard_normal(48_000).astype(np.float32), 48_000) == []
