"""What a clock map promises, on drawn clocks and delays.

device    d0----d1----d2----d3      stamps, a little fast or slow
arrival     a0------a1-a2-----a3    later by the least delay and a long tail
session   s0----s1----s2----s3      what to_session_ns says: smooth, never back
"""

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.clockmap import ClockMap, ClockRules, Discontinuity
from operators.envelope import lower_hull
from operators.errors import ContractError

MS = 1_000_000
S = 1_000_000_000
NEW_LINE = {"reset", "jump", "unsynchronised"}


def lognormal(seed, median_ms, sigma):
    rng = random.Random(seed)
    return lambda: round(median_ms * MS * math.exp(sigma * rng.gauss(0, 1)))


def packets(seconds, rate_hz, ppm, delay):
    """(true, device, arrival) of an in-order source whose clock runs ppm fast."""
    arrival = 0
    for k in range(seconds * rate_hz):
        true = k * S // rate_hz
        arrival = max(arrival, true + delay())
        yield true, true + round(true * ppm * 1e-6), arrival


def errors_ms(clock, stream, after_s=0):
    out = []
    for true, device, arrival in stream:
        assert clock.update(device, arrival) is None
        error = clock.to_session_ns(device) - true
        if true >= after_s * S:
            out.append(abs(error) / MS)
    return out


@pytest.mark.parametrize("ppm", [0, 100, -200])
def test_a_drifting_microphone_stays_within_two_milliseconds(ppm):
    clock = ClockMap(ClockRules(offset_ns=0))
    assert max(errors_ms(clock, packets(300, 50, ppm, lognormal(1, 15, 0.1)))) < 2.1
    assert clock.drift_ppm == pytest.approx(ppm, abs=5)


def test_one_sided_delays_do_not_bend_the_clock_of_a_camera():
    clock = ClockMap(ClockRules(offset_ns=0))
    assert max(errors_ms(clock, packets(600, 30, 100, lognormal(1, 45, 0.5)))) < 12  # the mean delay is 51 ms, 60 ms drift in 600 s
    assert clock.drift_ppm == pytest.approx(100, abs=10)


def test_without_a_known_offset_the_least_delay_is_taken_off_the_arrivals():
    clock = ClockMap(ClockRules(delay_ns=11 * MS))
    assert max(errors_ms(clock, packets(60, 50, 0, lognormal(2, 15, 0.1)), after_s=10)) < 2


def test_the_drift_is_unknown_until_ten_buckets_are_full():
    clock = ClockMap()
    for second in range(10):
        clock.update(second * S, second * S)
        assert clock.drift_ppm is None
    clock.update(10 * S, 10 * S)
    assert clock.drift_ppm == 0


def test_the_uncertainty_of_a_steady_clock_is_nothing_and_of_a_scattered_one_is_its_scatter():
    steady, scattered = ClockMap(), ClockMap()
    errors_ms(steady, packets(30, 50, 0, lambda: 5 * MS))
    errors_ms(scattered, packets(30, 50, 0, lognormal(1, 45, 0.5)))
    assert steady.uncertainty_ns == 0
    assert MS < scattered.uncertainty_ns < 50 * MS


def test_a_map_without_an_update_cannot_be_asked():
    with pytest.raises(ContractError, match="at least one update"):
        ClockMap().to_session_ns(0)
    assert ClockMap().uncertainty_ns == 0


def test_a_stall_and_its_burst_are_delay_and_no_jump():
    clock = ClockMap(ClockRules(offset_ns=0))
    for true, device, arrival in packets(60, 50, 0, lambda: 15 * MS):
        held = 31 * S if 30 * S <= arrival < 31 * S else arrival
        assert clock.update(device, held) is None
        assert abs(clock.to_session_ns(device) - true) <= MS


def test_a_silence_is_a_gap_and_the_clock_goes_on():
    clock = ClockMap(ClockRules(offset_ns=0))
    seen = []
    for true, device, arrival in packets(60, 50, 100, lambda: 15 * MS):
        if not 20 * S <= true < 30 * S:
            seen.append(clock.update(device, arrival))
            assert abs(clock.to_session_ns(device) - true) < 2.5 * MS
    gaps = [event for event in seen if event]
    assert [gap.kind for gap in gaps] == ["gap"]
    assert gaps[0].by_ns == pytest.approx(10 * S, rel=0.01)


def test_a_counter_that_starts_again_is_a_reset_and_time_goes_on():
    clock = ClockMap()
    for k in range(500):
        clock.update(k * 20 * MS, k * 20 * MS + 5 * MS)
        before = clock.to_session_ns(k * 20 * MS)
    assert clock.update(0, 500 * 20 * MS + 5 * MS) == Discontinuity(kind="reset", device_ns=0, by_ns=-499 * 20 * MS)
    assert clock.to_session_ns(0) == pytest.approx(before + 20 * MS, abs=MS)


