"""The fault script is what it says it is, the peer behaves as published, and Sensorium's claims hold on a minute of it."""

import pytest

from benchmarks.approximate_time import ApproximateTime, Cache
from benchmarks.contestants import ALIGN, cached, joined, sensorium
from benchmarks.fault_script import MS, S, fault_script, with_clock_map, with_text_on_arrival
from benchmarks.fault_truth import window_truths, windows_of
from benchmarks.faults import av_errors_ms, failures, in_time, paired_right, table
from operators.packet import Packet, TextSpan, Watermark


@pytest.fixture(scope="module")
def script():
    return fault_script(60, skew_ppm=0)


def packet(stream, stamp, seq=0):
    return Packet(stream=stream, seq=seq, start_ns=stamp, end_ns=stamp, payload=TextSpan(text=""))


# -- the script


def test_the_same_seed_gives_the_same_script(script):
    def plain(a):
        return [(x.arrival_ns, x.event.stream, getattr(x.event, "seq", None)) for x in a.arrivals]

    assert plain(fault_script(60, 0, 1)) == plain(script) != plain(fault_script(60, 0, 2))


@pytest.mark.parametrize("as_seen", [lambda s: s, with_clock_map, with_text_on_arrival])
@pytest.mark.parametrize("skew_ppm", [0, 100])
def test_every_promise_of_the_script_is_kept(as_seen, skew_ppm):
    promised = {}
    for arrival in as_seen(fault_script(60, skew_ppm)).arrivals:
        event = arrival.event
        if isinstance(event, Watermark):
            promised[event.stream] = max(event.time_ns, promised.get(event.stream, 0))
        else:
            assert event.start_ns >= promised.get(event.stream, 0)


def test_nothing_arrives_before_it_happened_nor_during_the_stall(script):
    arrivals = [arrival_ns for arrival_ns, _ in script.packets()]
    assert arrivals == sorted(arrivals)
    assert all(arrival_ns > packet.start_ns for arrival_ns, packet in script.packets())
    assert not any(script.stall_ns[0] <= arrival_ns < script.stall_ns[1] for arrival_ns in arrivals)
    assert sum(arrival_ns == script.stall_ns[1] for arrival_ns in arrivals) > 75


def test_the_dead_microphone_and_the_frozen_camera_make_nothing(script):
    for stream, fault in (("audio", script.mic_dead_ns), ("video", script.frozen_ns)):
        assert not any(fault[0] <= p.start_ns < fault[1] for _, p in script.packets() if p.stream == stream)


def test_the_delays_are_those_that_the_docstring_states(script):
    delays = sorted((arrival_ns - p.start_ns) / MS for arrival_ns, p in script.packets() if p.stream == "video")
    assert 40 < delays[len(delays) // 2] < 60  # in order: a frame waits for the one before
    audio = sorted((arrival_ns - p.end_ns) / MS for arrival_ns, p in script.packets() if p.stream == "audio")
    assert 14 < audio[len(audio) // 2] < 16
    text = [(arrival_ns - p.start_ns) / MS for arrival_ns, p in script.packets() if p.stream == "text"]
    assert min(text) >= 400
    assert max(text) <= 2500


# -- Sensorium on it


def test_every_claim_holds_on_a_minute_of_faults(script):
    for as_seen in (script, with_text_on_arrival(script), with_clock_map(fault_script(60, 100)), fault_script(60, -300, seed=3)):
        assert failures(as_seen, sensorium(as_seen)) == []


def test_the_clock_map_takes_the_drift_out_of_the_pairs():
    drifting = fault_script(120, skew_ppm=300)
    mapped = with_clock_map(drifting)
    assert paired_right(drifting, sensorium(drifting)) < 0.5
    assert paired_right(mapped, sensorium(mapped)) > 0.95


def test_a_wrong_mask_would_be_seen(script):
    run = sensorium(script)
    emitted_ns, window = run.windows[50]
    run.windows[50] = (emitted_ns - 1, window)
    assert failures(script, run) == ["Sensorium: every mask right"]
    del run.windows[50]
    assert "Sensorium: a decision for every tick" in failures(script, run)


def test_the_truth_knows_a_timeout_from_a_promised_silence(script):
    truths = list(window_truths(script, ALIGN))
    assert len(truths) == windows_of(script, ALIGN) == 599
    reasons = {truth.slots["audio"][1] for truth in truths}
    assert reasons == {None, "timeout", "empty"}
    middle = (script.mic_dead_ns[0] + script.mic_dead_ns[1]) // 2 // ALIGN.hop_ns
    assert truths[middle].slots["audio"] == ((), "timeout", False)


# -- the peer


def test_approximate_time_emits_the_nearest_stamps_within_slop():
    join = ApproximateTime(("a", "b"), queue_size=10, slop_ns=10)
    assert join.add(packet("a", 100)) is None
    assert join.add(packet("a", 105)) is None
    assert [p.start_ns for p in join.add(packet("b", 106))] == [105, 106]
    assert join.add(packet("b", 111)) is None  # 100 is still there, but farther than the slop
    assert [p.start_ns for p in join.add(packet("b", 109))] == [100, 109]


def test_approximate_time_wants_less_than_slop_between_the_outermost():
    join = ApproximateTime(("a", "b"), queue_size=10, slop_ns=10)
    join.add(packet("a", 100))
    assert join.add(packet("b", 110)) is None


def test_approximate_time_drops_the_oldest_beyond_its_queue():
    join = ApproximateTime(("a", "b"), queue_size=2, slop_ns=10)
    for stamp in (1, 2, 3):
        join.add(packet("a", stamp))
    assert join.dropped == 1
    assert [p.start_ns for p in join.add(packet("b", 1))] == [2, 1]


def test_approximate_time_is_silent_while_one_of_its_topics_is():
    join = ApproximateTime(("a", "b", "c"), queue_size=5, slop_ns=10)
    assert not any(join.add(packet(stream, stamp)) for stamp in range(50) for stream in "ab")


def test_a_cache_gives_the_newest_message_at_or_before_a_stamp():
    cache = Cache(2)
    for stamp in (10, 20, 30):
        cache.add(packet("t", stamp))
    assert cache.before(29).start_ns == 20
    assert cache.before(30).start_ns == 30
    assert cache.before(19) is None


def test_the_peers_lose_ticks_where_sensorium_does_not(script):
    fair = cached(script, queue_size=50, slop_ns=100 * MS)
    on_time, _ = in_time(script, fair)
    assert 0.5 < sum(on_time) / len(on_time) < 0.9  # a quarter of this minute has no sound or no picture
    assert sum(in_time(script, joined(script, queue_size=50, slop_ns=100 * MS))[0]) == 0  # text comes 0.4 s late at the least
    assert av_errors_ms(script, fair)[0] >= 0
    assert fair.unaccounted(script) > 1000


def test_the_table_has_a_row_for_each_set_up(script):
    rows, broken = table(script, with_peers=False)
    assert broken == []
    assert rows.count("Sensorium") == 2
    assert script.seconds * S == 60 * S
