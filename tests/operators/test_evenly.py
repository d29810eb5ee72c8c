"""Even stamps and pairing.

stamps   | |   |  |  x |      frames 0 1 2 3, the fourth lost, 5
even     |  |  |  |  .  |
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.errors import ContractError
from operators.evenly import EvenLine, EvenStamps
from operators.packet import Closed, Embedding, Packet, Tick, Watermark
from operators.pairing import Pairing

MS = 1_000_000
NOTHING = Embedding(data=np.zeros(0, np.uint8))


def at(stream, seq, start_ms, length_ms=20):
    return Packet(stream=stream, seq=seq, start_ns=round(start_ms * MS), end_ns=round((start_ms + length_ms) * MS), payload=NOTHING)


def test_stamps_without_jitter_stay_as_they_are():
    line = EvenLine(memory=100)
    assert [line.fit(k, 7 + k * 33 * MS) for k in range(300)] == [7 + k * 33 * MS for k in range(300)]


def test_jitter_of_4_ms_becomes_a_third_of_a_millisecond():
    lot, line = np.random.default_rng(5), EvenLine(memory=900)
    errors = [line.fit(k, round(k * 100 * MS / 3 + lot.normal(0, 4 * MS))) - k * 100 * MS / 3 for k in range(3000)]
    assert np.std(errors[900:]) < 0.35 * MS


def test_lost_packets_leave_their_place():
    line = EvenLine(memory=100)
    kept = [k for k in range(500) if k % 7]
    assert all(abs(line.fit(k, k * 40 * MS) - k * 40 * MS) <= 1 for k in kept)


def test_an_overtaken_packet_gets_its_own_time():
    line = EvenLine(memory=100)
    for k in range(50):
        if k != 45:
            line.fit(k, k * 40 * MS)
    assert line.fit(45, 45 * 40 * MS + 3 * MS) == 45 * 40 * MS


def test_one_stamp_that_is_garbage_moves_nothing():
    line = EvenLine(memory=100)
    for k in range(50):
        line.fit(k, k * 40 * MS)
    assert line.fit(50, 10**15) == 50 * 40 * MS


def test_a_new_rate_starts_a_new_line():
    line, at_ns = EvenLine(memory=100), 0
    for k in range(400):
        at_ns += (33 if k < 200 else 66) * MS
        found = line.fit(k, at_ns)
    assert abs(found - at_ns) <= 1
    assert line.period_ns == pytest.approx(66 * MS, rel=1e-6)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-9, 9), st.booleans()), max_size=60))
def test_nothing_starts_before_a_promise_that_came_out(steps):
    operator, promised, seq = EvenStamps(memory=20), None, 0
    for step, jitter, promise in steps:
        seq += step
        stamp_ms = max(0, seq * 40 + jitter)
        told = [at("video", seq, stamp_ms)] + ([Watermark(stream="video", time_ns=(stamp_ms - 9) * MS)] if promise else [])
        for event in (out for one in told for out in operator.process(one)):
            if isinstance(event, Watermark):
                assert promised is None or event.time_ns >= promised
                promised = event.time_ns
            elif promised is not None and stamp_ms * MS >= promised:
                assert event.start_ns >= promised


def test_a_restart_before_any_packet_changes_nothing():
    lot = np.random.default_rng(2)
    stream = [at("video", k, k * 40 + lot.normal(0, 3) + 20) for k in range(80)] + [Closed(stream="video", time_ns=1)]

    def starts(*, restart):
        operator, out = EvenStamps(memory=30), []
        for event in stream:
            if restart:
                state, operator = operator.snapshot(), EvenStamps(memory=30)
                operator.restore(state)
            out += [one.start_ns for one in operator.process(event) if isinstance(one, Packet)]
        return out

    assert starts(restart=True) == starts(restart=False)


def test_a_memory_that_cannot_fit_is_refused():
    with pytest.raises(ContractError, match="memory of 10"):
        EvenStamps(memory=9)


def pairs(events, patience_ms=100, **room):
    pairing = Pairing(video="cam", audio="mic", patience_ns=patience_ms * MS, **room)
    out = [pair for event in events for pair in pairing.process(event)]
    return [(pair.frame.seq, pair.sound and pair.sound.seq) for pair in out], pairing


def test_a_frame_gets_the_block_that_holds_its_instant_whatever_comes_first():
    frame, blocks = at("cam", 0, 45), [at("mic", k, 20 * k) for k in range(4)]
    assert pairs([*blocks, frame])[0] == [(0, 2)]
    assert pairs([frame, *blocks])[0] == [(0, 2)]
    assert pairs([frame, *reversed(blocks)])[0] == [(0, 2)]


def test_a_pair_goes_out_with_the_later_of_its_two():
    pairing = Pairing(video="cam", audio="mic", patience_ns=100 * MS)
    assert not list(pairing.process(at("cam", 0, 45)))
    assert not list(pairing.process(at("mic", 3, 60)))
    assert [pair.sound.seq for pair in pairing.process(at("mic", 2, 40))] == [2]


def test_a_frame_whose_block_was_lost_is_said_to_be_without_sound():
    blocks = [at("mic", k, 20 * k) for k in range(12) if k != 2]
    found, pairing = pairs([at("cam", 0, 45), *blocks])
    assert found == [(0, None)]
    assert pairing.counts == {"without": 1}


def test_without_any_sound_a_tick_gives_up():
    assert pairs([at("cam", 0, 45), Tick(now_ns=145 * MS)])[0] == []
    assert pairs([at("cam", 0, 45), Tick(now_ns=146 * MS)])[0] == [(0, None)]


def test_a_crack_of_a_microsecond_between_blocks_swallows_no_frame():
    blocks = [Packet(stream="mic", seq=k, start_ns=k * 20 * MS, end_ns=k * 20 * MS + 20 * MS - 1000, payload=NOTHING) for k in range(9)]
    frame = Packet(stream="cam", seq=0, start_ns=40 * MS - 500, end_ns=40 * MS, payload=NOTHING)
    assert pairs([frame, *blocks])[0] == [(0, 1)]


def test_clocks_that_were_never_synchronised_mark_every_pair():
    pairing = Pairing(video="cam", audio="mic", patience_ns=0)
    pairing.synchronised = False
    assert [pair.synchronised for event in (at("mic", 0, 0), at("cam", 0, 5)) for pair in pairing.process(event)] == [False]


def test_memory_is_bounded():
    found, pairing = pairs([at("cam", k, k * 33) for k in range(100)], most_frames=10)
    assert len(found) == 90
    found, pairing = pairs([at("mic", k, k * 20) for k in range(5000)], most_blocks=50)
    assert len(pairing._blocks) <= 50


def test_a_third_stream_is_refused():
    with pytest.raises(ContractError, match="got text"):
        pairs([at("text", 0, 0)])