def test_a_clock_that_leaps_ahead_is_a_jump_at_once():
    clock = ClockMap()
    events = [clock.update(k * 20 * MS + (3 * S if k >= 500 else 0), k * 20 * MS) for k in range(600)]
    jumps = [(k, event.kind, event.by_ns) for k, event in enumerate(events) if event]
    assert jumps == [(500, "jump", -3 * S)]
    assert clock.to_session_ns(599 * 20 * MS + 3 * S) == 599 * 20 * MS


def test_a_clock_that_lost_time_is_a_jump_once_every_packet_has_been_late_for_three_seconds():
    clock = ClockMap()
    lost = [clock.update(k * 20 * MS, k * 20 * MS + (200 * MS if k >= 500 else 0)) for k in range(1000)]
    jumps = [(k, event.kind, event.by_ns) for k, event in enumerate(lost) if event]
    assert jumps == [(650, "jump", 200 * MS)]
    assert clock.to_session_ns(999 * 20 * MS) == 999 * 20 * MS + 200 * MS


def test_the_lower_hull_is_below_every_point_and_convex():
    rng = random.Random(3)
    points = [(x, rng.randrange(100)) for x in range(200)]
    hull = lower_hull(points)
    slopes = [(y1 - y0) / (x1 - x0) for (x0, y0), (x1, y1) in pairwise(hull)]
    assert slopes == sorted(slopes)
    for x, y in points:
        left, right = max(p for p in hull if p[0] <= x), min(p for p in hull if p[0] >= x)
        floor = left[1] if left == right else left[1] + (right[1] - left[1]) * (x - left[0]) / (right[0] - left[0])
        assert floor <= y + 1e-9


steps = st.lists(st.tuples(st.integers(0, 3 * S), st.integers(0, 300 * MS), st.booleans()), min_size=2, max_size=120)


@given(steps, st.booleans())
def test_session_time_never_goes_backwards_whatever_the_device_does(drawn, anchored):
    clock = ClockMap(ClockRules(offset_ns=0) if anchored else ClockRules())
    device = arrival = floor = 0
    told = {}
    for step, delay, reset in drawn:
        device, arrival = 0 if reset and step % 7 == 0 else device + step, arrival + step
        event = clock.update(device, arrival + delay)
        if event and event.kind in NEW_LINE:  # a new line starts, at or after all that was told
            floor, told = max(told.values(), default=floor), {}
        told |= {at: clock.to_session_ns(at) for at in (device, device + 20 * MS)}
        assert min(told.values()) >= floor or not (event and event.kind in NEW_LINE)
        assert all(a <= b for a, b in pairwise(told[at] for at in sorted(told)))


@given(steps)
def test_what_was_told_is_not_taken_back_while_the_line_lasts(drawn):
    clock = ClockMap()
    device = arrival = 0
    told = {}
    for step, delay, _ in drawn:
        device, arrival = device + step, arrival + step
        event = clock.update(device, arrival + delay)
        if event and event.kind in NEW_LINE:
            told.clear()
        told[device + 20 * MS] = clock.to_session_ns(device + 20 * MS)
        recent = list(told.items())[-40:]
        assert all(clock.to_session_ns(at) == was for at, was in recent if at <= device + 20 * MS)


def test_the_map_is_never_steered_faster_than_its_bound():
    rules = ClockRules(offset_ns=0, slew_ppm=500, max_drift_ppm=1000)
    clock, last = ClockMap(rules), None
    for true, device, arrival in packets(200, 50, 900, lognormal(5, 30, 0.6)):
        clock.update(device, arrival)
        now = clock.to_session_ns(device)
        if last is not None and true:
            assert abs((now - last[1]) / (device - last[0]) - 1) <= 1500e-6 + 1e-6
        last = device, now


def test_a_restored_map_goes_on_as_if_nothing_had_happened():
    stream = list(packets(90, 30, 100, lognormal(7, 45, 0.5)))
    whole, first, second = ClockMap(), ClockMap(), ClockMap()
    expected = [(whole.update(d, a), whole.to_session_ns(d), whole.uncertainty_ns) for _, d, a in stream]
    got = [(first.update(d, a), first.to_session_ns(d), first.uncertainty_ns) for _, d, a in stream[:1300]]
    second.restore(first.snapshot())
    got += [(second.update(d, a), second.to_session_ns(d), second.uncertainty_ns) for _, d, a in stream[1300:]]
    assert got == expected


@pytest.mark.parametrize("wrong", [{"bucket_ns": 0}, {"horizon_ns": 5 * S}, {"slew_ppm": 0}, {"delay_ns": -1}])
def test_rules_that_cannot_work_are_refused(wrong):
    with pytest.raises(ContractError, match="got ClockRules"):
        ClockRules(**wrong)
