"""The supervisor with an engine that says what the story says: who is started again, how often, and what the sessions hear of it."""

from __future__ import annotations

import queue
import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from decisions import decision, status
from fakeplan import MS, FakePlan, Notes, Script

from operators.errors import BackendError
from pipeline.clock import FakeClock
from pipeline.runtime.codec import status_to_json
from pipeline.runtime.failure import Failure, death, failure_of
from pipeline.runtime.job import EngineJob, job_of
from pipeline.runtime.keeper import Keeper
from pipeline.runtime.supervise import Child
from pipeline.runtime.supervisor import ENGINE, INTERRUPTED, LASTING_ENGINE, STOP_NS, Supervisor
from pipeline.runtime.wishes import Wishes

S = 1000 * MS
DEATH = None
UP = {"type": "up"}
Deed = Callable[[], object]


class Engine:
    """Says UP when it starts, then what it is told to; `dies` of itself when it is started. A look at it takes 50 ms."""

    def __init__(self, clock: FakeClock, lasting: bool) -> None:
        self.clock = clock
        self.child = Child("engine", LASTING_ENGINE if lasting else ENGINE, random.Random(1), 0)
        self.lines: deque[dict[str, Any] | None] = deque()
        self.jobs: list[EngineJob] = []
        self.posted: list[dict[str, Any]] = []
        self.asked_to_stop = self.ended = 0
        self.there = self.dies = self.heeds = False

    def start(self, job: EngineJob) -> None:
        self.jobs.append(job)
        self.lines = deque([DEATH] if self.dies else [UP])
        self.there = True

    def next_line(self) -> dict[str, Any] | None:
        self.clock.sleep_until(self.clock.now_ns() + 50 * MS)
        if not self.there or not self.lines:
            raise queue.Empty
        self.child.beat(self.clock.now_ns())
        return self.lines.popleft()

    def post(self, values: dict[str, Any]) -> None:
        self.posted.append(values)

    def ask_to_stop(self) -> None:
        self.asked_to_stop += 1
        if self.heeds:
            self.lines.append({"type": "over"})

    def end(self, patience_s: float) -> None:
        self.ended += self.there
        self.there = False


class Desk:
    """A deed at each turn; when there are none left, all is asked to stop (if it lasts that long)."""

    def __init__(self) -> None:
        self.deeds: list[Deed] = []
        self.heard: list[tuple[str, str | None]] = []
        self.gone: list[tuple[str, Failure | None]] = []
        self.closed = 0

    def turn(self, supervisor: Supervisor) -> None:
        if self.deeds:
            self.deeds.pop(0)()
        else:
            supervisor.stop_all()

    def answered(self, session: str, why: str | None) -> None:
        self.heard.append((session, why))

    def over(self, keeper: Keeper) -> None:
        self.gone.append((keeper.session, keeper.failure))

    def close(self) -> None:
        self.closed += 1


class Story:
    """Sessions by name, each with notes of what its sink was told."""

    def __init__(self, *names: str, lasting: bool = False) -> None:
        self.clock, self.wishes, self.desk = FakeClock(), Wishes(), Desk()
        self.engine = Engine(self.clock, lasting)
        self.supervisor = Supervisor(self.engine, self.desk, self.clock, self.wishes, lasting=lasting)  # type: ignore[arg-type]
        self.notes: dict[str, Notes] = {}
        for name in names:
            self.supervisor.sessions[name] = self.keeper(name)

    def keeper(self, name: str, sink: Any = None) -> Keeper:
        self.notes[name] = sink or Notes()
        return Keeper(FakePlan({"cam": Script([]), "mic": Script([])}, speed=1), [self.notes[name]], self.clock, session=name)

    def run(self, *deeds: Deed) -> int:
        self.desk.deeds = list(deeds)
        return self.supervisor.run()

    def says(self, *lines: dict[str, Any] | None) -> Deed:
        return lambda: self.engine.lines.extend(lines)

    def start(self, name: str, sink: Any = None) -> Deed:
        return lambda: self.supervisor.start(self.keeper(name, sink))

    def windows(self, name: str) -> list[int]:
        return [d.window for d in self.notes[name].decisions]

    def states(self, name: str) -> list[str]:
        return [s.state for s in self.notes[name].statuses]


def look() -> None:
    pass


def of(session: str, kind: str, **values: Any) -> dict[str, Any]:
    return {"type": kind, "session": session, **values}


