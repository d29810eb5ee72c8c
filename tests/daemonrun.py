"""A daemon in a process of its own, as a test of the whole sees it: asked by the real commands and the real API, its sinks' files read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import yaml
from rayrun import ray_shm
from waiting import until

from pipeline.api.client import ApiError, Client
from pipeline.runtime.child_process import MARK

TESTS = Path(__file__).parent
SENSORIUM = [sys.executable, "-P", "-m", "pipeline.cli"]


class Daemon:
    """folder: its own, for everything. Its settings let any number of sessions in, and its configs give each decision three seconds: what fits
    on a machine is not what is tested with it."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.model = folder, model
        self.env = {
            **os.environ,
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "XDG_STATE_HOME": str(folder / "state"),
            "PYTHONPATH": str(TESTS),
            "COLUMNS": "200",
        }
        for name in ("run", "state", "configs"):
            (folder / name).mkdir()
        service = {
            "listen": "127.0.0.1:0",
            "configs": "configs",
            "recordings": "recordings",
            "admission": {"cores": 64.0},
            "limits": {"per_minute": 6000},
        }
        (folder / "service.yaml").write_text(yaml.safe_dump(service))
        self._shm = set(ray_shm())

    # -- what it is asked for

    def config(self, name: str, sources: dict[str, Any], inputs: dict[str, str], **more: Any) -> Path:
        """In the folder of those that may be started from the page; its decisions go to <name>.jsonl."""
        path = self.folder / "configs" / f"{name}.yaml"
        sinks = [{"use": "pipeline.sinks.jsonl:JsonLines", "path": str(self.folder / f"{name}.jsonl")}]
        values = {"model": str(self.model), "sources": sources, "inputs": inputs, "sinks": sinks, "align": {"deadline_ms": 3000}, **more}
        path.write_text(yaml.safe_dump(values))
        return path

    def beat(self, name: str, seconds: float = 600.0) -> Path:
        """Two sources at real time, av and words."""
        beat = {"use": "beatsource:Beat", "seconds": seconds}
        sources = {"av": {**beat, "streams": "video,audio"}, "words": {**beat, "streams": "text"}}
        return self.config(name, sources, {"video": "av.video", "audio": "av.audio", "text": "words.text"}, run={"speed": 1})

    def live(self, name: str, sources: dict[str, str]) -> Path:
        """sources: name -> streams of a LiveBeat, which are their inputs' names too."""
        made = {
            source: {"use": "livebeat:LiveBeat", "control": str(self.folder / "control"), "streams": streams}
            for source, streams in sources.items()
        }
        inputs = {stream: f"{source}.{stream}" for source, streams in sources.items() for stream in streams.split(",")}
        return self.config(name, made, inputs)

    def command(self, *words: object, code: int = 0) -> str:
        """Gives what it printed."""
        done = subprocess.run(
            [*SENSORIUM, *map(str, words)], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def start(self, *words: object) -> str:
        return self.command("run", "--daemon", "--service", "service.yaml", *words)

    @property
    def run_dir(self) -> Path:
        [path] = (self.folder / "run" / "sensorium").glob("daemon-*")
        return path

    @property
    def run(self) -> dict[str, Any]:
        return dict(json.loads((self.run_dir / "run.json").read_text()))

    @property
    def api(self) -> Client:
        """XDG_STATE_HOME must be the daemon's: the token is there."""
        return Client.of(self.run_dir)

    # -- what came of it

    def decisions(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / f"{name}.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def windows(self, name: str) -> list[int]:
        return [decision["window"] for decision in self.decisions(name) if decision["revision"] == 0]

    def more(self, names: list[str], count: int = 5, within_s: float = 45.0) -> None:
        """Waits until each of them has decided so much more."""
        before = {name: len(self.decisions(name)) for name in names}
        fact = lambda: all(len(self.decisions(name)) >= before[name] + count for name in names)  # noqa: E731
        until(fact, within_s, f"{count} more decisions than {before}; {self.log()}", every_s=0.05)

    def until(self, fact: Callable[[Client], object], what: str, within_s: float = 30.0) -> None:
        """Asks the API, gently; while it is away that is no answer."""

        def asked() -> object:
            try:
                return fact(self.api)
            except ApiError:
                return False

        until(asked, within_s, f"{what}; {self.log()}", every_s=0.1)

    def ended(self, name: str) -> None:
        self.until(lambda api: api.session(name)["gone"], f"{name} has ended")

    def status(self, name: str) -> dict[str, Any]:
        try:
            return dict(self.api.session(name)["status"] or {})
        except ApiError:
            return {}

    def log(self) -> str:
        logs = [self.folder / "state" / "sensorium" / "logs" / "daemon.log", *self.run_dir.glob("*.log")]
        return "\n".join(path.read_text("utf-8", "replace")[-1500:] for path in logs if path.exists())

    # -- its processes

    def processes(self) -> list[tuple[str, psutil.Process]]:
        """Everything that was started with our environment, by what it shows in ps; not the commands of this test."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("XDG_RUNTIME_DIR") == self.env["XDG_RUNTIME_DIR"] and process.status() != psutil.STATUS_ZOMBIE:
                    found.append((" ".join(process.cmdline()), process))
            except (psutil.Error, OSError):
                continue
        return found

    def kill(self, title: str) -> None:
        """One of that title."""
        self._one(title).kill()

    def suspend(self, title: str) -> None:
        """One of that title: it is there, and does nothing."""
        self._one(title).suspend()

    def _one(self, title: str) -> psutil.Process:
        found = [process for name, process in self.processes() if title in name and MARK in process.environ()]
        assert found, (title, [name for name, _ in self.processes()])
        return found[0]

    def left_behind(self) -> list[object]:
        """Processes, files, sockets, shared memory: everything that should be gone; the logs may stay."""
        runs = list((self.folder / "run" / "sensorium").glob("*"))
        return [*self.processes(), *runs, *(path for path in ray_shm() if path not in self._shm)]

    def destroy(self) -> None:
        for _, process in self.processes():
            process.kill()
