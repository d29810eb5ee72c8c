"""From a wish to an open session; one that cannot be opened leaves nothing open, and nobody hears of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_model import write_tiny_model

from operators.errors import ConfigError, SensoriumError
from pipeline.clock import FakeClock
from pipeline.config import Config, validate
from pipeline.daemon.opening import Wish, checked_name, close_session, free_name, given_config, open_session, told
from pipeline.ports import Status
from pipeline.runtime.requests import Refused
from pipeline.session.lock import is_being_recorded


class Tracked:
    """A sink that its file knows of: open or closed. fails: it cannot be opened."""

    def __init__(self, *, path: Path, fails: bool = False) -> None:
        if fails:
            raise FileExistsError(17, "it holds something else", str(path))
        self._path = path
        path.write_text("open")

    def decision(self, decision: object) -> None: ...

    def status(self, status: Status) -> None:
        self._path.write_text(f"open, final {status.final}")

    def close(self) -> None:
        self._path.write_text(self._path.read_text().replace("open", "closed"))


class House:
    def __init__(self, folder: Path) -> None:
        self.folder, self.recordings = folder, folder / "recordings"
        self.told: list[dict[str, Any]] = []
        self._model = write_tiny_model(folder / "tiny")

    def config(self, **more: Any) -> Config:
        values = {
            "model": str(self._model),
            "sources": {"cam": {"use": "beatsource:Beat", "streams": "video"}},
            "inputs": {"video": "cam.video"},
            **more,
        }
        return validate(values, {}, origin=str(self.folder / "room.yaml"))

    def sinks(self, *fails: bool) -> list[dict[str, Any]]:
        return [{"use": "sinksfortests:Tracked", "path": str(self.folder / f"sink{n}"), "fails": fail} for n, fail in enumerate(fails)]

    def open(self, wish: Wish, name: str = "room") -> Any:
        return open_session(wish, name, self.recordings, FakeClock(), self.told.append)

    def state(self, number: int) -> str:
        return (self.folder / f"sink{number}").read_text()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    import sys
    from types import ModuleType

    module = ModuleType("sinksfortests")
    module.Tracked = Tracked  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sinksfortests", module)
    return House(tmp_path)


def test_an_open_session_is_told_of_and_its_sinks_are_open(house: House) -> None:
    opened = house.open(Wish(config=house.config(sinks=house.sinks(False, False)), config_name="room"))
    assert [message["type"] for message in house.told] == ["session"]
    assert house.told[0]["config"] == "room"
    assert (house.state(0), house.state(1)) == ("open", "open")
    close_session(opened)
    assert (house.state(0), house.state(1)) == ("closed", "closed")


def test_a_sink_that_cannot_be_opened_closes_those_that_were(house: House) -> None:
    with pytest.raises(ConfigError, match="it holds something else"):
        house.open(Wish(config=house.config(sinks=house.sinks(False, True, False))))
    assert house.state(0) == "closed"
    assert not (house.folder / "sink2").exists()
    assert house.told == []


def test_a_recording_that_cannot_begin_closes_the_sinks_and_nobody_hears_of_the_session(house: House) -> None:
    house.recordings.write_text("a file in the way")
    with pytest.raises(ConfigError, match="cannot be recorded to"):
        house.open(Wish(config=house.config(sinks=house.sinks(False)), record=True))
    assert house.state(0) == "closed"
    assert house.told == []


def test_a_recorded_session_holds_its_lock_until_it_is_closed(house: House) -> None:
    opened = house.open(Wish(config=house.config(sinks=house.sinks(False)), record=True))
    [folder] = house.recordings.iterdir()
    assert house.told[0]["recording"] == folder.name
    assert is_being_recorded(folder)
    close_session(opened)
    assert not is_being_recorded(folder)
    assert house.state(0) == "closed"


def test_a_config_says_where_it_is_recorded_and_the_wish_only_whether(house: House) -> None:
    opened = house.open(Wish(config=house.config(record={"folder": str(house.folder / "mine")}), record=True))
    assert len(list((house.folder / "mine").iterdir())) == 1
    assert not house.recordings.exists()
    close_session(opened)


def test_the_session_has_the_name_that_is_free_in_its_decisions_too(house: House) -> None:
    opened = house.open(Wish(config=house.config()), name="room-2")
    assert (opened.keeper.session, opened.keeper.plan.config.session) == ("room-2", "room-2")
    close_session(opened)


def test_an_inline_session_is_none_for_a_daemon(house: House) -> None:
    with pytest.raises(ConfigError, match="inline is for one session in the foreground"):
        house.open(Wish(config=house.config(run={"runner": "inline"})))


def test_a_device_that_is_not_there_is_told_before_anything_is_open(house: House) -> None:
    absent = {"cam": {"use": "beatsource:Beat", "streams": "video", "missing": True}}
    with pytest.raises(SensoriumError, match="no such device"):
        house.open(Wish(config=house.config(sources=absent, sinks=house.sinks(False))))
    assert not (house.folder / "sink0").exists()
    assert house.told == []


def test_names_are_numbered_where_any_will_do() -> None:
    assert free_name("a", set(), exactly=False) == "a"
    assert free_name("a", {"a", "a-2"}, exactly=False) == "a-3"
    assert len(free_name("a" * 64, {"a" * 64}, exactly=False)) <= 64
    with pytest.raises(Refused, match="runs already"):
        free_name("a", {"a"}, exactly=True)


def test_a_replay_is_called_after_its_recording(house: House) -> None:
    assert Wish(config=house.config(), replay="room 1/x").called == "replay-room-1-x"
    assert Wish(config=house.config()).called == "room"


@pytest.mark.parametrize("name", ["a", "a-b.c_d", "0", "x" * 64])
def test_these_are_names(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "-x", "a/b", "a b", "a\n", "ä", "x" * 65, "a\0"])
def test_these_are_none(name: str) -> None:
    with pytest.raises(Refused):
        checked_name(name)


@pytest.mark.parametrize("values", [None, 5, [], {}, {"model": 5}, {"model": "a", "sources": {"x": {}}, "inputs": {}}])
def test_what_is_no_config_is_refused(values: Any) -> None:
    with pytest.raises(Refused, match="no config"):
        given_config(values)


def test_what_nobody_expected_is_told_in_one_line_and_logged_in_full(caplog: pytest.LogCaptureFixture) -> None:
    assert told(KeyError("a\nb")) == "unexpected KeyError: 'a\\nb'"
    assert caplog.records[0].exc_info is not None
