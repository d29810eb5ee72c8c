"""Faults: each does what its name says, at the stream that it is for, and nothing else."""

import statistics

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from operators.errors import ContractError
from operators.packet import AudioBlock, Closed, Dropped, Packet, TextSpan, Watermark
from pipeline.sources.faults import MAX_HELD_BYTES, StreamFaults, check_streams, inject

S = 1_000_000_000
MS = 1_000_000


def steady(stream="a", count=100, step_ms=20, size=1):
    """Packets that touch, each followed by its promise, then the end."""
    for seq in range(count):
        start_ns, end_ns = seq * step_ms * MS, (seq + 1) * step_ms * MS
        payload = TextSpan(text=str(seq) + "x" * (size - 1))
        yield end_ns, Packet(stream=stream, seq=seq, start_ns=start_ns, end_ns=end_ns, payload=payload)
        yield end_ns, Watermark(stream=stream, time_ns=end_ns)
    yield count * step_ms * MS, Closed(stream=stream, time_ns=count * step_ms * MS)


def run(faults, events=None, seed=1):
    out = list(inject(events or steady(), {"a": faults}, seed=seed))
    due = [due_ns for due_ns, _ in out]
    assert due == sorted(due)
    promised = 0
    for _, event in out:
        if isinstance(event, Packet):
            assert event.start_ns >= promised
        elif isinstance(event, Watermark):
            assert event.time_ns >= promised
            promised = event.time_ns
    assert isinstance(out[-1][1], Closed)
    return out


def arrivals(out):
    return {event.seq: due_ns for due_ns, event in out if isinstance(event, Packet)}


def lost(out):
    return [event.reason for _, event in out if isinstance(event, Dropped)]


def test_no_faults_change_nothing():
    assert run(StreamFaults()) == list(steady())


def test_a_delay_moves_the_arrival_and_not_the_stamps():
    out = run(StreamFaults(delay_ms=45))
    assert arrivals(out)[10] == 220 * MS + 45 * MS
    assert next(event for _, event in out if isinstance(event, Packet) and event.seq == 10).start_ns == 200 * MS


def test_delays_are_log_normal_around_their_median():
    out = run(StreamFaults(delay_ms=1000, jitter=0.5, reorder=True), steady(count=2000, step_ms=1))
    delays = [due_ns - (seq + 1) * MS for seq, due_ns in arrivals(out).items()]
    assert statistics.median(delays) == pytest.approx(1000 * MS, rel=0.05)
    assert np.std(np.log(np.array(delays) / (1000 * MS))) == pytest.approx(0.5, rel=0.1)


def test_packets_overtake_each_other_only_where_they_may():
    ordered = list(arrivals(run(StreamFaults(delay_ms=50, jitter=1.0))))
    mixed = list(arrivals(run(StreamFaults(delay_ms=50, jitter=1.0, reorder=True))))
    assert ordered == sorted(ordered)
    assert mixed != sorted(mixed)
    assert sorted(mixed) == ordered


def test_a_stall_ends_in_a_burst():
    """
    sent     |1|2|3|4|5|6|...
    stall        [======)
    arrives  |1|2|      3456
    """
    out = arrivals(run(StreamFaults(stalls=((0.5, 1.0),))))
    assert out[23] == 480 * MS
    assert {out[seq] for seq in range(24, 49)} == {S}
    assert out[50] == 1020 * MS


def test_nothing_comes_from_a_dead_stream_not_even_a_promise():
    out = run(StreamFaults(dead=((0.5, 1.0),)))
    assert not [event for due_ns, event in out if 500 * MS <= due_ns < S and not isinstance(event, Dropped)]
    assert lost(out) == ["injected_outage"] * 25
    assert 49 in arrivals(out)


def test_a_stream_that_dies_is_still_closed_with_the_file():
    out = run(StreamFaults(dead=((0.5, None),)))
    assert max(arrivals(out)) == 23
    assert out[-1] == (2 * S, Closed(stream="a", time_ns=2 * S))


