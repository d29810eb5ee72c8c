"""The daemon with real processes: sessions come and go beside others, everything may be killed, and in the end nothing is left."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from daemonrun import Daemon
from tiny_model import write_tiny_model
from waiting import until

from benchmarks.follow import Follower
from pipeline.api.client import ApiError
from pipeline.session.audit import audit
from pipeline.session.read import Session

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def daemon(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    it = Daemon(tmp_path, model)
    monkeypatch.setenv("XDG_STATE_HOME", it.env["XDG_STATE_HOME"])
    yield it
    it.destroy()


def no_gap(daemon: Daemon, name: str) -> None:
    """Every window is there, once, in order."""
    windows = daemon.windows(name)
    missing = [window for window in range(windows[-1]) if window not in windows]
    assert (missing, windows) == ([], sorted(windows))


def conserved(status: dict[str, Any]) -> None:
    for edge in status["edges"]:
        assert edge["entered"] == edge["left"] + edge["waiting"] + sum(edge["dropped"].values()), edge


def test_sessions_come_and_go_without_a_gap_in_the_decisions_of_others(daemon: Daemon) -> None:
    daemon.beat("steady")
    daemon.beat("filmed")
    daemon.live("room", {"cam": "video,audio", "words": "text"})
    daemon.live("talk", {"talk": "text"})
    daemon.beat("short", seconds=2)
    (daemon.folder / "configs" / "broken.yaml").write_text("model: nowhere\nsources: {}\ninputs: {}\n")
    said = daemon.start("configs/steady.yaml")
    assert said.startswith("steady is started\nthe daemon runs (pid ")
    daemon.more(["steady"])

    # One that is recorded; one that is live; some that cannot be, from the page and from the terminal.
    api = daemon.api
    assert api.start("filmed", session="second", record=True) == "second is started"
    assert "room is started" in daemon.command("run", "--daemon", "configs/room.yaml")
    with pytest.raises(ApiError, match="broken"):
        api.start("broken")
    assert "sources: got {}" in daemon.command("run", "--daemon", "configs/broken.yaml", code=2)
    with pytest.raises(ApiError, match="a session named 'steady' runs already"):
        api.start("steady", session="steady")
    with pytest.raises(ApiError, match="another session writes its decisions to it"):
        api.start("steady")
    daemon.until(lambda api: all(api.session(name)["status"]["state"] == "running" for name in ("steady", "second", "room")), "three run")
    assert {session["session"] for session in api.sessions() if session["gone"] is None} == {"steady", "second", "room"}

    # Streams come and go, a recording begins and ends.
    assert api.detach("room", ["words"]) == "detached words"
    assert api.attach("room", "talk") == "attached talk"
    assert "detached talk" in daemon.command("detach", "room", "talk")
    more = daemon.folder / "more.yaml"
    values = yaml.safe_load((daemon.folder / "configs" / "room.yaml").read_text())
    more.write_text(yaml.safe_dump({"sources": {"words": values["sources"]["words"]}, "inputs": {"text": "words.text"}}))
    assert "attached words" in daemon.command("attach", "room", "more.yaml")
    with pytest.raises(ApiError, match="there is no source 'nobody'"):
        api.detach("room", ["nobody"])

    # One ends by itself, one is stopped; its recording is whole, and can be deleted.
    api.start("short")
    daemon.ended("short")
    no_gap(daemon, "short")
    assert len(daemon.windows("short")) == 25
    assert api.stop("second") == "second is being stopped"
    daemon.ended("second")
    [recording] = (daemon.folder / "recordings").iterdir()
    assert {(finding.state, finding.why) for finding in audit(Session.open(recording))} == {("whole", "")}
    daemon.more(["steady", "room"])

    assert "the daemon runs already" in daemon.command("run", "--daemon", "--attached", code=2)
    assert {session["session"] for session in api.sessions() if session["gone"] is None} == {"steady", "room"}
    for name in ("steady", "room"):
        no_gap(daemon, name)
        status = daemon.status(name)
        assert (status["state"], status["skipped"]) == ("running", 0)
        conserved(status)

    port = urlsplit(api.address).port
    assert "has stopped" in daemon.command("stop", "--all")
    until(lambda: not daemon.left_behind(), 10, f"nothing is left: {daemon.left_behind()}")
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", port or 0), timeout=1):
        pass
    for name in ("steady", "room"):
        no_gap(daemon, name)


VICTIMS = {
    "an ingest actor": "ray::Ingest",
    "the fusion actor": "ray::Fusion",
    "the API": "pipeline.api.main",
    "the engine": "pipeline.runtime.engine_main",
    "the GCS": "gcs/gcs_server",
    "the raylet": "raylet/raylet",
}
NAMES = ["one", "two", "three"]


def test_whatever_is_killed_is_back_by_itself_and_no_decision_is_there_twice(daemon: Daemon) -> None:
    daemon.start()
    for name in NAMES:
        daemon.beat(name)
        daemon.api.start(name)
    daemon.more(NAMES)
    address = daemon.api.address
    followers = [Follower(lambda: daemon.api, name) for name in NAMES]
    until(lambda: all(follower.ids for follower in followers), 10, "the API's streams")

    for role, title in VICTIMS.items():
        daemon.kill(title)
        if role in ("the engine", "the GCS", "the raylet"):
            daemon.until(lambda api: api.service()["degraded"], f"the status tells of {role}")
            daemon.until(
                lambda api: all(api.session(name)["status"]["state"] != "running" for name in NAMES), "no session says that it runs"
            )
        # More than one: what an engine counted since its last status, at most 250 ms ago, goes down with it.
        daemon.more(NAMES, 12)
        daemon.until(lambda api: all(api.session(name)["status"]["state"] == "running" for name in NAMES), f"all is well after {role}")
        daemon.until(lambda api: api.service()["degraded"] == [], "and said to be")
    daemon.suspend("ray::Fusion")
    daemon.more(NAMES, 30)

    assert daemon.api.address == address
    sessions = {session["session"]: session for session in daemon.api.sessions()}
    assert set(sessions) == set(NAMES)
    for follower, name in zip(followers, NAMES, strict=True):
        last = daemon.decisions(name)[-1]["id"]
        until(lambda follower=follower, last=last: last in follower.ids, 10, "the stream has come so far")
        follower.close()
        ids = [decision["id"] for decision in daemon.decisions(name)]
        assert len(ids) == len(set(ids))
        assert follower.twice() == []
        assert follower.connections >= 2
        first = ids.index(follower.ids[0])
        heard = ids[first : first + len(follower.ids)]
        assert follower.ids == heard
        windows = daemon.windows(name)
        assert windows == sorted(set(windows))
        status = daemon.status(name)
        conserved(status)
    daemon.command("stop", "--all")
    until(lambda: not daemon.left_behind(), 10, f"nothing is left: {daemon.left_behind()}")


def test_when_the_daemon_itself_is_killed_nothing_of_it_goes_on(daemon: Daemon) -> None:
    systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    systemd.bind(str(daemon.folder / "notify"))
    systemd.settimeout(20)
    daemon.env |= {"NOTIFY_SOCKET": str(daemon.folder / "notify"), "WATCHDOG_USEC": "2000000"}
    daemon.start(daemon.beat("one"))
    daemon.more(["one"])
    heard = {systemd.recv(100)}
    while heard != {b"READY=1", b"WATCHDOG=1"}:
        heard.add(systemd.recv(100))
    systemd.close()
    supervisor = daemon.run["pid"]
    next(process for _, process in daemon.processes() if process.pid == supervisor).kill()
    until(lambda: not daemon.processes(), 20, "no process of ours")
    assert "no session runs" in daemon.command("status")
    daemon.start(daemon.folder / "configs" / "one.yaml")  # and sweeps what the other left
    daemon.more(["one"])
    daemon.command("stop", "--all")
    until(lambda: not daemon.left_behind(), 10, f"nothing is left: {daemon.left_behind()}")
