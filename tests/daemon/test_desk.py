"""What the daemon's desk does for whom: every request, from the network and from this user's commands, answered exactly once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from decisions import decision, status
from recordings import write_plain_manifest
from tiny_model import write_tiny_model
from waiting import until

from pipeline.clock import FakeClock
from pipeline.config import load_config
from pipeline.daemon.catalog import Catalog
from pipeline.daemon.desk import ServiceDesk
from pipeline.plan import Plan
from pipeline.runtime.codec import status_to_json
from pipeline.runtime.failure import Failure, death
from pipeline.runtime.keeper import Keeper
from pipeline.runtime.requests import post
from pipeline.runtime.supervise import Child
from pipeline.runtime.supervisor import LASTING_ENGINE
from pipeline.service import Service

BEGUN = {"type": "started", "epoch_ns": 5, "took_ns": {}}


class Api:
    """The network's side: asks, and is told."""

    def __init__(self) -> None:
        self.address, self.restarts, self.closed = "http://127.0.0.1:8700", 0, 0
        self.asks: list[dict[str, Any]] = []
        self.told: list[dict[str, Any]] = []

    def tell(self, message: dict[str, Any]) -> None:
        self.told.append(json.loads(json.dumps(message)))

    def asked(self) -> Iterator[dict[str, Any]]:
        while self.asks:
            yield self.asks.pop(0)

    def close(self) -> None:
        self.closed += 1

    def kinds(self, session: str) -> list[str]:
        return [message["type"] for message in self.told if message.get("session") == session]


class Supervisor:
    """Does nothing but remember what it was asked for."""

    def __init__(self) -> None:
        self.sessions: dict[str, Keeper] = {}
        self.figures: dict[str, Any] = {"cores": {"in_use": 0.4}}
        self.engine = SimpleNamespace(child=Child("engine", LASTING_ENGINE, None, 0), there=True)  # type: ignore[arg-type]
        self.did: list[tuple[Any, ...]] = []

    def start(self, keeper: Keeper) -> None:
        self.sessions[keeper.session] = keeper
        self.did.append(("start", keeper.session))

    def stop(self, session: str) -> None:
        self.did.append(("stop", session))

    def change(self, keeper: Keeper, plan: Plan) -> None:
        keeper.plan = plan
        self.did.append(("change", keeper.session, tuple(plan.config.sources)))

    def record(self, keeper: Keeper, recording: object) -> None:
        self.did.append(("record", keeper.session, recording is not None))

    def stop_all(self) -> None:
        self.did.append(("stop_all",))