def test_lost_packets_are_counted_and_their_numbers_missing():
    out = run(StreamFaults(drop=0.3))
    assert 15 <= len(lost(out)) <= 45
    assert len(lost(out)) + len(arrivals(out)) == 100
    assert not arrivals(out).keys() & {event.start_ns // (20 * MS) for _, event in out if isinstance(event, Dropped)}


def test_a_frozen_stream_shows_what_it_showed_last():
    texts = [event.payload.text for _, event in run(StreamFaults(freezes=((0.5, 1.0),))) if isinstance(event, Packet)]
    assert texts[23:49] == ["23"] * 26
    assert texts[49:] == [str(seq) for seq in range(49, 100)]


def test_a_clock_that_is_too_fast_drifts_in_its_stamps_alone():
    out = run(StreamFaults(drift_ppm=1000))
    packet = next(event for _, event in out if isinstance(event, Packet) and event.seq == 50)
    assert (packet.start_ns, packet.end_ns) == (1_001_000_000, 1_021_020_000)
    assert arrivals(out)[50] == 1020 * MS
    assert out[-1][1].time_ns == 2_002_000_000


def test_the_same_seed_gives_the_same_faults_wherever_it_is_started():
    faults = StreamFaults(delay_ms=20, jitter=0.5, drop=0.2)
    whole = run(faults)
    late = run(faults, (timed for timed in steady() if timed[0] > S))
    assert lost(whole) != []
    assert set(arrivals(late).items()) <= set(arrivals(whole).items())
    assert arrivals(run(faults, seed=2)) != arrivals(whole)


def test_other_streams_are_left_alone():
    out = list(inject(steady("b"), {"a": StreamFaults(dead=((0, None),))}))
    assert out == list(steady("b"))


def test_what_is_under_way_is_bounded():
    block = np.zeros((1, MAX_HELD_BYTES // 16), np.float32)  # four of them fill the bound

    def big():
        for seq in range(10):
            payload = AudioBlock(data=block, rate_hz=16000)
            yield seq * MS, Packet(stream="a", seq=seq, start_ns=seq * MS, end_ns=seq * MS, payload=payload)
        yield 20 * MS, Closed(stream="a", time_ns=20 * MS)

    out = run(StreamFaults(delay_ms=1000), big())
    assert len(arrivals(out)) == 4
    assert lost(out) == ["overflow"] * 6


@pytest.mark.parametrize(
    "wrong",
    [{"drop": 1.5}, {"drop": float("nan")}, {"delay_ms": -1}, {"jitter": -1}, {"stalls": ((2.0, 1.0),)}, {"dead": ((-1.0, 2.0),)}, {"dead": ((-1.0, None),)},
     {"stalls": ((1.0, None),)}, {"drift_ppm": 1e6}],
)  # fmt: skip
def test_faults_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=r"of 0 to|intervals|ends"):
        StreamFaults(**wrong)


def test_a_misspelt_fault_in_a_config_is_refused():
    adapter = TypeAdapter(dict[str, StreamFaults])
    assert adapter.validate_json('{"a": {"dead": [[1, null]]}}', strict=True) == {"a": StreamFaults(dead=((1.0, None),))}
    with pytest.raises(ValidationError, match="delay"):
        adapter.validate_json('{"a": {"delay": 5}}', strict=True)


def test_faults_are_for_streams_that_exist():
    with pytest.raises(ContractError, match="no stream 'adio'; it has video, audio"):
        check_streams({"adio": StreamFaults()}, ("video", "audio"))


def test_closing_ends_what_is_read():
    ended = []

    def source():
        try:
            yield from steady()
        finally:
            ended.append(True)

    events = inject(source(), {"a": StreamFaults(delay_ms=5)})
    next(events)
    events.close()
    assert ended == [True]
