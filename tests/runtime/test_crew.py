"""The crew against a node without processes: whose seat is where, what becomes of it, and who hears of it."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from operators.errors import BackendError, SourceError
from pipeline.clock import FakeClock
from pipeline.runtime.crew import Crew, SessionStage
from pipeline.runtime.failure import Failure, death, failure_of
from pipeline.runtime.seats import OPENING_NS, PATIENCE_NS
from pipeline.runtime.stage import FUSION, Message
from pipeline.runtime.wires import Wires
from pipeline.session.layout import Recording

DIED = death("ActorDiedError")
Call = tuple[str, tuple[Any, ...]]


@dataclass(eq=False)
class Actor:
    """calls: what it was asked for and has not answered."""

    name: str
    calls: dict[int, Call] = field(default_factory=dict)
    heard: list[Call] = field(default_factory=list)
    killed: int = 0

    def asked(self, method: str) -> list[tuple[Any, ...]]:
        return [arguments for name, arguments in self.heard if name == method]


class Node:
    """Answers what it is told to; a process that is killed answers no call any more but with its death."""

    def __init__(self) -> None:
        self.sources: list[Actor] = []
        self.shared: list[Actor] = []
        self._count = 0
        self._answers: dict[int, Any] = {}

    def ingest(self, *arguments: object, labels: Mapping[str, str]) -> Actor:
        self.sources.append(Actor(str(arguments[2])))
        return self.sources[-1]

    def fusion(self) -> Actor:
        self.shared.append(Actor(FUSION))
        return self.shared[-1]

    def call(self, actor: Actor, method: str, *arguments: object) -> int:
        self._count += 1
        actor.heard.append((method, arguments))
        actor.calls[self._count] = (method, arguments)
        if actor.killed:
            self._answers[self._count] = DIED
        return self._count

    def kill(self, actor: Actor) -> None:
        actor.killed += 1
        self._answers |= dict.fromkeys(actor.calls, DIED)

    def answer(self, actor: Actor, method: str, values: Any, *, about: str = "") -> None:
        """Its oldest call of that name (and seat)."""
        number = next(n for n, (name, arguments) in actor.calls.items() if name == method and (not about or arguments[:1] == (about,)))
        del actor.calls[number]
        self._answers[number] = values

    def ready(self, refs: Sequence[int]) -> Iterator[tuple[int, Any]]:
        for ref in refs:
            if ref in self._answers:
                yield ref, self._answers.pop(ref)


class Story:
    """Sessions on one crew."""

    def __init__(self, most: int = 1) -> None:
        self.clock, self.node = FakeClock(), Node()
        self.crew = Crew(self.node, self.clock, most)

    def stage(self, name: str) -> SessionStage:
        wires = Wires(folder=f"/tmp/{name}", inputs=("cam",))
        return SessionStage(self.crew, name, f"config of {name}", "d" * 64, wires)

    def seated(self, *names: str) -> list[SessionStage]:
        """Each with an open seat that runs."""
        stages = [self.stage(name) for name in names]
        for stage in stages:
            stage.make(FUSION, 0)
            process = self.process_of(stage)
            self.node.answer(process, "open", {"backend": "fake", "pid": 7}, about=stage.session)
            assert self.said(stage) == [("opened", 0)]
            stage.run(FUSION, 0, {"epoch_ns": 1})
            self.node.answer(process, "run", {}, about=stage.session)
        return stages

    def process_of(self, stage: SessionStage) -> Actor:
        return next(actor for actor in reversed(self.node.shared) if any(args[0] == stage.session for args in actor.asked("open")))

    def said(self, stage: SessionStage) -> list[tuple[str, int]]:
        return [(message.what, message.generation) for message in self.messages(stage)]

    def messages(self, stage: SessionStage) -> list[Message]:
        self.crew.collect()
        return list(stage.messages())

    def number(self, stage: SessionStage) -> int:
        """By which its process tells of its end."""
        return [arguments[1] for arguments in self.process_of(stage).asked("run") if arguments[0] == stage.session][-1]


def test_seats_are_shared_by_as_few_processes_as_may_be_made() -> None:
    story = Story(most=1)
    story.seated("a", "b", "c")
    assert len(story.node.shared) == 1
    assert [arguments[0] for arguments in story.node.shared[0].asked("open")] == ["a", "b", "c"]


def test_seats_are_spread_over_the_processes_that_may_be_made() -> None:
    story = Story(most=2)
    story.seated("a", "b", "c", "d", "e")
    seats = [[arguments[0] for arguments in actor.asked("open")] for actor in story.node.shared]
    assert seats == [["a", "c", "e"], ["b", "d"]]


def test_a_process_that_is_empty_is_used_before_a_new_one_is_made() -> None:
    story = Story(most=2)
    [a] = story.seated("a")
    a.stop(FUSION)
    story.node.answer(story.node.shared[0], "end", {}, about="a")
    assert story.said(a) == [("ended", 0)]
    story.seated("b")
    assert len(story.node.shared) == 1


def test_a_seat_is_told_what_its_session_is_and_where_its_wires_are() -> None:
    story = Story()
    [a] = story.seated("a")
    assert story.node.shared[0].asked("open") == [("a", "config of a", "d" * 64, a.wires.to_json(), 0)]
    a.lose(["cam"])
    a.vacate(["mic"])
    a.record(Recording(folder="/r"))
    heard = story.node.shared[0]
    assert (heard.asked("lose"), heard.asked("vacate")) == ([("a", ["cam"])], [("a", ["mic"])])
    assert heard.asked("record")[0][1]["folder"] == "/r"


def test_a_source_has_a_process_of_its_own() -> None:
    story = Story()
    a, b = story.stage("a"), story.stage("b")
    a.make("cam", 0)
    b.make("cam", 3)
    mine, other = story.node.sources
    story.node.answer(mine, "open", {"pid": 5, "machine": platform.node(), "end_ns": None})
    [opened] = story.messages(a)
    assert (opened.name, opened.generation, opened.what, opened.values["pid"]) == ("cam", 0, "opened", 5)
    assert story.said(b) == []
    assert story.crew.pids == {("a", "cam"): 5}
    b.run("cam", 3, {"epoch_ns": 9})
    story.node.answer(other, "open", {"error": failure_of(SourceError("cam", "eaten")).to_json()})
    [failed] = story.messages(b)
    assert (failed.what, failed.generation, failed.failure.text) == ("failed", 3, "cam: eaten")


def test_a_source_that_is_killed_is_heard_no_more() -> None:
    story = Story()
    a = story.stage("a")
    a.make("cam", 0)
    a.kill("cam")
    assert story.node.sources[0].killed == 1
    assert story.said(a) == []
    assert story.crew.pids == {}


def test_a_source_whose_process_died_is_heard_as_failed_in_its_generation() -> None:
    story = Story()
    a = story.stage("a")
    a.make("cam", 4)
    story.node.answer(story.node.sources[0], "open", {"pid": 1})
    a.run("cam", 4, {})
    story.node.answer(story.node.sources[0], "run", DIED)
    assert story.said(a) == [("opened", 4), ("failed", 4)]


def test_a_shared_process_that_dies_takes_all_its_seats_and_they_get_a_new_one_together() -> None:
    story = Story()
    a, b = story.seated("a", "b")
    old = story.node.shared[0]
    story.node.kill(old)
    assert story.said(a) == story.said(b) == [("failed", 0)]
    for stage in (a, b):
        stage.kill(FUSION)  # as an engine does with every child that failed
        stage.make(FUSION, 1)
    assert len(story.node.shared) == 2
    assert [arguments[0] for arguments in story.node.shared[1].asked("open")] == ["a", "b"]
    assert old.asked("end") == []


def test_a_death_is_told_once_however_many_calls_were_under_way() -> None:
    story = Story()
    a, b = story.seated("a", "b")
    a.lose(["cam"])
    story.crew.ask_counts()
    b.stop(FUSION)
    story.node.kill(story.node.shared[0])
    assert story.said(a) == story.said(b) == [("failed", 0)]
    assert story.said(a) == []
    assert story.crew.counts() == []


def test_a_call_that_fails_in_a_process_that_lives_costs_it_and_nothing_goes_on_in_there_unseen() -> None:
    story = Story()
    [a] = story.seated("a")
    a.lose(["cam"])
    story.node.answer(story.node.shared[0], "lose", death("RayTaskError"))
    assert story.said(a) == [("failed", 0)]
    assert story.node.shared[0].killed == 1


def test_only_processes_that_live_are_counted_among_those_that_may_be_made() -> None:
    story = Story(most=2)
    a, b = story.seated("a", "b")
    story.node.kill(story.process_of(a))
    assert story.said(a) == [("failed", 0)]
    assert story.said(b) == []
    story.seated("c", "d")
    assert len(story.node.shared) == 3


def test_a_seat_that_hangs_costs_its_process() -> None:
    story = Story()
    a, b = story.seated("a", "b")
    a.kill(FUSION)  # it was silent
    story.clock.sleep_until(PATIENCE_NS)
    assert story.said(b) == []
    story.clock.sleep_until(PATIENCE_NS + 1)
    assert story.said(b) == []
    assert story.node.shared[0].killed == 1
    assert story.said(b) == [("failed", 0)]


def test_nobody_is_seated_in_a_process_that_owes_an_answer() -> None:
    story = Story()
    [a] = story.seated("a")
    a.kill(FUSION)
    a.make(FUSION, 1)
    b = story.stage("b")
    b.make(FUSION, 0)
    assert len(story.node.shared[0].asked("open")) == 1
    story.node.answer(story.node.shared[0], "end", {}, about="a")
    story.crew.collect()
    assert [(arguments[0], arguments[-1]) for arguments in story.node.shared[0].asked("open")[1:]] == [("a", 1), ("b", 0)]


def test_one_answer_does_not_stand_for_another() -> None:
    story = Story()
    a, b = story.seated("a", "b")
    a.kill(FUSION)
    b.kill(FUSION)
    story.node.answer(story.node.shared[0], "end", {}, about="a")
    story.crew.collect()
    story.clock.sleep_until(PATIENCE_NS + 1)
    story.crew.collect()
    assert story.node.shared[0].killed == 1


def test_a_process_that_answers_in_time_is_spared() -> None:
    story = Story()
    a, b = story.seated("a", "b")
    a.stop(FUSION)
    story.node.answer(story.node.shared[0], "end", {}, about="a")
    story.crew.collect()
    story.clock.sleep_until(10 * PATIENCE_NS)
    assert story.said(b) == []
    assert story.node.shared[0].killed == 0


def test_a_seat_is_told_to_run_where_it_sits_now() -> None:
    story = Story(most=2)
    [a] = story.seated("a")
    a.kill(FUSION)
    a.make(FUSION, 1)  # the old one owes its end, so this is another process
    old, new = story.node.shared
    story.node.answer(new, "open", {}, about="a")
    assert story.said(a) == [("opened", 1)]
    a.run(FUSION, 1, {})
    assert (len(old.asked("run")), len(new.asked("run"))) == (1, 1)


@pytest.mark.parametrize("order", [("end", "ends"), ("ends", "end")])
def test_a_session_that_ends_while_others_run_is_told_so_once(order: tuple[str, str]) -> None:
    story = Story()
    a, b = story.seated("a", "b")
    process, number = story.node.shared[0], story.number(a)
    a.stop(FUSION)
    said = []
    for word in order:
        story.node.answer(process, word, {} if word == "end" else [("a", number, {})])
        said += story.said(a)
    assert said == [("ended", 0)]
    assert story.said(b) == []
    assert process.killed == 0


def test_a_run_that_fails_ends_its_seat_only() -> None:
    story = Story()
    a, b = story.seated("a", "b")
    error = failure_of(BackendError("no logits")).to_json()
    story.node.answer(story.node.shared[0], "ends", [("b", story.number(b), {"error": error})])
    [message] = story.messages(b)
    assert (message.what, message.failure) == ("failed", Failure.from_json(error))
    assert story.said(a) == []
    assert len(story.node.shared[0].asked("ends")) == 2  # and listens on


def test_a_model_that_cannot_be_opened_leaves_its_seat_free() -> None:
    story = Story(most=2)
    a = story.stage("a")
    a.make(FUSION, 0)
    story.node.answer(story.node.shared[0], "open", {"error": failure_of(BackendError("other weights")).to_json()})
    assert story.said(a) == [("failed", 0)]
    a.kill(FUSION)
    assert story.node.shared[0].asked("end") == []
    story.seated("b")
    assert len(story.node.shared) == 1


def test_the_last_words_of_a_session_are_not_heard_by_the_next_of_its_name() -> None:
    story = Story()
    [first] = story.seated("a")
    process, number = story.node.shared[0], story.number(first)
    first.kill(FUSION)
    story.crew.forget(first)
    story.node.answer(process, "end", {}, about="a")
    story.crew.collect()
    [second] = story.seated("a")
    story.node.answer(process, "ends", [("a", number, {})])
    assert story.said(second) == []
    second.lose(["cam"])
    assert process.asked("lose") == [("a", ["cam"])]


def test_a_seat_that_nobody_wants_any_more_is_ended_when_its_model_is_loaded() -> None:
    story = Story()
    [a] = story.seated("a")
    b = story.stage("b")
    b.make(FUSION, 0)
    b.kill(FUSION)
    story.crew.forget(b)
    process = story.node.shared[0]
    story.clock.sleep_until(OPENING_NS)
    again, c = story.stage("b"), story.stage("c")
    again.make(FUSION, 0)  # of the same name: it waits
    c.make(FUSION, 0)
    assert story.said(a) == []
    assert [arguments[0] for arguments in process.asked("open")] == ["a", "b", "c"]
    story.node.answer(process, "open", {"pid": 7}, about="b")
    story.crew.collect()
    assert process.asked("end") == [("b",)]
    story.node.answer(process, "end", {}, about="b")
    story.crew.collect()
    assert [arguments[0] for arguments in process.asked("open")] == ["a", "b", "c", "b"]
    assert (process.killed, story.said(again)) == (0, [])


def test_a_model_that_does_not_load_costs_its_process_in_the_end() -> None:
    story = Story()
    a, b = story.seated("a", "b")
    a.kill(FUSION)
    story.node.answer(story.node.shared[0], "end", {}, about="a")
    story.crew.collect()
    a.make(FUSION, 1)
    story.clock.sleep_until(OPENING_NS + 1)
    assert story.said(b) == []
    a.kill(FUSION)  # its engine has waited long enough
    story.crew.collect()
    assert story.node.shared[0].killed == 1
    assert story.said(b) == [("failed", 0)]


def test_a_session_that_is_forgotten_while_it_waits_gets_no_seat() -> None:
    story = Story()
    [a] = story.seated("a")
    a.kill(FUSION)
    b = story.stage("b")
    b.make(FUSION, 0)
    b.kill(FUSION)
    story.crew.forget(b)
    story.node.answer(story.node.shared[0], "end", {}, about="a")
    story.crew.collect()
    assert [arguments[0] for arguments in story.node.shared[0].asked("open")] == ["a"]


def test_who_waits_for_a_seat_in_a_new_generation_gets_one() -> None:
    story = Story()
    a, b = story.seated("a", "b")
    a.kill(FUSION)
    b.kill(FUSION)
    b.make(FUSION, 1)
    b.kill(FUSION)
    b.make(FUSION, 2)
    process = story.node.shared[0]
    for name in ("a", "b"):
        story.node.answer(process, "end", {}, about=name)
    story.crew.collect()
    assert [arguments[-1] for arguments in process.asked("open") if arguments[0] == "b"] == [0, 2]


def test_counts_are_asked_for_one_at_a_time() -> None:
    story = Story()
    story.seated("a")
    story.crew.ask_counts()
    story.crew.ask_counts()
    process = story.node.shared[0]
    assert len(process.asked("counts")) == 1
    story.node.answer(process, "counts", {"encode": {"1": 3}})
    story.crew.collect()
    assert story.crew.counts() == [{"encode": {"1": 3}}]
    story.crew.ask_counts()
    assert len(process.asked("counts")) == 2


def test_a_source_is_asked_to_stop_and_to_record() -> None:
    story = Story()
    a = story.stage("a")
    a.make("cam", 0)
    a.record(None)
    a.stop("cam")
    actor = story.node.sources[0]
    assert [name for name, _ in actor.heard] == ["open", "record", "stop"]
    story.node.answer(actor, "record", {})
    story.node.answer(actor, "stop", {})
    assert story.said(a) == []
