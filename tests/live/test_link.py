"""The connection of a live source against everything that can happen to it; time is an argument."""

import random

import pytest

from operators.errors import ContractError
from pipeline.live.link import Link, LinkPolicy

POLICY = LinkPolicy(first_ns=100, factor=2, most_ns=1000, jitter=0, connect_ns=500, stall_ns=150, release_ns=50, healthy_ns=2000)


def link(policy=POLICY):
    return Link(policy, random.Random(1), 0)


def up(now=0):
    it = link()
    assert it.tick(now) == ("connect",)
    it.connected(now)
    return it


def test_it_connects_at_once_and_says_so():
    it = link()
    assert it.state == "connecting"
    assert it.tick(0) == ("connect",)
    assert it.tick(1) == ()
    it.connected(30)
    assert it.state == "live"


def test_what_was_never_there_is_connecting_and_what_went_away_is_lost():
    never, gone = link(), up()
    never.tick(0)
    never.ended(10, "no such device")
    gone.ended(10, "unplugged")
    assert (never.state, gone.state) == ("connecting", "lost")
    assert (never.why, gone.why) == ("no such device", "unplugged")


def test_pauses_grow_to_their_bound_and_it_never_gives_up():
    it = link()
    now, waits = 0, []
    for _ in range(1000):
        begun = now
        while it.tick(now) != ("connect",):
            now += 1
        waits.append(now - begun)
        it.ended(now, "refused")
    assert waits[:6] == [0, 100, 200, 400, 800, 1000]
    assert set(waits[6:]) == {1000}


def test_pauses_of_two_sources_are_not_in_step():
    policy = LinkPolicy(first_ns=100, most_ns=1000, jitter=0.2)
    lot = random.Random(5)
    pauses = {policy.pause_ns(4, lot) for _ in range(50)}
    assert len(pauses) > 25
    assert all(640 <= pause <= 960 for pause in pauses)


def test_a_connection_without_data_is_let_go_as_stalled():
    it = up()
    it.heard(100)
    assert it.tick(250) == ()
    assert it.tick(251) == ("release",)
    assert it.state == "stalled"
    it.ended(260, "let go")
    assert it.state == "lost"
    assert "nothing came" in it.why
    assert it.tick(360) == ("connect",)


def test_a_connection_that_does_not_let_go_is_abandoned():
    it = up()
    it.tick(151)
    assert it.tick(201) == ()
    assert it.tick(202) == ("abandon",)
    assert it.state == "lost"
    assert it.tick(302) == ("connect",)


def test_an_attempt_without_an_answer_is_let_go():
    it = link()
    it.tick(0)
    assert it.tick(500) == ()
    assert it.tick(501) == ("release",)
    assert it.state == "connecting"
    it.ended(510, "too late")
    assert "no answer" in it.why


def test_silence_is_normal_for_a_stream_of_text():
    it = link(LinkPolicy(stall_ns=None))
    it.tick(0)
    it.connected(0)
    assert it.tick(10**15) == ()
    assert it.state == "live"


def test_failures_are_forgiven_after_a_while_of_health():
    it = link()
    for now in (0, 100, 300):
        it.tick(now)
        it.ended(now, "refused")
    it.tick(700)
    it.connected(700)
    for now in range(700, 2900, 100):
        it.heard(now)
        it.tick(now)
    it.ended(2800, "cut")
    assert it.tick(2899) == ()
    assert it.tick(2900) == ("connect",)


def test_a_connection_that_fails_at_once_is_not_tried_in_a_loop():
    it = link()
    now, connects = 0, 0
    while now < 10_000:
        if it.tick(now) == ("connect",):
            connects += 1
            it.connected(now)
            it.ended(now, "cut")
        now += 1
    assert connects < 15


def test_what_comes_late_changes_nothing():
    it = up()
    it.ended(10, "cut")
    it.connected(11)
    it.ended(12, "again")
    assert (it.phase, it.failures) == ("idle", 1)


def test_reconnects_are_counted_from_the_second_time_on():
    it = up()
    it.ended(10, "cut")
    it.tick(110)
    it.connected(120)
    assert it.reconnects == 1


@pytest.mark.parametrize("wrong", [{"connect_ns": 0}, {"stall_ns": -1}, {"release_ns": 0}, {"jitter": 1.0}, {"first_ns": 0}])
def test_a_policy_that_cannot_be_is_refused(wrong):
    with pytest.raises(ContractError):
        LinkPolicy(**wrong)
