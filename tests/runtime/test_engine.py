"""The engine on a stage without processes: who is tried again, and what ends the run at once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from fakeplan import MS, FakePlan, Script

from operators.errors import BackendError, ConfigError, ContractError, DeviceLost, EngineMismatch, SourceError
from pipeline.clock import FakeClock
from pipeline.runtime.engine import Engine, Laps
from pipeline.runtime.failure import CannotGoOn, Failure, death, failure_of
from pipeline.runtime.job import Job
from pipeline.runtime.stage import FUSION, Message, StageLost

ALL = ("fusion", "cam", "mic")
MISTAKES = [ContractError("a ram"), ConfigError("a.yaml", "b", "c", "d"), EngineMismatch("other weights"), BackendError("no logits")]
CRASHES = [SourceError("cam", "eaten"), DeviceLost("cam", "unplugged"), ValueError("oops"), MemoryError()]


class Stage:
    """Opens what it makes as soon as it is asked, but for those in `mute`; `next` are the messages that come then."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.orders: list[tuple[Any, ...]] = []
        self.mute: set[str] = set()
        self.next: list[Message] = []
        self.gone = False

    def make(self, name: str, generation: int) -> None:
        self.orders.append(("make", name, generation))
        if name not in self.mute:
            self.next.append(Message(name=name, generation=generation, what="opened"))

    def run(self, name: str, generation: int, arguments: dict[str, Any]) -> None:
        self.orders.append(("run", name, generation))

    def lose(self, names: list[str]) -> None:
        self.orders.append(("lose", *names))

    def change(self, config_json: str) -> None:
        self.orders.append(("change",))

    def vacate(self, names: list[str]) -> None:
        self.orders.append(("vacate", *names))

    def connect(self, edges: dict[str, str]) -> None: ...

    def stop(self, name: str) -> None:
        self.orders.append(("stop", name))

    def kill(self, name: str) -> None:
        self.orders.append(("kill", name))

    def check(self) -> None:
        self.orders.append(("check",))

    def messages(self) -> Iterator[Message]:
        if self.gone:
            raise StageLost("the boards are broken")
        messages, self.next = self.next, []
        yield from messages


