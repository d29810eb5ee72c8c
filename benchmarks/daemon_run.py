"""A daemon of its own for a benchmark, with the sessions that it is asked for; what they decide is read as it is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from pipeline.api.client import ApiError, Client
from pipeline.clock import SystemClock

SENSORIUM = [sys.executable, "-P", "-m", "pipeline.cli"]
S = 1_000_000_000
READ_NS = 4_000_000
"""What a line's time of arrival may be too late."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A line of a sink's file, and when it was there."""

    at_ns: int
    decision: dict[str, Any]


@dataclass(slots=True)
class Session:
    """Started under this name. lines: of its JSONL sink, so far."""

    name: str
    out: Path
    lines: list[Arrived] = field(default_factory=list)


class DaemonRun:
    """settings: of the service, besides where it listens and what it keeps where."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.sessions: dict[str, Session] = {}
        for name in ("run", "state", "configs"):
            (folder / name).mkdir()
        mine = {"listen": "127.0.0.1:0", "configs": "configs", "recordings": "recordings", "admission": {"cores": 256.0}}
        (folder / "service.yaml").write_text(yaml.safe_dump({**mine, "limits": {"per_minute": 100_000}, **settings}))
        os.environ["XDG_RUNTIME_DIR"], os.environ["XDG_STATE_HOME"] = str(folder / "run"), str(folder / "state")
        self._errors = (folder / "errors").open("w")
        words = ["run", "--daemon", "--attached", "--service", "service.yaml"]
        self.process = subprocess.Popen([*SENSORIUM, *words], cwd=folder, stdout=self._errors, stderr=self._errors)
        wait(lambda: list((folder / "run").glob("sensorium/daemon-*/api.json")), "the daemon listens", 60)
        [self.run_dir] = (folder / "run" / "sensorium").glob("daemon-*")
        self._reading = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait(lambda: self.api().service()["engine"]["state"] == "running", "its engine runs", 60)

    def api(self) -> Client:
        return Client.of(self.run_dir)

    def start(self, name: str, config: dict[str, Any]) -> Session:
        """Comes back when it has decided."""
        out = self.folder / f"{name}.jsonl"
        sinks = [{"use": "pipeline.sinks.jsonl:JsonLines", "path": str(out)}]
        (self.folder / "configs" / f"{name}.yaml").write_text(yaml.safe_dump({**config, "sinks": sinks}))
        session = self.sessions[name] = Session(name, out)
        self.api().start(name)
        wait(lambda: session.lines, f"{name} decides", 60)
        return session

    def status(self, name: str) -> dict[str, Any]:
        return dict(self.api().session(name)["status"] or {})

    def tree(self) -> list[psutil.Process]:
        """The daemon and everything it started."""
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self._reading.set()
        self._reader.join()
        self._errors.close()

    def _read(self) -> None:
        clock, read = SystemClock(), dict[str, int]()
        while not self._reading.is_set():
            now_ns = clock.now_ns()
            for session in list(self.sessions.values()):
                for text in _new_lines(session, read):
                    session.lines.append(Arrived(now_ns, json.loads(text)))
            clock.sleep_until(now_ns + READ_NS)


def _new_lines(session: Session, read: dict[str, int]) -> Iterator[bytes]:
    """What its file has more than when it was last read; a line that is not whole is left for later."""
    if not session.out.exists():
        return
    with session.out.open("rb") as file:
        file.seek(read.get(session.name, 0))
        whole, end, _ = file.read().rpartition(b"\n")
    read[session.name] = read.get(session.name, 0) + len(whole) + len(end)
    yield from whole.splitlines()


@contextmanager
def daemon_run(folder: Path, **settings: Any) -> Iterator[DaemonRun]:  # noqa: ANN401 - as they are written in YAML
    """In the end everything of it is gone."""
    run = DaemonRun(folder, settings)
    try:
        yield run
    finally:
        left = run.tree() if run.process.poll() is None else []
        run.stop()
        for process in psutil.wait_procs(left, timeout=5)[1]:
            print(f"left behind: {process}", file=sys.stderr)
            process.kill()


def wait(is_so: Callable[[], object], what: str, seconds: float = 60) -> None:
    """An API that is away is no answer."""
    clock = SystemClock()
    end_ns = clock.now_ns() + round(seconds * S)
    while not _so(is_so):
        if clock.now_ns() > end_ns:
            raise SystemExit(f"not within {seconds} s: {what}")
        pause(0.05)


def _so(is_so: Callable[[], object]) -> object:
    try:
        return is_so()
    except ApiError:
        return False


def pause(seconds: float) -> None:
    clock = SystemClock()
    clock.sleep_until(clock.now_ns() + round(seconds * S))