class House:
    """A desk, with configs `room` (live: sources cam and words), `more` (a preset with source talk), `clip` (a file) and `broken`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.recordings, self.run_dir = folder, folder / "recordings", folder / "run"
        self.recordings.mkdir()
        self.run_dir.mkdir()
        self.model = write_tiny_model(folder / "tiny")
        live = lambda streams: {"use": "livebeat:LiveBeat", "control": str(folder / "control"), "streams": streams}  # noqa: E731
        inputs = {"video": "cam.video", "audio": "cam.audio"}
        self.write("room", {"sources": {"cam": live("video,audio"), "words": live("text")}, "inputs": {**inputs, "text": "words.text"}})
        self.write("more", {"sources": {"talk": live("text")}, "inputs": {"text": "talk.text"}})
        self.write("clip", {"sources": {"cam": {"use": "beatsource:Beat"}}, "inputs": inputs})
        self.write("broken", {"sources": {"cam": {"use": "beatsource:Nothing"}}, "inputs": inputs})
        self.api, self.supervisor, self.clock = Api(), Supervisor(), FakeClock()
        service = Service(configs=str(folder / "configs"))
        self.desk = ServiceDesk(Catalog(service), self.run_dir, self.recordings, self.api, self.clock)
        self._ids = 0

    def write(self, name: str, values: dict[str, Any]) -> Path:
        path = self.folder / "configs" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"# A {name}. More of it.\n" + yaml.safe_dump({"model": str(self.model), **values}, sort_keys=False))
        return path

    def ask(self, **request: Any) -> int:
        self._ids += 1
        self.api.asks.append({"type": "ask", "id": self._ids, "ask": request})
        return self._ids

    def turn(self) -> None:
        self.desk.turn(self.supervisor)  # type: ignore[arg-type]

    def answers(self, number: int) -> list[dict[str, Any]]:
        return [message for message in self.api.told if message.get("type") == "answer" and message["id"] == number]

    def answer(self, number: int) -> dict[str, Any]:
        """Takes turns until there is one."""
        until(lambda: self.turn() or self.answers(number), 20, f"an answer to {number}")
        [answer] = self.answers(number)
        return {key: value for key, value in answer.items() if key not in ("type", "id")}

    def post(self, **request: Any) -> dict[str, Any]:
        """The same by this user's own commands."""
        path = post(self.run_dir, request).with_suffix(".answer")
        until(lambda: self.turn() or path.exists(), 20, "an answer")
        return json.loads(path.read_text())

    def starts(self, **start: Any) -> str:
        """Until the engine has taken it on and session time runs."""
        begun = len(self.supervisor.did)
        number = self.ask(start=start)
        until(lambda: self.turn() or len(self.supervisor.did) > begun, 20, "a session")
        session = self.supervisor.did[-1][1]
        assert self.answers(number) == []
        self.desk.answered(session, None)
        self.supervisor.sessions[session].take(BEGUN)
        assert self.answer(number) == {"done": f"{session} is started", "values": {"session": session}}
        return session

    def ends(self, session: str, failure: Failure | None = None) -> None:
        """As the supervisor does it."""
        keeper = self.supervisor.sessions.pop(session)
        keeper.failure = failure
        keeper.finish(stopped=False)
        self.desk.over(keeper)
        self.is_gone(session)

    def is_gone(self, session: str) -> None:
        until(lambda: self.turn() or self.api.kinds(session)[-1] == "gone", 20, f"{session} is closed")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    it = House(tmp_path)
    yield it
    if not it.api.closed:
        it.desk.close()


def test_a_session_is_started_by_the_name_of_its_config_and_the_api_is_told_of_it(house: House) -> None:
    assert house.starts(config="room") == "room"
    assert house.supervisor.did == [("start", "room")]
    [about] = [message for message in house.api.told if message["type"] == "session"]
    assert (about["config"], about["live"], about["recording"], about["sources"]) == (
        "room",
        True,
        "",
        {"cam": ["video", "audio"], "words": ["text"]},
    )
    assert about["inputs"] == {"video": "video", "audio": "audio", "text": "text"}
    assert list(house.recordings.iterdir()) == []


def test_what_the_session_says_reaches_the_api(house: House) -> None:
    keeper = house.supervisor.sessions[house.starts(config="room")]
    keeper.take({"type": "decision", "decision": decision().to_json()})
    keeper.take({"type": "status", "status": status_to_json(status())})
    house.ends("room")
    assert house.api.kinds("room") == ["session", "decision", "status", "status", "gone"]
    assert [m["status"]["final"] for m in house.api.told if m["type"] == "status"] == [False, True]
    assert house.api.told[-1] == {"type": "gone", "session": "room", "why": "", "exit_code": 0}


def test_why_a_session_failed_is_told_without_its_secrets(house: House) -> None:
    house.starts(config="room")
    house.ends("room", Failure(kind="error", type="DeviceLost", text="rtsp://me:hunter2@cam/: gone", exit_code=3))
    assert house.api.told[-1] == {"type": "gone", "session": "room", "why": "rtsp://***@cam/: gone", "exit_code": 3}


def test_names_that_are_taken_get_a_number_and_names_that_were_asked_for_do_not(house: House) -> None:
    assert [house.starts(config="room"), house.starts(config="room"), house.starts(config="room", session="door")] == [
        "room",
        "room-2",
        "door",
    ]
    assert house.answer(house.ask(start={"config": "room", "session": "door"})) == {
        "refused": "a session named 'door' runs already",
        "status": 409,
    }


