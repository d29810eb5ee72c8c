"""What goes wrong with a device's time is told, by kind; session time never bends and never runs back.

device    100  120 | 0   20  ...     a counter that begins again
session   100  120   140 160 ...     goes on
"""

import random
from itertools import pairwise

import pytest

from operators.clockmap import ClockMap, ClockRules

MS = 1_000_000
S = 1_000_000_000
BLOCK = 20 * MS


def follow(rules, stream):
    """(device, arrival) in; the session times, and the discontinuities with the number of their packet."""
    clock, session, told = ClockMap(rules), [], []
    for k, (device, arrival) in enumerate(stream):
        if event := clock.update(device, arrival):
            told.append((k, event.kind, event.by_ns))
        session.append(clock.to_session_ns(device))
    return session, told, clock


def delays(seed, least_ms=11, sd_ms=1.5):
    lot = random.Random(seed)
    return lambda: round((least_ms + lot.gammavariate(2, sd_ms / 2**0.5)) * MS)


def rises(session):
    return all(a <= b for a, b in pairwise(session))


KNOWN = ClockRules(delay_ns=11 * MS)


def test_a_33_bit_counter_that_wraps_is_told_and_time_goes_on():
    wrap = round(2**33 / 90_000 * S)
    start = wrap - 100 * BLOCK
    stream = [((start + k * BLOCK) % wrap, k * BLOCK + 5 * MS) for k in range(300)]
    session, told, clock = follow(ClockRules(delay_ns=5 * MS, wrap_ns=wrap), stream)
    assert told == [(100, "wrap", wrap)]
    assert session == [k * BLOCK for k in range(300)]
    assert clock.counts == {"wrap": 1}


def test_a_stamp_before_the_wrap_may_come_after_it():
    wrap = round(2**33 / 90_000 * S)
    clock = ClockMap(ClockRules(wrap_ns=wrap))
    clock.update(wrap - 2 * BLOCK, 0)
    clock.update(BLOCK, 3 * BLOCK)
    assert clock.update(wrap - BLOCK, 4 * BLOCK).kind == "disorder"
    assert clock.to_session_ns(wrap - BLOCK) == BLOCK
    assert clock.to_session_ns(BLOCK) == 3 * BLOCK


def test_a_lost_block_of_20_ms_is_told_within_four_seconds_and_time_is_right_again():
    delay = delays(1)
    stream = []
    for k in range(60 * 50):
        true = (k + (k >= 2000)) * BLOCK  # the counter knows nothing of the block that is missing
        stream.append((k * BLOCK, true + delay()))
    session, told, _ = follow(KNOWN, stream)
    [(at, kind, by_ns)] = told
    assert kind == "jump"
    assert 2000 < at <= 2200
    assert by_ns == pytest.approx(BLOCK, abs=MS)
    assert all(abs(session[k] - (k + 1) * BLOCK) < MS for k in range(2250, 3000))
    assert rises(session)


def test_the_rate_of_a_crystal_outlives_a_reset():
    delay = delays(2)
    stream = [(round((k % 6000) * BLOCK * 1.0003), k * BLOCK + delay()) for k in range(6000 + 500)]
    session, told, clock = follow(KNOWN, stream)
    assert [kind for _, kind, _ in told] == ["reset"]
    assert clock.drift_ppm == pytest.approx(300, abs=10)
    assert all(abs(session[k] - k * BLOCK) < 1.5 * MS for k in range(6200, 6500))


def test_a_jump_back_is_a_reset_and_session_time_goes_on():
    stream = [(k * BLOCK - (7 * S if k >= 1000 else 0), k * BLOCK + 11 * MS) for k in range(1500)]
    session, told, _ = follow(KNOWN, stream)
    assert told == [(1000, "reset", -7 * S + BLOCK)]
    assert session == [k * BLOCK for k in range(1500)]


def test_a_jump_back_that_could_be_disorder_is_told_once_it_lasts():
    stream = [(k * BLOCK - (100 * MS if k >= 1000 else 0), k * BLOCK + 11 * MS) for k in range(1500)]
    session, told, _ = follow(KNOWN, stream)
    kinds = [kind for _, kind, _ in told]
    assert kinds == ["disorder"] * 4 + ["duplicate", "jump"]
    assert session[-1] == 1499 * BLOCK


def test_overtaken_packets_are_counted_and_get_their_own_time():
    order = [k ^ 1 if k % 10 < 2 else k for k in range(1000)]
    session, _, clock = follow(KNOWN, [(k * BLOCK, max(k, 1) * BLOCK + 40 * MS) for k in order])
    assert clock.counts == {"disorder": 100}
    by_time = dict(zip(order, session, strict=True))
    assert rises([by_time[k] for k in range(1000)])


