"""The scripts of drift and pairing are what they say, and the clock map's claims hold on some minutes of them."""

from itertools import pairwise

import numpy as np
import pytest

from benchmarks.drift import Arrived, Counted, Locked, Mapped, follow, held
from benchmarks.drift_script import LEAST_NS, MS, PERIOD_NS, S, drift_script
from benchmarks.pairing import approximate, by_stamp, judge, ours
from benchmarks.pairing_script import pairing_script


def test_the_drift_script_loses_blocks_unsaid_and_counts_from_0_after_a_reconnect():
    seen = list(drift_script(1.4, 200, 3))
    assert [packet.arrival_ns for packet in seen] == sorted(packet.arrival_ns for packet in seen)
    audio = [packet for packet in seen if packet.stream == "audio"]
    for before, after in pairwise(audio):
        if not after.again:
            counted = after.device_ns - before.device_ns
            assert abs(counted - PERIOD_NS["audio"] * 1.0002) <= 2
            assert after.true_ns - before.true_ns == PERIOD_NS["audio"] * (1 + after.lost)
    assert sum(packet.lost > 0 for packet in audio) > 1
    again = [packet for packet in seen if packet.again]
    assert again
    assert all(packet.device_ns == 0 for packet in again)


def test_ten_minutes_of_drift_keep_every_claim_and_the_peers_do_not():
    def score(make):
        return follow(drift_script(0.25, 500, 5), {stream: make(stream) for stream in LEAST_NS})

    ours_ = score(Mapped)
    assert held(ours_)
    assert ours_.told == f"{ours_.steps}/{ours_.steps}"
    assert not any(held(score(peer)) for peer in (Counted, Arrived, Locked))


@pytest.fixture(scope="module")
def paired():
    return pairing_script(120, 0, 4)


def test_the_pairing_script_is_what_it_says(paired):
    video = [sent for sent in paired.sent if sent.stream == "video"]
    audio = [sent for sent in paired.sent if sent.stream == "audio"]
    assert np.std([sent.stamp_ns - sent.true_ns * (1 + 8e-6) for sent in video]) == pytest.approx(4 * MS, rel=0.1)
    assert np.std([sent.stamp_ns - sent.true_ns * (1 + 8e-6) for sent in audio]) == pytest.approx(1.5 * MS, rel=0.1)
    assert 0.003 < sum(block is None for block in paired.right.values()) / len(paired.right) < 0.03
    assert max(a.seq - b.seq for a, b in pairwise(audio)) >= 5  # overtaken by 100 ms or more


def test_two_minutes_of_pairing_are_better_than_by_stamp(paired):
    mine, stamp, ros = (judge(paired, result) for result in (ours(paired), by_stamp(paired, holding=False), approximate(paired, 20 * MS)))
    assert mine.exact > 0.9 > max(stamp.exact, ros.exact)
    assert mine.near > 0.99
    assert mine.emit < 1.15


def test_a_longer_way_moves_no_pair():
    script = pairing_script(240, 100, 4, step_ns=40 * MS)
    assert judge(script, ours(script), from_ns=100 * S).near > 0.95


@pytest.mark.parametrize("off_s", [-7, 7])
def test_clocks_that_were_never_set_are_marked(off_s):
    script = pairing_script(60, 0, 4, off_ns=off_s * S)
    assert judge(script, ours(script)).flagged == 1.0