def test_two_that_are_opened_at_the_same_time_do_not_get_the_same_name(house: House) -> None:
    first, second = house.ask(start={"config": "room"}), house.ask(start={"config": "room"})
    until(lambda: house.turn() or len(house.supervisor.did) == 2, 20, "both")
    assert sorted(name for _, name in house.supervisor.did) == ["room", "room-2"]
    assert house.answers(first) == house.answers(second) == []


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ({"start": {"config": "nothing"}}, "no config is called 'nothing'; there are "),
        ({"start": {"config": "../room"}}, "no config is called '../room'"),
        ({"start": {"config": "/etc/passwd"}}, "no config is called '/etc/passwd'"),
        ({"start": {"config": "room.yaml"}}, "no config is called 'room.yaml'; "),
        ({"start": {"config": ""}}, "no config is called ''"),
        ({"start": {"config": "broken"}}, "beatsource"),
        ({"start": {"config": "room", "session": "../up"}}, "a session's name has letters"),
        ({"start": {"config": "room", "session": "a" * 65}}, "a session's name has letters"),
        ({"start": {"config": "room", "session": 5}}, "config, session and record are what"),
        ({"start": {"config": "room", "record": "yes"}}, "config, session and record are what"),
        ({"start": {"config": "room", "model": "other"}}, "config, session and record are what a session is started with, not model"),
        ({"start": {"config": {"model": "x", "sources": {}, "inputs": {}}}}, "this is no request"),
        ({"start": {}}, "this is no request"),
        ({"attach": {"session": "room", "given": {"sources": {}}}}, "this is no request"),
        ({"attach": {"session": "room", "preset": "/etc/passwd"}}, "no config is called"),
        ({"stop": {"session": "nobody"}}, "no session 'nobody' runs (running: none)"),
        ({"detach": {"session": "nobody", "sources": []}}, "no session 'nobody' runs"),
        ({"record": {"session": "nobody", "on": True}}, "no session 'nobody' runs"),
        ({"record": {"session": "nobody", "on": 1}}, "this is no request"),
        ({"purge": {"recording": ".."}}, "no recording is called '..'"),
        ({"purge": {"recording": "../configs"}}, "no recording is called '../configs'"),
        ({"purge": {"recording": ""}}, "no recording is called ''"),
        ({"replay": {"recording": "."}}, "no recording is called '.'"),
        ({"dance": {}}, "this is no request"),
        ("start", "this is no request"),
        (None, "this is no request"),
        ([1], "this is no request"),
    ],
)
def test_what_cannot_or_may_not_be_is_refused_in_one_line(house: House, request_: Any, why: str) -> None:
    house.api.asks.append({"type": "ask", "id": 77, "ask": request_})
    answer = house.answer(77)
    assert answer["status"] == 409
    assert why in answer["refused"]
    assert "\n" not in answer["refused"]
    assert house.supervisor.did == []
    assert "session" not in [message["type"] for message in house.api.told]


def test_the_network_may_give_no_config_and_this_user_may(house: House) -> None:
    config = load_config(house.folder / "configs" / "room.yaml").model_dump(mode="json")
    assert "no request" in house.answer(house.ask(start={"config": config}))["refused"]
    path = post(house.run_dir, {"start": {"config": config}})
    until(lambda: house.turn() or house.supervisor.did, 20, "a session")
    house.desk.answered("room", None)
    assert json.loads(path.with_suffix(".answer").read_text()) == {"done": "room is started"}


def test_this_users_config_that_is_none_is_refused(house: House) -> None:
    assert house.post(start={"config": {"model": 5}}) == {"refused": "this is no config"}


def test_a_session_that_the_engine_refuses_is_answered_with_its_figure_and_closed(house: House) -> None:
    number = house.ask(start={"config": "room"})
    until(lambda: house.turn() or house.supervisor.did, 20, "a session")
    del house.supervisor.sessions["room"]
    house.desk.answered("room", "it needs 0.6 of a core, and 0.2 are free")
    assert house.answer(number) == {"refused": "it needs 0.6 of a core, and 0.2 are free", "status": 503}
    house.is_gone("room")
    assert house.api.kinds("room") == ["session", "gone"]


def test_a_session_that_fails_before_it_was_taken_on_is_answered_once(house: House) -> None:
    number = house.ask(start={"config": "room"})
    until(lambda: house.turn() or house.supervisor.did, 20, "a session")
    house.ends("room", death("ActorDiedError"))
    house.desk.answered("room", "its process died (ActorDiedError)")
    assert house.answer(number)["refused"] == "its process died (ActorDiedError)"
    assert house.api.kinds("room").count("gone") == 1