def begun(session: str) -> tuple[dict[str, Any], ...]:
    return (of(session, "started", epoch_ns=5, took_ns={}), of(session, "status", status=status_to_json(status())))


def decided(session: str, window: int) -> dict[str, Any]:
    return of(session, "decision", decision=decision(window=window).to_json())


def failed(session: str, failure: Failure) -> dict[str, Any]:
    return of(session, "failed", error=failure.to_json())


def looks(seconds: float) -> list[Deed]:
    return [look] * round(seconds * 20)


MISTAKE = failure_of(BackendError("no logits"))


def test_a_session_runs_to_its_end_and_so_does_the_run() -> None:
    story = Story("a")
    story.engine.heeds = True
    code = story.run(look, story.says(*begun("a"), decided("a", 0), of("a", "ended")), *looks(60))
    assert (code, story.windows("a"), story.states("a")[-1]) == (0, [0], "ended")
    assert story.desk.gone == [("a", None)]
    assert (story.engine.asked_to_stop, story.engine.ended, story.desk.closed) == (1, 1, 1)
    assert story.clock.now_ns() < 2 * S


def test_each_session_has_each_of_its_decisions_once_whatever_engine_said_it() -> None:
    story = Story("a", "b")
    first = [*begun("a"), *begun("b"), decided("a", 0), decided("b", 0), decided("a", 1), DEATH]
    second = [decided("a", 1), decided("a", 2), decided("b", 0), decided("b", 1)]
    story.run(look, story.says(*first), *looks(1), story.says(*second), *looks(0.5))
    assert (story.windows("a"), story.windows("b")) == ([0, 1, 2], [0, 1])
    assert [[(job.session, job.decided) for job in engine.sessions] for engine in story.engine.jobs] == [
        [("a", -1), ("b", -1)],
        [("a", 1), ("b", 0)],
    ]


def test_lines_of_a_session_that_is_over_are_for_nobody() -> None:
    story = Story("a", "b")
    story.run(look, story.says(*begun("a"), of("a", "ended"), decided("a", 0), of("a", "ended"), of("c", "status")), *looks(1))
    assert story.windows("a") == []
    assert [name for name, _ in story.desk.gone] == ["a", "b"]


def test_an_engine_that_fails_again_and_again_ends_a_run() -> None:
    story = Story("a")
    deeds = [look, story.says(*begun("a")), look, look, story.says(DEATH)]
    story.engine.dies = False
    code = story.run(*deeds, lambda: setattr(story.engine, "dies", True), *looks(600))
    assert code == 1
    assert len(story.engine.jobs) == 4
    [(name, failure)] = story.desk.gone
    assert (name, failure.text) == ("a", "the engine failed 4 times: its process died")
    assert story.states("a")[-1] == "failed"


def test_a_daemons_engine_is_tried_for_ever_and_its_sessions_wait_for_it() -> None:
    story = Story("a", lasting=True)
    deeds = [look, story.says(*begun("a")), look, look, lambda: setattr(story.engine, "dies", True), story.says(DEATH)]
    heal = lambda: setattr(story.engine, "dies", False)  # noqa: E731
    code = story.run(*deeds, *looks(600), heal, *looks(30), story.says(decided("a", 7)), *looks(1))
    assert code == 0
    assert len(story.engine.jobs) > 20
    assert story.windows("a") == [7]
    assert story.desk.gone == [("a", None)]


def test_a_daemon_does_not_end_with_its_last_session_nor_with_a_mistake_in_one() -> None:
    story = Story("a", "b", lasting=True)
    code = story.run(look, story.says(*begun("a"), of("a", "ended"), failed("b", MISTAKE)), *looks(5))
    assert code == 0
    assert story.clock.now_ns() > 5 * S
    assert story.desk.gone == [("a", None), ("b", MISTAKE)]


def test_a_mistake_in_a_run_ends_it_with_its_line_and_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    story = Story("a")
    code = story.run(look, story.says(failed("a", MISTAKE)), *looks(60))
    assert (code, capsys.readouterr().err) == (4, "sensorium: no logits\n")


def test_a_run_that_cannot_begin_is_not_tried_again() -> None:
    story = Story("a")
    error = failure_of(ValueError("no Ray here"))
    code = story.run(look, story.says({"type": "error", "error": error.to_json()}), *looks(60))
    assert (code, len(story.engine.jobs)) == (1, 1)


def test_a_daemons_engine_that_cannot_begin_is_tried_again() -> None:
    story = Story(lasting=True)
    error = failure_of(ValueError("no Ray here"))
    story.run(look, story.says({"type": "error", "error": error.to_json()}), *looks(2))
    assert len(story.engine.jobs) == 2
    assert story.engine.child.why == "no Ray here"