def test_duplicates_are_counted():
    stream = [(k // 2 * BLOCK, k // 2 * BLOCK + 11 * MS) for k in range(200)]
    session, _, clock = follow(KNOWN, stream)
    assert clock.counts == {"duplicate": 100}
    assert session[-1] == 99 * BLOCK


@pytest.mark.parametrize("step_s", [-3600, -2, 2, 3600])
def test_a_step_of_the_wall_clock_under_the_stamps_moves_no_session_time(step_s):
    """NTP, or an hour of a badly kept daylight saving: stamps by CLOCK_REALTIME step, arrivals by the monotonic clock do not."""
    stream = [(10**18 + k * BLOCK + (step_s * S if k >= 1000 else 0), k * BLOCK + 11 * MS) for k in range(1500)]
    session, told, _ = follow(KNOWN, stream)
    assert [(k, kind) for k, kind, _ in told] == [(1000, "jump" if step_s > 0 else "reset")]
    assert session == [k * BLOCK for k in range(1500)]


def test_a_suspend_that_both_clocks_saw_is_a_gap():
    asleep = [0 if k < 1000 else 3600 * S for k in range(1500)]
    session, told, _ = follow(KNOWN, [(k * BLOCK + a, k * BLOCK + a + 11 * MS) for k, a in enumerate(asleep)])
    assert told == [(1000, "gap", 3600 * S + BLOCK)]
    assert session == [k * BLOCK + a for k, a in enumerate(asleep)]


def test_a_suspend_that_only_the_device_slept_through_is_a_jump():
    asleep = [0 if k < 1000 else 3600 * S for k in range(1500)]
    session, told, _ = follow(KNOWN, [(k * BLOCK, k * BLOCK + a + 11 * MS) for k, a in enumerate(asleep)])
    [(_, kind, by_ns)] = told
    assert (kind, by_ns) == ("jump", 3600 * S)
    assert session[-1] == 1499 * BLOCK + 3600 * S
    assert rises(session)


def test_a_suspend_of_the_hosts_clock_alone_is_a_jump_at_once():
    stream = [(k * BLOCK + (3600 * S if k >= 1000 else 0), k * BLOCK + 11 * MS) for k in range(1500)]
    session, told, _ = follow(KNOWN, stream)
    assert told == [(1000, "jump", -3600 * S)]
    assert session == [k * BLOCK for k in range(1500)]


def test_a_longer_way_is_told_and_moves_nothing_where_the_clock_cannot_stop():
    delay = delays(4)
    rules = ClockRules(offset_ns=0, steps="delay")
    stream = [(k * BLOCK, k * BLOCK + delay() + (40 * MS if k >= 3000 else 0)) for k in range(40_000)]
    session, told, _ = follow(rules, stream)
    [(at, kind, by_ns)] = told
    assert (kind, 3000 < at < 3250) == ("delay", True)
    assert by_ns == pytest.approx(40 * MS, abs=MS)
    assert max(abs(session[k] - k * BLOCK) for k in range(40_000)) < MS


def test_congestion_a_stall_and_its_burst_are_no_step():
    delay, arrival, stream = delays(5), 0, []
    for k in range(6000):
        due = k * BLOCK + delay() + (80 * MS if 3000 <= k < 3070 else 0)
        arrival = max(arrival, 65 * S if 61 * S < due < 65 * S else due)  # congested for 1.4 s, then nothing for 4 s, then all at once
        stream.append((k * BLOCK, arrival))
    session, told, _ = follow(KNOWN, stream)
    assert told == []
    assert all(abs(session[k] - k * BLOCK) < MS for k in range(1000, 6000))


@pytest.mark.parametrize("off_ms", [-60_000, -500, 700, 60_000])
def test_a_clock_that_was_never_set_is_told_and_not_believed(off_ms):
    rules = ClockRules(offset_ns=0, most_delay_ns=400 * MS)
    stream = [(10**12 + k * BLOCK + off_ms * MS, 10**12 + k * BLOCK + 11 * MS) for k in range(500)]
    session, told, clock = follow(rules, stream)
    [(at, kind, by_ns)] = told
    assert (kind, by_ns) == ("unsynchronised", (11 - off_ms) * MS)
    assert at == (0 if off_ms != -500 else 50)  # a single packet may be late; not a whole second of them
    assert not clock.synchronised
    assert session[at:] == [10**12 + k * BLOCK + 11 * MS for k in range(at, 500)]
    assert rises(session)


def test_an_offset_is_believed_once_a_second_of_arrivals_does_not_speak_against_it():
    clock, believed = ClockMap(ClockRules(offset_ns=0)), []
    for k in range(120):
        clock.update(k * BLOCK, k * BLOCK + 11 * MS)
        believed.append(clock.synchronised)
    assert believed == sorted(believed)
    assert believed.index(True) == 50


def test_with_neither_offset_nor_delay_nothing_is_known_of_other_clocks():
    assert not ClockMap().synchronised
    assert ClockMap(KNOWN).synchronised


def test_what_a_map_holds_does_not_grow_with_the_hours():
    clock = ClockMap(KNOWN)
    sizes = []
    for k in range(20 * 3600 * 4):
        clock.update(k * 50 * MS, k * 50 * MS + 11 * MS + k % 7 * MS)
        if k % (20 * 3600) == 20 * 3600 - 1:
            sizes.append(sum(len(value) for value in clock.snapshot().values() if isinstance(value, list)))
    assert max(sizes) <= sizes[0] + 1