def test_a_config_whose_device_is_not_there_is_refused_with_its_line(house: House) -> None:
    house.write("absent", {"sources": {"cam": {"use": "beatsource:Beat", "missing": True}}, "inputs": {"video": "cam.video"}})
    assert house.answer(house.ask(start={"config": "absent"})) == {"refused": "beat: no such device", "status": 409}


def test_a_session_is_stopped(house: House) -> None:
    house.starts(config="room")
    assert house.answer(house.ask(stop={"session": "room"})) == {"done": "room is being stopped"}
    assert house.post(stop={"session": "room"}) == {"done": "room is being stopped"}
    assert house.supervisor.did[1:] == [("stop", "room")] * 2


def test_sources_are_detached_and_attached_and_the_page_is_told(house: House) -> None:
    house.starts(config="room")
    assert house.answer(house.ask(detach={"session": "room", "sources": ["words"]})) == {"done": "detached words"}
    assert house.answer(house.ask(attach={"session": "room", "preset": "more"})) == {"done": "attached talk"}
    assert house.supervisor.did[1:] == [("change", "room", ("cam",)), ("change", "room", ("cam", "talk"))]
    sources = [list(message["sources"]) for message in house.api.told if message["type"] == "session"]
    assert sources == [["cam", "words"], ["cam"], ["cam", "talk"]]


def test_this_user_may_attach_what_is_in_no_preset(house: House) -> None:
    house.starts(config="room")
    house.post(detach={"session": "room", "sources": ["words"]})
    given = {
        "sources": {"own": {"use": "livebeat:LiveBeat", "control": str(house.folder / "control"), "streams": "text"}},
        "inputs": {"text": "own.text"},
    }
    assert "no request" in house.answer(house.ask(attach={"session": "room", "given": given}))["refused"]
    assert house.post(attach={"session": "room", "given": given}) == {"done": "attached own"}


def test_a_session_of_a_config_that_came_from_this_user_can_be_changed_too(house: House) -> None:
    config = load_config(house.folder / "configs" / "room.yaml").model_dump(mode="json")
    post(house.run_dir, {"start": {"config": config}})
    until(lambda: house.turn() or house.supervisor.did, 20, "a session")
    house.supervisor.sessions["room"].take(BEGUN)
    assert house.answer(house.ask(detach={"session": "room", "sources": ["words"]})) == {"done": "detached words"}


def test_a_change_that_cannot_be_is_refused_and_changes_nothing(house: House) -> None:
    house.starts(config="room")
    assert "there is no source 'nobody'" in house.answer(house.ask(detach={"session": "room", "sources": ["nobody"]}))["refused"]
    assert "that would leave no source" in house.answer(house.ask(detach={"session": "room", "sources": ["cam", "words"]}))["refused"]
    house.supervisor.engine.there = False
    assert "not running just now" in house.answer(house.ask(detach={"session": "room", "sources": ["words"]}))["refused"]
    assert house.supervisor.did == [("start", "room")]


def test_a_session_is_recorded_from_its_start_where_the_service_says(house: House) -> None:
    house.starts(config="room", record=True)
    [folder] = house.recordings.iterdir()
    assert [message["recording"] for message in house.api.told if message["type"] == "session"] == [folder.name]
    assert (folder / "manifest.json").exists()
    house.ends("room")


def test_recording_is_begun_and_ended_while_it_runs(house: House) -> None:
    house.starts(config="room")
    answer = house.answer(house.ask(record={"session": "room", "on": True}))
    [folder] = house.recordings.iterdir()
    assert answer["values"] == {"recording": folder.name}
    assert "recorded already" in house.answer(house.ask(record={"session": "room", "on": True}))["refused"]
    assert house.answer(house.ask(record={"session": "room", "on": False}))["values"] == {"recording": ""}
    assert "not recorded" in house.answer(house.ask(record={"session": "room", "on": False}))["refused"]
    assert house.supervisor.did[1:] == [("record", "room", True), ("record", "room", False)]
    assert [message["recording"] for message in house.api.told if message["type"] == "session"] == ["", folder.name, ""]


def test_two_wishes_to_record_at_the_same_time_make_one_recording(house: House) -> None:
    house.starts(config="room")
    first, second = (house.ask(record={"session": "room", "on": True}) for _ in range(2))
    assert "being begun or ended" in house.answer(second)["refused"]
    assert "values" in house.answer(first)
    assert len(list(house.recordings.iterdir())) == 1


