"""The real API process, and in place of the supervisor a test that says what it likes and answers as it likes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from waiting import until

from pipeline.api.codes import new_code
from pipeline.clock import wall_ns, wall_utc

Answer = dict[str, Any]


def refuse(request: dict[str, Any]) -> Answer:
    return {"refused": f"nobody here does {next(iter(request))}", "status": 409}


class FakeSupervisor:
    """folder: for the run directory, the token and the view's socket. answer: what is answered to an ask, without its id."""

    def __init__(self, folder: Path, answer: Callable[[dict[str, Any]], Answer] = refuse, **service: Any) -> None:
        self.folder, self.answer = folder, answer
        self.run_dir = folder / "run"
        self.run_dir.mkdir(mode=0o700, exist_ok=True)
        self.view = f"ipc://{folder}/view"
        self.service = {"listen": "127.0.0.1:0", "recordings": str(folder / "recordings"), "log": "json", **service}
        self.env = {"XDG_STATE_HOME": str(folder / "state")}
        self.asked: list[dict[str, Any]] = []
        self.beats = 0
        self.address = ""
        self.errors: list[str] = []

    def start(self, patience_s: float = 20) -> FakeSupervisor:
        """Comes back when it serves."""
        self.address, self.errors = "", []
        words = [sys.executable, "-P", "-m", "pipeline.api.main"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(words, env={**os.environ, **self.env}, cwd=self.folder, text=True, **pipes)
        self.threads = [threading.Thread(target=read, daemon=True) for read in (self._read, self._read_errors)]
        for thread in self.threads:
            thread.start()
        self.say(
            {"service": self.service, "run_dir": str(self.run_dir), "view": self.view, "utc": wall_utc(), "monotonic_ns": 0, "version": "0"}
        )
        until(lambda: self.address or self.process.poll() is not None, patience_s, "the API is ready")
        return self

    def say(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            message = json.loads(line)
            if message["type"] == "ready":
                self.address = message["address"]
            elif message["type"] == "beat":
                self.beats += 1
            else:
                self.asked.append(message["ask"])
                self.say({"type": "answer", "id": message["id"], **self.answer(message["ask"])})

    def _read_errors(self) -> None:
        self.errors.extend(self.process.stderr or ())

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def token(self) -> str:
        return (self.folder / "state" / "sensorium" / "token").read_text().strip()

    def enter(self) -> str:
        """An address that lets one browser in."""
        return f"{self.address}/enter?code={new_code(self.run_dir, wall_ns())}"

    def kill(self) -> None:
        self.process.kill()
        self.end()

    def end(self) -> int:
        """Closes its stdin, as a supervisor that is gone; gives its exit code."""
        for pipe in (self.process.stdin,):
            if pipe is not None:
                pipe.close()
        code = self.process.wait(10)
        for thread in self.threads:
            thread.join(5)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        return code
