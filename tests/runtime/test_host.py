"""Many sessions in one engine, without processes: what happens to one of them happens to no other."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import pytest
from fakeplan import MS, FakePlan, Script

from operators.errors import BackendError, ConfigError, SensoriumError
from pipeline.clock import FakeClock
from pipeline.runtime.engine import Laps
from pipeline.runtime.failure import failure_of
from pipeline.runtime.host import Host
from pipeline.runtime.job import EngineJob, Job
from pipeline.runtime.stage import FUSION, Message, StageLost

S = 1000 * MS


class Stage:
    """Opens what is made at once; what is asked to stop says that it ended, unless it is deaf. next: what is said then."""

    def __init__(self) -> None:
        self.next: list[Message] = []
        self.killed: list[str] = []
        self.stopped: list[str] = []
        self.deaf = False
        self.open_to_all = False

    def make(self, name: str, generation: int) -> None:
        self.next.append(Message(name=name, generation=generation, what="opened", values={"cost_ns": 7} if name == FUSION else {}))

    def run(self, name: str, generation: int, arguments: dict[str, Any]) -> None: ...

    def lose(self, names: list[str]) -> None: ...

    def vacate(self, names: list[str]) -> None: ...

    def change(self, config_json: str) -> None: ...

    def record(self, recording: object) -> None: ...

    def connect(self, edges: dict[str, str]) -> None: ...

    def stop(self, name: str) -> None:
        self.stopped.append(name)
        if not self.deaf:
            self.next.append(Message(name=name, generation=0, what="ended"))

    def kill(self, name: str) -> None:
        self.killed.append(name)

    def check(self) -> None:
        if self.open_to_all:
            raise SensoriumError("listening beyond this machine on 0.0.0.0:80")

    def messages(self) -> Iterator[Message]:
        messages, self.next = self.next, []
        yield from messages


class Inbox:
    def __init__(self) -> None:
        self.letters: list[dict[str, Any]] = []

    def messages(self, timeout_ms: int) -> Iterator[dict[str, Any]]:
        letters, self.letters = self.letters, []
        yield from letters


class Place:
    def __init__(self) -> None:
        self.stage, self.inbox, self.closed = Stage(), Inbox(), 0

    def close(self) -> None:
        self.closed += 1


class Ground:
    """A wait takes 20 ms. full: why no more are taken on; none_left: what a place costs then."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.places: dict[str, list[Place]] = {}
        self.full: str | None = None
        self.costs: list[tuple[str, int]] = []
        self.most_ns: int | None = None
        self.none_left: SensoriumError | None = None
        self.lost = self.open_to_all = False

    def place(self, job: Job, plan: FakePlan) -> Place:
        if self.none_left is not None:
            raise self.none_left
        self.places.setdefault(job.session, []).append(Place())
        self.places[job.session][-1].stage.open_to_all = self.open_to_all
        return self.places[job.session][-1]

    def wait(self, timeout_ms: int) -> None:
        self.clock.sleep_until(self.clock.now_ns() + timeout_ms * MS)
        if self.lost:
            raise StageLost("Ray's raylet died")

    def refusal(self, session: str, plan: FakePlan) -> str | None:
        known = [cost_ns for name, cost_ns in self.costs if name == session]
        return "too heavy" if self.most_ns is not None and known and known[-1] > self.most_ns else self.full

    def learn(self, session: str, cost_ns: int) -> None:
        self.costs.append((session, cost_ns))

    def figures(self) -> dict[str, Any]:
        return {"cores": 1.5}


class Story:
    """A host, told a deed at each look; it ends when there are no more deeds."""

    def __init__(self, *names: str) -> None:
        self.clock = FakeClock()
        self.ground = Ground(self.clock)
        self.said: list[dict[str, Any]] = []
        self.plans: dict[str, Callable[[], FakePlan]] = {}
        self.host = Host(self.ground, self.clock, self.said.append, random.Random(1), self._plan)
        self._job = EngineJob(folder="", asked_ns=0, sessions=tuple(job(name) for name in names))
        self._orders: list[dict[str, Any]] = []

    def _plan(self, job: Job) -> FakePlan:
        return self.plans.get(job.session, lambda: FakePlan({"cam": Script([]), "mic": Script([])}, speed=1))()

    def run(self, *deeds: Callable[[], None]) -> None:
        left = list(deeds)

        def orders() -> list[dict[str, Any]]:
            left.pop(0)()
            orders, self._orders = self._orders, []
            return orders

        self.host.serve(self._job, Laps(self.clock, 0), lambda: not left, orders)

    def order(self, **values: Any) -> Callable[[], None]:
        return lambda: self._orders.append(values)

    def start(self, name: str) -> Callable[[], None]:
        return self.order(start=asdict(job(name)))

    def place(self, name: str) -> Place:
        return self.ground.places[name][-1]

    def fails(self, name: str, failure: Any) -> Callable[[], None]:
        message = Message(name=FUSION, generation=0, what="failed", failure=failure)
        return lambda: self.place(name).stage.next.append(message)

    def says(self, name: str, **values: Any) -> Callable[[], None]:
        return lambda: self.place(name).inbox.letters.append({"generation": 0, **values})

    def kinds(self, name: str) -> list[str]:
        """Without the statuses that come now and then."""
        lines = [line for line in self.said if line.get("session") == name]
        return [line["type"] for line in lines if line["type"] != "status" or line["status"]["final"]]