def test_what_is_being_recorded_is_not_purged_and_what_was_is(house: House) -> None:
    house.starts(config="room", record=True)
    [folder] = house.recordings.iterdir()
    assert "is being recorded at this moment" in house.answer(house.ask(purge={"recording": folder.name}))["refused"]
    house.ends("room")
    answer = house.answer(house.ask(purge={"recording": folder.name}))
    assert answer["done"].endswith("nothing is left")
    assert answer["values"]["left"] is False
    assert list(house.recordings.iterdir()) == []


def test_a_link_among_the_recordings_is_none(house: House) -> None:
    folder = house.folder / "elsewhere"
    folder.mkdir()
    write_plain_manifest(folder)
    (house.recordings / "link").symlink_to(folder)
    assert "no recording is called 'link'" in house.answer(house.ask(purge={"recording": "link"}))["refused"]
    assert folder.exists()


def test_the_lists_are_of_what_runs_as_it_is(house: House) -> None:
    configs = house.answer(house.ask(configs={}))["values"]["configs"]
    shipped = Catalog(Service()).offers()
    assert [offer["name"] for offer in configs] == sorted([*(offer.name for offer in shipped), "clip", "more", "room"])
    assert next(offer for offer in configs if offer["name"] == "room")["title"] == "A room"
    presets = house.answer(house.ask(presets={}))["values"]["presets"]
    assert [offer["name"] for offer in presets] == sorted([*(offer.name for offer in shipped if offer.live), "more", "room"])


def test_the_daemon_is_told_to_end(house: House) -> None:
    assert house.answer(house.ask(shutdown={})) == {"done": "the daemon ends"}
    assert house.supervisor.did == [("stop_all",)]


def test_whoever_waits_when_the_daemon_ends_is_answered_and_nothing_stays_open(house: House) -> None:
    waits = house.starts(config="room")
    number = house.ask(start={"config": "room", "record": True})
    house.turn()  # it is being opened now
    other = house.ask(configs={})
    house.turn()
    house.desk.close()
    for ask in (number, other):
        [answer] = house.answers(ask)
        assert answer.get("refused", "the daemon ends") == "the daemon ends"
    gone = Counter(message["session"] for message in house.api.told if message["type"] == "gone")
    begun = {message["session"] for message in house.api.told if message["type"] == "session"}
    assert gone == Counter(begun)
    assert waits in begun
    assert house.api.closed == 1


def test_a_new_api_process_is_told_all_of_it_again(house: House) -> None:
    keeper = house.supervisor.sessions[house.starts(config="room")]
    for window in range(3):
        keeper.take({"type": "decision", "decision": decision(window=window).to_json()})
    keeper.take({"type": "status", "status": status_to_json(status())})
    again = list(house.desk.again())
    assert [message["type"] for message in again] == ["engine", "session", "status", *["decision"] * 3]
    assert [m["decision"]["window"] for m in again if m["type"] == "decision"] == [0, 1, 2]
    house.ends("room")
    assert [message["type"] for message in house.desk.again()] == ["engine"]


def test_the_api_is_told_of_the_engine_once_a_second_and_when_it_changes(house: House) -> None:
    engines: Callable[[], list[str]] = lambda: [message["state"] for message in house.api.told if message["type"] == "engine"]  # noqa: E731
    for _ in range(30):
        house.turn()
        house.clock.sleep_until(house.clock.now_ns() + 100_000_000)
    assert engines() == ["starting"] * 3
    child = house.supervisor.engine.child
    child.happens("opened", 0)
    child.happens("went", 0)
    house.turn()
    assert engines()[-1] == "running"
    assert house.api.told[-1]["cores"] == {"in_use": 0.4}


def test_a_sink_that_cannot_be_closed_is_its_sessions_own_loss(house: House) -> None:
    house.starts(config="room")
    house.desk._open["room"].closing.callback(lambda: Path("/nowhere/at/all").read_text())
    house.ends("room")
    assert house.api.told[-1] == {"type": "gone", "session": "room", "why": "/nowhere/at/all: No such file or directory", "exit_code": 1}
