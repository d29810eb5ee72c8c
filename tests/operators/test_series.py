import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.errors import ContractError
from operators.packet import Dropped, Packet, Series, TextSpan, Watermark
from operators.series import Finite, Select, Standardise, interpolate

NAN = float("nan")
VALUES = st.floats(-1e6, 1e6)


def reading(start, *values, seq=0):
    return Packet(stream="imu", seq=seq, start_ns=start, end_ns=start + 1, payload=Series(values=np.array(values, np.float64)))


def between(before, after, time_ns):
    return interpolate(before, after, time_ns).payload.values.tolist()


def through(operator, *events):
    return [out for event in events for out in operator.process(event)]


def values_of(events):
    return [event.payload.values.tolist() if isinstance(event, Packet) else event.reason for event in events]


def test_a_quarter_of_the_way_is_a_quarter_of_the_change():
    assert between(reading(100, 1.0, -4.0), reading(200, 5.0, 0.0), 125) == [2.0, -3.0]


def test_the_blend_is_an_instant_at_the_time_asked_for():
    blend = interpolate(reading(100, 1.0, seq=7), reading(200, 5.0, seq=8), 130)
    assert (blend.stream, blend.seq, blend.start_ns, blend.end_ns) == ("imu", 7, 130, 130)


@given(VALUES, VALUES, st.integers(0, 100), st.integers(1, 10**12))
def test_it_stays_between_the_readings_and_is_exact_at_the_ends(old, new, percent, length):
    pair = reading(0, old), reading(length, new)
    [value] = between(*pair, length * percent // 100)
    assert min(old, new) - 1e-6 <= value <= max(old, new) + 1e-6
    assert [between(*pair, 0), between(*pair, length)] == [[old], [new]]


def test_two_readings_of_one_instant_give_the_first():
    assert between(reading(5, 1.0), reading(5, 9.0), 5) == [1.0]


def test_a_nan_channel_is_nan_in_between_and_leaves_the_others_alone():
    pair = reading(0, NAN, 2.0), reading(10, 1.0, 4.0)
    np.testing.assert_array_equal(between(*pair, 5), [NAN, 3.0])
    assert between(*pair, 10) == [1.0, 4.0]


def test_another_number_of_channels_cannot_be_blended():
    with pytest.raises(ContractError, match="imu: 1 channels at 0 but 2 at 10"):
        interpolate(reading(0, 1.0), reading(10, 1.0, 2.0), 5)


@pytest.mark.parametrize("time_ns", [-1, 11])
def test_a_time_outside_the_readings_is_refused(time_ns):
    with pytest.raises(ContractError, match="does not lie between"):
        interpolate(reading(0, 1.0), reading(10, 1.0), time_ns)


@pytest.mark.parametrize("operator", [Select(channels=[0]), Finite(), Standardise()])
def test_text_is_not_a_series(operator):
    with pytest.raises(ContractError, match="Series wanted, got TextSpan"):
        through(operator, Packet(stream="imu", seq=0, start_ns=0, end_ns=1, payload=TextSpan(text="12.5")))


def test_select_gives_channels_in_the_order_asked_for():
    assert values_of(through(Select(channels=[2, 0, 0]), reading(0, 1.0, 2.0, 3.0))) == [[3.0, 1.0, 1.0]]


@pytest.mark.parametrize("channels", [[], [-1]])
def test_select_refuses_channels_that_cannot_be(channels):
    with pytest.raises(ContractError, match="channel numbers >= 0"):
        Select(channels=channels)


def test_select_says_which_channel_the_sensor_lacks():
    with pytest.raises(ContractError, match="imu has 2 channels, from 0 on, but Select wants number 2"):
        through(Select(channels=[2]), reading(0, 1.0, 2.0))


def test_a_reading_that_is_not_finite_is_dropped_and_counted():
    out = through(Finite(), reading(0, 1.0), reading(1, NAN), reading(2, float("inf")), reading(3, 4.0))
    assert values_of(out) == [[1.0], "not_finite", "not_finite", [4.0]]
    assert out[1] == Dropped(stream="imu", reason="not_finite", start_ns=1)


def test_a_lost_channel_is_held_for_hold_ms_and_no_longer():
    ms, finite = 1_000_000, Finite(hold_ms=20)
    out = through(finite, reading(0, 1.0, 5.0), reading(20 * ms, NAN, 6.0), reading(21 * ms, NAN, 7.0), reading(22 * ms, 2.0, NAN))
    assert values_of(out) == [[1.0, 5.0], [1.0, 6.0], "not_finite", [2.0, 7.0]]
    assert finite.filled == 2


def test_a_channel_that_never_was_finite_is_not_made_up():
    assert values_of(through(Finite(hold_ms=1000), reading(0, NAN))) == ["not_finite"]


def test_another_number_of_channels_forgets_what_was_held():
    assert values_of(through(Finite(hold_ms=1000), reading(0, 1.0), reading(1, NAN, 2.0))) == [[1.0], "not_finite"]


def test_what_is_held_survives_a_restart():
    first, second = Finite(hold_ms=1), Finite(hold_ms=1)
    through(first, reading(0, 3.0))
    second.restore(first.snapshot())
    assert values_of(through(second, reading(1, NAN))) == [[3.0]]


def test_standardise_is_channel_by_channel():
    out = through(Standardise(mean=[1.0, 10.0], sd=[2.0, 5.0]), reading(0, 5.0, 0.0), Watermark(stream="imu", time_ns=1))
    assert values_of(out[:1]) == [[2.0, -2.0]]
    assert out[1] == Watermark(stream="imu", time_ns=1)


def test_one_mean_serves_all_channels_and_nan_stays_nan():
    [out] = through(Standardise(mean=1.0), reading(0, 5.0, NAN))
    np.testing.assert_array_equal(out.payload.values, [4.0, NAN])


@pytest.mark.parametrize("wrong", [{"sd": 0.0}, {"sd": [1.0, -1.0]}, {"mean": NAN}, {"mean": [[1.0]]}])
def test_standardise_refuses_figures_that_cannot_be(wrong):
    with pytest.raises(ContractError, match="finite mean and sd > 0"):
        Standardise(**wrong)


def test_standardise_says_how_many_channels_it_was_made_for():
    with pytest.raises(ContractError, match="2 values of mean, but imu has 3 channels"):
        through(Standardise(mean=[0.0, 1.0]), reading(0, 1.0, 2.0, 3.0))