def job(name: str) -> Job:
    return Job(session=name, config_json="{}", digest="d" * 64)


def look() -> None:
    pass


def decided(window: int) -> dict[str, Any]:
    return {"revision": 0, "window": window}


def test_sessions_begin_go_on_and_end_in_order() -> None:
    story = Story("a", "b")
    story.run(look, look, story.says("a", **{"from": FUSION, "decision": decided(0)}), look)
    assert story.said[0] == {"type": "up"}
    assert story.kinds("a") == ["started", "decision", "status", "ended"]
    assert story.kinds("b") == ["started", "status", "ended"]
    assert all(sorted(story.place(name).stage.stopped) == ["cam", FUSION, "mic"] for name in "ab")
    assert [story.place(name).closed for name in "ab"] == [1, 1]


def test_a_session_is_accepted_and_runs_beside_the_others() -> None:
    story = Story("a")
    story.run(look, story.start("b"), look, look)
    assert story.kinds("b") == ["accepted", "started", "status", "ended"]
    assert story.kinds("a") == ["started", "status", "ended"]


def test_a_session_that_would_be_too_much_is_refused_with_the_figure_and_nothing_of_it_is_made() -> None:
    story = Story("a")
    story.ground.full = "it needs 0.6 of a core, and 0.2 are free"
    story.run(look, story.start("b"), look)
    assert [line for line in story.said if line.get("session") == "b"] == [{"type": "refused", "session": "b", "why": story.ground.full}]
    assert "b" not in story.ground.places
    assert story.kinds("a")[0] == "started"


def test_what_a_model_costs_is_known_once_it_is_loaded_and_then_a_session_may_still_be_refused() -> None:
    story = Story("a")
    story.ground.most_ns = 6
    story.run(look, story.start("b"), look)
    assert story.kinds("b") == ["refused"]
    assert story.said[-1 - [line.get("session") for line in reversed(story.said)].index("b")]["why"] == "too heavy"
    assert story.ground.places["b"][0].closed == 1
    assert story.kinds("a") == ["started", "status", "ended"]


def test_those_that_run_already_are_not_asked_whether_they_fit() -> None:
    story = Story("a")
    story.ground.full = "no"
    story.run(look, look)
    assert story.kinds("a") == ["started", "status", "ended"]


@pytest.mark.parametrize("error", [ConfigError("a.yaml", "model", "is gone", "put it back"), SensoriumError("no socket for you")])
def test_a_session_that_cannot_be_made_fails_with_its_line_and_exit_code_and_the_others_go_on(error: SensoriumError) -> None:
    story = Story("a")

    def no_plan() -> FakePlan:
        raise error

    story.plans["b"] = no_plan
    story.run(look, story.start("b"), look)
    [line] = [line for line in story.said if line.get("session") == "b"]
    assert line == {"type": "failed", "session": "b", "error": failure_of(error).to_json()}
    assert line["error"]["exit_code"] == error.exit_code
    assert story.kinds("a") == ["started", "status", "ended"]


def test_where_there_is_no_place_only_the_new_session_fails() -> None:
    story = Story("a")
    story.run(look, lambda: setattr(story.ground, "none_left", SensoriumError("the disk is full")), story.start("b"), look)
    assert story.kinds("b") == ["failed"]
    assert story.kinds("a") == ["started", "status", "ended"]


def test_one_sessions_mistake_ends_only_that_session() -> None:
    story = Story("a", "b", "c")
    mistake = failure_of(BackendError("no logits"))
    story.run(look, look, story.fails("b", mistake), look, look)
    assert story.kinds("b") == ["started", "failed"]
    assert [line for line in story.said if line["type"] == "failed"] == [{"type": "failed", "session": "b", "error": mistake.to_json()}]
    assert (sorted(story.place("b").stage.killed), story.place("b").closed) == (["cam", FUSION, "mic"], 1)
    assert story.kinds("a") == story.kinds("c") == ["started", "status", "ended"]