class Mail:
    """Nobody writes, so after 5 s a running actor counts as hung; a look takes 20 ms."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock

    def messages(self, timeout_ms: int) -> Iterator[dict[str, Any]]:
        self.clock.sleep_until(self.clock.now_ns() + 20 * MS)
        return iter(())


class Story:
    """An engine, driven look by look."""

    def __init__(self, epoch_ns: int | None = None) -> None:
        self.clock = FakeClock()
        self.stage = Stage(self.clock)
        plan = FakePlan({"cam": Script([]), "mic": Script([])}, speed=1)
        job = Job(session="story", config_json="", digest="", epoch_ns=epoch_ns)
        self.said: list[dict[str, Any]] = []
        laps = Laps(self.clock, 0)
        self.engine = Engine(plan, job, self.stage, Mail(self.clock), self.clock, self.said.append, random.Random(1), laps)
        self.begun = False
        self.changes: list[Any] = []

    def follow(self, *names: str) -> Any:
        """A deed: these are the sources from now on."""
        return lambda: self.changes.append(FakePlan({name: Script([]) for name in names}, speed=1))

    def run(self, *deeds: Any, looks: int = 15) -> list[tuple[Any, ...]]:
        """Each deed is done before a look of its own, then so many looks are taken; gives the orders."""
        if not self.begun:
            self.begun = True
            self.engine.begin()
        for deed in [*deeds, *[nothing] * looks]:
            deed()
            self.engine.step()
            if self.changes:
                self.engine.change(self.changes.pop(0))
        return self.stage.orders

    def fails(self, name: str, failure: Failure, generation: int = 0) -> Any:
        message = Message(name=name, generation=generation, what="failed", failure=failure)
        return lambda: self.stage.next.append(message)

    def state(self) -> str:
        return [line["status"]["state"] for line in self.said if line["type"] == "status"][-1]


def nothing() -> None:
    pass


def test_the_session_begins_when_all_are_open() -> None:
    story = Story()
    orders = story.run()
    assert orders == [*[("make", name, 0) for name in ALL], ("check",), *[("run", name, 0) for name in ALL]]
    assert [line["type"] for line in story.said if line["type"] != "status"] == ["started"]
    assert story.state() == "running"


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda error: type(error).__name__)
def test_a_mistake_ends_the_run_at_once_with_its_line_and_its_exit_code(name: str, mistake: ContractError) -> None:
    story = Story()
    with pytest.raises(CannotGoOn) as said:
        story.run(nothing, nothing, story.fails(name, failure_of(mistake)))
    assert said.value.failure == Failure(kind="mistake", type=type(mistake).__name__, text=str(mistake), exit_code=mistake.exit_code)
    assert not any(order[0] == "kill" for order in story.stage.orders)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("failure", [*map(failure_of, CRASHES), death("ActorDiedError")], ids=lambda failure: failure.type)
def test_a_crash_is_started_again_after_a_pause(name: str, failure: Failure) -> None:
    story = Story()
    orders = story.run(nothing, nothing, story.fails(name, failure))
    assert orders[-3:] == [("kill", name), ("make", name, 1), ("run", name, 1)]
    assert f"{'fusion' if name == FUSION else f'source {name}'} failed: {failure.text}" in events(story)


def test_pauses_grow_until_the_source_is_lost_and_the_rest_goes_on() -> None:
    story = Story()
    made_ns: list[int] = []

    def make(name: str, generation: int, made: Any = story.stage.make) -> None:
        made(name, generation)
        if name == "cam" and generation:
            made_ns.append(story.clock.now_ns())
            story.fails("cam", death("ActorDiedError"), generation)()

    story.stage.make = make  # type: ignore[method-assign]
    orders = story.run(nothing, nothing, story.fails("cam", death("ActorDiedError")), looks=200)
    gaps = [after - before for before, after in pairwise(made_ns)]
    assert len(made_ns) == 5
    assert all(after > before for before, after in pairwise(gaps))
    assert orders[-1] == ("lose", "cam")
    assert any("source cam is lost after 6 failures" in line for line in events(story))


def test_a_model_that_dies_again_and_again_ends_the_run() -> None:
    story = Story()
    deeds = [nothing, nothing, story.fails("fusion", death("ActorDiedError"))]
    for generation in range(1, 6):
        deeds += [nothing] * 100 + [story.fails("fusion", death("ActorDiedError"), generation)]
    with pytest.raises(CannotGoOn, match="the model's process failed 6 times") as said:
        story.run(*deeds)
    assert said.value.failure.exit_code == 4


def test_before_the_session_an_error_ends_the_run_and_a_death_does_not() -> None:
    story = Story()
    story.stage.mute = {"cam"}
    with pytest.raises(CannotGoOn, match="cam: unplugged") as said:
        story.run(story.fails("cam", failure_of(DeviceLost("cam", "unplugged"))))
    assert said.value.failure.exit_code == 3
    other = Story()
    other.stage.mute = {"cam"}
    orders = other.run(nothing, other.fails("cam", death("ActorDiedError")))
    assert orders[-2:] == [("kill", "cam"), ("make", "cam", 1)]


def test_a_source_that_dies_while_it_opens_is_lost_and_the_session_begins_without_it() -> None:
    story = Story()
    story.stage.mute = {"cam"}
    deeds = [nothing]
    for generation in range(6):
        deeds += [story.fails("cam", death("ActorDiedError"), generation)] + [nothing] * 150
    orders = story.run(*deeds)
    assert orders[-3:] == [("lose", "cam"), ("run", "fusion", 0), ("run", "mic", 0)]


def test_a_session_that_goes_on_waits_for_no_source_and_tries_it_again() -> None:
    story = Story(epoch_ns=5 * MS)
    story.stage.mute = {"cam"}
    orders = story.run(nothing, nothing, story.fails("cam", failure_of(DeviceLost("cam", "unplugged"))))
    assert ("run", "fusion", 0) in orders
    assert ("run", "mic", 0) in orders
    assert orders[-2:] == [("kill", "cam"), ("make", "cam", 1)]


def test_the_engine_ends_when_its_stage_is_gone() -> None:
    story = Story()
    with pytest.raises(StageLost):
        story.run(nothing, nothing, lambda: setattr(story.stage, "gone", True))


def events(story: Story) -> list[str]:
    return [text for line in story.said if line["type"] == "status" for text in line["status"]["events"]]


def test_a_detached_source_is_ended_and_its_input_vacant_at_once() -> None:
    story = Story()
    orders = story.run(nothing, nothing, nothing, story.follow("cam"))
    assert orders[-3:] == [("change",), ("kill", "mic"), ("vacate", "mic")]
    assert story.state() == "running"


def test_an_input_is_vacant_until_what_is_attached_to_it_runs() -> None:
    story = Story()
    orders = story.run(nothing, nothing, nothing, story.follow("cam"), nothing, story.follow("cam", "mic"))
    assert orders[-5:] == [("change",), ("make", "mic", 1), ("vacate", "mic"), ("run", "mic", 1), ("vacate",)]


def test_a_source_that_comes_again_and_again_is_never_taken_for_its_former_self() -> None:
    story = Story()
    deeds = [deed for _ in range(3) for deed in (story.follow("cam"), nothing, story.follow("cam", "mic"), nothing)]
    orders = story.run(nothing, nothing, nothing, *deeds)
    assert [order for order in orders if order[:2] == ("make", "mic")] == [("make", "mic", n) for n in range(4)]


def test_the_last_words_of_a_detached_source_are_not_heard() -> None:
    story = Story()
    late = story.fails("mic", failure_of(ContractError("a ram")))
    story.run(nothing, nothing, nothing, story.follow("cam"), nothing, late)
    assert story.state() == "running"
