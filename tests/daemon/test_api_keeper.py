"""The API's process is kept alive: a scripted one dies, hangs and cannot listen."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import until

from pipeline.clock import FakeClock
from pipeline.daemon.api_keeper import API, ApiKeeper
from pipeline.runtime.child_process import MARK

TESTS = Path(__file__).parents[1]
S = 1_000_000_000


class Story:
    """script: for each life of the process the words of `scriptedapi`. heard: what it asked for."""

    def __init__(self, folder: Path, *script: list[str], again: tuple[dict[str, Any], ...] = ()) -> None:
        self.folder, self.log, self.clock = folder, folder / "lives", FakeClock()
        hello = {"service": {"listen": "127.0.0.1:0"}, "script": script, "log": str(self.log)}
        self.keeper = ApiKeeper(hello, folder / "api", folder / "api.log", self.clock, random.Random(1), lambda: again, "scriptedapi")
        self.heard: list[Any] = []
        self.keeper.start()

    def turn(self) -> None:
        self.heard += [message["ask"] for message in self.keeper.asked()]

    def until(self, fact: Any, what: str) -> None:
        until(lambda: self.turn() or fact(), 20, what)

    def passes(self, ns: int) -> None:
        self.clock.sleep_until(self.clock.now_ns() + ns)
        self.turn()

    def dead(self) -> bool:
        """And that is known."""
        return self.keeper._process is None and self.keeper._ending is None

    def lives(self) -> list[str]:
        """Where each was told to listen, and how much there is that it is to know first."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == str(self.folder / "api"):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    stories: list[Story] = []

    def begin(*script: list[str], **more: Any) -> Story:
        stories.append(Story(tmp_path, *script, **more))
        return stories[-1]

    yield begin
    for each in stories:
        each.keeper.close()
        assert each.processes() == []


def test_it_says_where_it_listens_and_what_it_asks_for(story: Any) -> None:
    it = story(["noise", "ready", "ask configs", "rest"])
    it.until(lambda: it.heard, "an ask")
    assert it.keeper.address == "http://127.0.0.1:4000"
    assert it.heard == [{"configs": {}}]
    assert it.keeper.restarts == 0


def test_it_is_told_what_there_is(story: Any) -> None:
    it = story(["ready", "until status", "tell", "rest"], again=({"type": "engine"},))
    it.keeper.tell({"type": "session"})
    it.keeper.tell({"type": "status"})
    it.until(lambda: it.heard, "what it was told")
    assert it.heard == [[{"type": "engine"}, {"type": "session"}, {"type": "status"}]]


def test_one_that_dies_is_started_again_where_it_was_and_told_all_again(story: Any) -> None:
    it = story(["ready", "until status", "die 1"], ["ready", "until session", "tell", "rest"], again=({"type": "session"},))
    it.until(lambda: it.keeper.address, "it listens")
    it.keeper.tell({"type": "status"})
    it.until(it.dead, "its death is seen")
    it.passes(API.most_ns)
    it.until(lambda: it.heard, "the second one was told")
    assert it.heard == [[{"type": "session"}]]
    assert (it.lives(), it.keeper.restarts) == (["127.0.0.1:0 1", "127.0.0.1:4000 1"], 1)
    assert it.keeper.address == "http://127.0.0.1:4001"


def test_while_there_is_none_nobody_waits_for_it(story: Any) -> None:
    it = story(["die 1"])
    it.until(it.dead, "its death is seen")
    for _ in range(3):
        it.keeper.tell({"type": "status"})
        it.turn()
    assert (it.heard, it.keeper.address, len(it.lives())) == ([], "", 1)


def test_it_is_tried_again_for_ever_and_ever_less_often(story: Any) -> None:
    it = story(["die 1"])
    for life in range(1, 4):
        it.until(lambda life=life: len(it.lives()) == life and it.dead(), f"death {life}")
        it.passes(API.first_ns // 2)
        assert len(it.lives()) == life
        it.passes(API.most_ns)
    assert it.keeper.wrong == ""


def test_one_that_hangs_is_killed_and_replaced(story: Any) -> None:
    it = story(["ready", "hang"], ["ready", "rest"])
    it.until(lambda: it.keeper.address, "it listens")
    [first] = it.processes()
    it.passes(API.silent_ns)
    assert first.is_running()
    it.passes(1)
    assert it.keeper.address == ""
    it.until(it.dead, "it is killed")
    assert not first.is_running()
    it.passes(API.most_ns)
    it.until(lambda: it.keeper.address, "the second one listens")
    assert len(it.lives()) == 2


def test_one_that_never_listens_is_killed_and_replaced(story: Any) -> None:
    it = story(["hang"], ["ready", "rest"])
    it.until(lambda: it.lives(), "it lives")
    it.passes(API.opening_ns + 1)
    it.until(it.dead, "it is killed")
    it.passes(API.most_ns)
    it.until(lambda: it.keeper.address, "the second one listens")


def test_one_that_cannot_listen_at_first_is_not_tried_again_and_says_why(story: Any) -> None:
    it = story(["die 2"])
    it.until(lambda: it.keeper.wrong, "it is known to be wrong")
    assert it.keeper.wrong == "sensorium: why it died"
    it.passes(100 * S)
    assert len(it.lives()) == 1


def test_one_that_could_listen_once_is_tried_again(story: Any) -> None:
    it = story(["ready", "until status", "die 1"], ["die 2"], ["ready", "rest"])
    it.until(lambda: it.keeper.address, "it listens")
    it.keeper.tell({"type": "status"})
    for life in (2, 3):
        it.until(it.dead, "its death is seen")
        it.passes(API.most_ns)
        it.until(lambda life=life: len(it.lives()) == life, f"life {life}")
    it.until(lambda: it.keeper.address, "it listens again")
    assert it.keeper.wrong == ""


def test_the_end_is_told_and_leaves_no_process(story: Any) -> None:
    it = story(["ready", "rest"])
    it.until(lambda: it.keeper.address, "it listens")
    it.keeper.close()
    assert it.processes() == []