def test_a_session_that_would_be_open_to_all_does_not_begin_and_the_others_go_on() -> None:
    story = Story("a")
    story.run(look, lambda: setattr(story.ground, "open_to_all", True), story.start("b"), look, look)
    assert story.kinds("b") == ["accepted", "failed"]
    assert story.kinds("a") == ["started", "status", "ended"]


def test_a_session_ends_when_it_is_asked_to_while_the_others_go_on() -> None:
    story = Story("a", "b")
    story.run(look, look, story.order(end="a"), look, look)
    ended = next(n for n, line in enumerate(story.said) if line == {"type": "ended", "session": "a"})
    assert any(line.get("session") == "b" and line["type"] == "ended" for line in story.said[ended:])
    assert (story.kinds("a"), story.place("a").closed) == (["started", "status", "ended"], 1)


def test_a_name_can_be_used_again() -> None:
    story = Story("a")
    story.run(look, look, story.order(end="a"), look, story.start("a"), look, look)
    assert story.kinds("a") == ["started", "status", "ended", "accepted", "started", "status", "ended"]
    assert [place.closed for place in story.ground.places["a"]] == [1, 1]


def test_a_session_of_a_name_that_still_runs_takes_its_place() -> None:
    story = Story("a")
    story.run(look, look, story.start("a"), look, look)
    first, second = story.ground.places["a"]
    assert (first.closed, sorted(first.stage.killed)) == (1, ["cam", FUSION, "mic"])
    assert second.closed == 1
    assert story.kinds("a") == ["started", "accepted", "started", "status", "ended"]


def test_a_change_reaches_its_session_only() -> None:
    story = Story("a", "b")
    fewer = FakePlan({"cam": Script([])}, speed=1)
    change = story.order(change={"session": "a", "config": "{}"}, digest="d" * 64)
    story.run(look, look, lambda: story.plans.update(a=lambda: fewer), change, look)
    assert story.place("a").stage.killed[0] == "mic"
    assert sorted(story.place("b").stage.stopped) == ["cam", FUSION, "mic"]


def test_a_change_that_cannot_be_made_ends_its_session_only() -> None:
    story = Story("a", "b")

    def no_plan() -> FakePlan:
        raise ConfigError("a.yaml", "model", "is gone", "put it back")

    change = story.order(change={"session": "a", "config": "{}"}, digest="d" * 64)
    story.run(look, look, lambda: story.plans.update(a=no_plan), change, look)
    assert story.kinds("a") == ["started", "failed"]
    assert story.kinds("b") == ["started", "status", "ended"]


def test_orders_for_a_session_that_is_gone_are_for_nobody() -> None:
    story = Story("a")
    gone = [story.order(end="b"), story.order(change={"session": "b", "config": "{}"}, digest="")]
    story.run(look, *gone, story.order(record={"session": "b", "recording": None}), story.order(dance=1), look)
    assert story.kinds("a") == ["started", "status", "ended"]


def test_a_session_that_does_not_end_keeps_nobody_from_ending() -> None:
    story = Story("a", "b")
    story.run(look, look, lambda: setattr(story.place("a").stage, "deaf", True))
    assert story.clock.now_ns() < 2 * S
    assert story.kinds("a") == story.kinds("b") == ["started", "status", "ended"]


def test_what_all_live_on_is_no_sessions_own_loss() -> None:
    story = Story("a", "b")
    with pytest.raises(StageLost, match="raylet"):
        story.run(look, look, lambda: setattr(story.ground, "lost", True), look)
    assert not any(line["type"] in ("failed", "ended") for line in story.said)


def test_it_tells_its_figures_about_once_a_second() -> None:
    story = Story()
    story.run(*[look] * 151)
    figures = [line for line in story.said if line["type"] == "engine"]
    assert figures == [{"type": "engine", "cores": 1.5}] * 4


def test_lines_of_a_session_come_in_the_order_in_which_things_happened() -> None:
    story = Story("a")
    letters = [story.says("a", **{"from": FUSION, "decision": decided(n)}) for n in range(3)]
    story.run(look, look, *letters, look)
    windows = [line["decision"]["window"] for line in story.said if line["type"] == "decision"]
    assert windows == [0, 1, 2]
    assert [line["session"] for line in story.said if "session" in line] == ["a"] * sum("session" in line for line in story.said)
