"""What systemd hears, at a real socket of datagrams."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.clock import FakeClock
from pipeline.daemon.watchdog import Watchdog

MS = 1_000_000


class Systemd:
    def __init__(self, name: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(1000).decode())
            except BlockingIOError:
                return found


@pytest.fixture(params=["file", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "notify") if request.param == "file" else f"@sensorium-test-{tmp_path.name}"


@pytest.fixture
def systemd(address: str) -> Iterator[Systemd]:
    it = Systemd(address)
    yield it
    it.socket.close()


def test_it_is_told_once_that_all_is_ready_and_again_and_again_that_we_live(systemd: Systemd, address: str) -> None:
    clock = FakeClock()
    watchdog = Watchdog.from_environment({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "200000"}, clock)
    for ready in [False, False, True, True, True, False]:
        watchdog.beat(ready=ready)
        clock.sleep_until(clock.now_ns() + 50 * MS)
    watchdog.stopping()
    assert systemd.heard() == ["WATCHDOG=1", "READY=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]


def test_where_nobody_watches_only_readiness_is_told(systemd: Systemd, address: str) -> None:
    for wait in ("", "0", "never"):
        watchdog = Watchdog.from_environment({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": wait}, FakeClock())
        watchdog.beat(ready=True)
        assert systemd.heard() == ["READY=1"]


def test_without_systemd_nothing_is_told() -> None:
    watchdog = Watchdog.from_environment({}, FakeClock())
    watchdog.beat(ready=True)
    watchdog.stopping()


def test_a_systemd_that_is_away_for_a_moment_ends_nothing(tmp_path: Path) -> None:
    clock, address = FakeClock(), str(tmp_path / "notify")
    watchdog = Watchdog(address, 1000 * MS, clock)
    watchdog.beat(ready=True)
    clock.sleep_until(2000 * MS)
    systemd = Systemd(address)
    watchdog.beat(ready=True)
    assert systemd.heard() == ["READY=1", "WATCHDOG=1"]
    systemd.socket.close()


def test_a_systemd_that_does_not_read_keeps_nobody_waiting(tmp_path: Path) -> None:
    clock, address = FakeClock(), str(tmp_path / "notify")
    systemd = Systemd(address)
    watchdog = Watchdog(address, 1, clock)
    for _ in range(10_000):  # more than any socket holds
        watchdog.beat(ready=False)
        clock.sleep_until(clock.now_ns() + 1)
    assert len(systemd.heard()) < 10_000
    systemd.socket.close()
