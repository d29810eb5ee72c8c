"""The life of a child: every state against everything that can happen to it."""

from __future__ import annotations

import random
from typing import get_args

import pytest

from operators.errors import ContractError
from pipeline.runtime.supervise import FINAL, SECOND, TRANSITIONS, Child, Happening, RestartPolicy, State

POLICY = RestartPolicy(first_ns=100, factor=2, most_ns=1000, jitter=0, failures=4, healthy_ns=5000, silent_ns=500, opening_ns=900)
WAYS: dict[State, list[tuple[Happening, int]]] = {
    "opening": [],
    "ready": [("opened", 0)],
    "running": [("opened", 0), ("went", 0)],
    "ended": [("opened", 0), ("went", 0), ("ended", 0)],
    "backoff": [("failed", 0)],
    "stopped": [("stop", 0)],
}


def child(*happenings: tuple[Happening, int]) -> Child:
    child = Child("cam", POLICY, random.Random(1), 0)
    for what, now in happenings:
        child.happens(what, now)
    return child


def lost() -> Child:
    it = child()
    for n in range(4):
        it.happens("failed", 10_000 * n, "poison")
        it.tick(10_000 * n + 9_999)
    return it


@pytest.mark.parametrize("state", get_args(State))
@pytest.mark.parametrize("what", get_args(Happening))
def test_what_is_not_in_the_table_changes_nothing(state: State, what: Happening) -> None:
    it = lost() if state == "lost" else child(*WAYS[state])
    assert it.state == state
    orders = it.happens(what, 0)
    if what == "stop":
        assert it.state == (state if state in FINAL else "stopped")
    else:
        assert it.state == TRANSITIONS.get((state, what), state)
        assert orders == (("kill",) if (state, what) in TRANSITIONS and what == "failed" else ())


def test_a_failed_child_is_started_again_after_its_pause() -> None:
    it = child(*WAYS["running"])
    assert it.happens("failed", 1000, "died") == ("kill",)
    assert it.tick(1099) == ()
    assert it.tick(1100) == ("start",)
    assert (it.state, it.generation, it.restarts, it.why) == ("opening", 1, 1, "died")


def test_pauses_grow_and_are_bounded() -> None:
    assert [POLICY.pause_ns(n, random.Random(0)) for n in range(1, 7)] == [100, 200, 400, 800, 1000, 1000]
    assert POLICY.pause_ns(10**6, random.Random(0)) == 1000


def test_jitter_stays_within_its_share() -> None:
    policy, rng = RestartPolicy(first_ns=1000, jitter=0.2), random.Random(3)
    pauses = {policy.pause_ns(1, rng) for _ in range(200)}
    assert len(pauses) > 100
    assert min(pauses) >= 800
    assert max(pauses) <= 1200


def test_a_child_that_fails_again_and_again_is_lost() -> None:
    it = lost()
    assert (it.state, it.failures, it.restarts) == ("lost", 4, 3)
    assert it.tick(10**12) == ()


def test_the_last_failure_says_give_up_once() -> None:
    it = child()
    said = []
    for n in range(9):
        said += it.happens("failed", 10_000 * n)
        said += it.tick(10_000 * n + 9_999)
    assert said.count("give_up") == 1
    assert said.count("start") == 3


def test_running_well_for_long_forgives() -> None:
    it = child(("failed", 0))
    it.tick(100)
    it.happens("opened", 100)
    it.happens("went", 100)
    for now in range(100, 5300, 100):
        it.beat(now)
        it.tick(now)
    assert it.failures == 0


@pytest.mark.parametrize("state", ["running", "ended"])
def test_silence_is_a_failure(state: State) -> None:
    it = child(*WAYS[state])
    it.beat(300)
    assert it.tick(800) == ()
    assert it.tick(801) == ("kill",)
    assert it.why.startswith("silent")


def test_opening_may_take_longer_than_silence_but_not_for_ever() -> None:
    it = child()
    assert it.tick(900) == ()
    assert it.tick(901) == ("kill",)


def test_beats_out_of_order_do_not_age_a_child() -> None:
    it = child(*WAYS["running"])
    it.beat(700)
    it.beat(10)
    assert it.tick(1200) == ()


@pytest.mark.parametrize("bad", [{"first_ns": 0}, {"factor": 0.5}, {"most_ns": 1}, {"jitter": 1.0}, {"failures": 0}])
def test_a_policy_that_cannot_work_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ContractError):
        RestartPolicy(**bad)  # type: ignore[arg-type]


def test_the_default_policy_gives_up_within_half_a_minute() -> None:
    policy = RestartPolicy(jitter=0)
    assert sum(policy.pause_ns(n, random.Random(0)) for n in range(1, policy.failures)) < 30 * SECOND