def test_while_there_is_no_engine_every_session_says_degraded() -> None:
    story = Story("a", "b", lasting=True)
    deeds = [look, story.says(*begun("a"), *begun("b")), *looks(0.5), lambda: setattr(story.engine, "dies", True), story.says(DEATH)]
    story.run(*deeds, *looks(5))
    for name in "ab":
        assert story.states(name)[:2] == ["running", "degraded"]
        assert story.states(name)[-1] == "ended"
        assert "engine failed: its process died" in story.notes[name].events()


def test_an_engine_that_falls_silent_is_ended_and_replaced() -> None:
    story = Story("a")
    deeds = [look, story.says(*begun("a")), *looks(ENGINE.silent_ns / S + 2)]
    story.run(*deeds)
    assert len(story.engine.jobs) == 2
    assert "engine failed: silent for 20 s" in story.notes["a"].events()
    assert "engine is started again (1)" in story.notes["a"].events()


def test_a_wish_to_stop_while_there_is_no_engine_is_heeded_at_once() -> None:
    story = Story("a", lasting=True)
    deeds = [look, story.says(*begun("a")), *looks(0.2), lambda: setattr(story.engine, "dies", True), story.says(DEATH), *looks(20)]
    code = story.run(*deeds)
    until_ns = story.clock.now_ns()
    assert (code, story.states("a")[-1], story.engine.there) == (0, "ended", False)
    assert until_ns < 22 * S


def test_an_engine_that_does_not_heed_a_wish_to_stop_is_ended_by_force() -> None:
    story = Story("a")
    code = story.run(look, story.says(*begun("a")), look, look)
    assert (code, story.engine.asked_to_stop > 0, story.engine.ended) == (0, True, 1)
    assert STOP_NS < story.clock.now_ns() < STOP_NS + 2 * S
    assert story.states("a")[-1] == "ended"


def test_a_second_wish_does_not_wait() -> None:
    story = Story("a")
    code = story.run(look, story.says(*begun("a")), look, lambda: setattr(story.wishes, "count", 2))
    assert (code, story.clock.now_ns() < S) == (INTERRUPTED, True)


def test_a_session_is_stopped_and_the_others_go_on() -> None:
    story = Story("a", "b", lasting=True)
    deeds = [look, story.says(*begun("a"), *begun("b")), *looks(0.5), lambda: story.supervisor.stop("a")]
    story.run(*deeds, story.says(of("a", "ended"), decided("b", 3)), *looks(0.3), lambda: story.desk.gone.append(("mark", None)), look)
    assert story.engine.posted == [{"end": "a"}]
    assert [name for name, _ in story.desk.gone] == ["a", "mark", "b"]
    assert story.windows("b") == [3]


def test_a_session_whose_end_the_engine_does_not_answer_is_let_go() -> None:
    story = Story("a", "b", lasting=True)
    seen: list[int] = []
    over = story.desk.over

    def note(keeper: Keeper) -> None:
        seen.append(story.clock.now_ns())
        over(keeper)

    story.desk.over = note  # type: ignore[method-assign]
    story.run(look, story.says(*begun("a")), *looks(0.5), lambda: story.supervisor.stop("a"), *looks(6))
    assert story.desk.gone[0] == ("a", None)
    assert STOP_NS < seen[0] < STOP_NS + S
    assert story.states("a")[-1] == "ended"


def test_a_session_is_stopped_although_its_engine_is_gone() -> None:
    story = Story("a", "b", lasting=True)
    deeds = [look, story.says(*begun("a")), *looks(0.5), lambda: story.supervisor.stop("a"), story.says(DEATH), *looks(3)]
    story.run(*deeds)
    assert story.desk.gone[0] == ("a", None)
    assert [[job.session for job in engine.sessions] for engine in story.engine.jobs] == [["a", "b"], ["b"]]


def test_a_new_session_is_the_engines_to_take_on_or_to_refuse() -> None:
    story = Story(lasting=True)
    story.run(look, story.start("a"), story.start("b"), story.says(of("a", "accepted"), of("b", "refused", why="full")), *looks(0.5))
    assert [job_of(order["start"]).session for order in story.engine.posted] == ["a", "b"]
    assert story.desk.heard == [("a", None), ("b", "full")]
    assert story.desk.gone == [("a", None)]
    assert story.states("b") == []


def test_a_session_that_begins_while_there_is_no_engine_begins_with_the_next() -> None:
    story = Story(lasting=True)
    story.run(look, story.says(DEATH), look, story.start("a"), *looks(2))
    assert story.desk.heard == [("a", None)]
    assert story.engine.posted == []
    assert [[job.session for job in engine.sessions] for engine in story.engine.jobs] == [[], ["a"]]


def test_whoever_waits_for_a_start_is_answered_when_the_engine_dies_of_it() -> None:
    story = Story(lasting=True)
    story.run(look, story.start("a"), story.says(DEATH), *looks(1))
    assert ("a", None) in story.desk.heard
    assert [[job.session for job in engine.sessions] for engine in story.engine.jobs] == [[], ["a"]]


def test_a_refused_session_that_was_to_be_stopped_does_not_stop_the_next_of_its_name() -> None:
    story = Story(lasting=True)
    deeds = [look, story.start("a"), lambda: story.supervisor.stop("a"), story.says(of("a", "refused", why="full")), look, look]
    story.run(
        *deeds, story.start("a"), story.says(of("a", "accepted"), *begun("a")), *looks(8), lambda: story.desk.gone.append(("mark", None))
    )
    assert [name for name, _ in story.desk.gone] == ["mark", "a"]


def test_the_last_word_of_a_session_that_fails_comes_before_its_sinks_are_closed() -> None:
    story = Story("a", lasting=True)
    order: list[str] = []
    story.desk.answered = lambda session, why: order.append("answered")  # type: ignore[method-assign]
    story.desk.over = lambda keeper: order.append(f"over, {len(story.notes['a'].statuses)} statuses")  # type: ignore[method-assign]
    story.run(look, story.says(*begun("a"), failed("a", death("ActorDiedError"))), *looks(0.5))
    assert order == ["over, 2 statuses", "answered"]


class Full(Notes):
    """A sink on a disk that is full."""

    def decision(self, decision: object) -> None:
        raise OSError(28, "No space left on device", "/out.jsonl")

    def status(self, status: Any) -> None:
        if status.final:
            raise OSError(28, "No space left on device", "/out.jsonl")
        super().status(status)


def test_a_sink_that_fails_ends_its_session_and_no_other() -> None:
    story = Story("b", lasting=True)
    deeds = [look, story.start("a", Full()), story.says(of("a", "accepted"), *begun("a"), decided("a", 0), decided("b", 0)), *looks(0.5)]
    story.run(*deeds, story.says(decided("b", 1)), look, look)
    name, failure = story.desk.gone[0]
    assert (name, failure.text) == ("a", "[Errno 28] No space left on device: '/out.jsonl'")
    assert {"end": "a"} in story.engine.posted
    assert story.windows("b") == [0, 1]


def test_a_sink_that_fails_ends_a_run_of_one_session() -> None:
    story = Story()
    story.supervisor.sessions["a"] = story.keeper("a", Full())
    with pytest.raises(OSError, match="No space"):
        story.run(look, story.says(*begun("a"), decided("a", 0)), *looks(5))
    assert story.engine.ended == 1


def test_a_change_goes_to_the_engine_and_to_the_engines_to_come() -> None:
    story = Story("a", lasting=True)
    fewer = FakePlan({"cam": Script([])}, speed=1)
    change = lambda: story.supervisor.change(story.supervisor.sessions["a"], fewer)  # noqa: E731
    story.run(look, story.says(*begun("a")), look, look, change, story.says(DEATH), *looks(1))
    config = fewer.config.model_dump_json()
    assert story.engine.posted == [{"change": {"session": "a", "config": config}, "digest": fewer.digest}]
    assert story.engine.jobs[-1].sessions[0].config_json == config


def test_the_engines_figures_are_there_while_there_is_an_engine() -> None:
    story = Story("a", lasting=True)
    seen: list[dict[str, Any]] = []
    keep = lambda: seen.append(story.supervisor.figures)  # noqa: E731
    story.run(look, story.says({"type": "engine", "cores": 1.5}), look, look, keep, story.says(DEATH), look, look, keep)
    assert seen == [{"cores": 1.5}, {}]


def test_a_status_that_comes_late_is_of_the_session_that_runs() -> None:
    story = Story("a")
    late = of("a", "status", status=status_to_json(replace(status(), state="degraded")))
    story.run(look, story.says(*begun("a"), late), *looks(0.5))
    assert story.states("a") == ["running", "degraded", "ended"]
