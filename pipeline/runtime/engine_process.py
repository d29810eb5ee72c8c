"""The engine as its supervisor sees it: a process in a session of its own, whose lines come out of a queue."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil

from pipeline.runtime.job import Job, job_line

MARK = "SENSORIUM_RUN"
"""All descendants inherit this variable with the run's scratch folder as its value: so every one of them is found again."""

STDIN = "SENSORIUM_STDIN"
"""Where our standard input is for them: theirs is another. The source `pipeline.sources.text_stdin:Stdin` reads it."""


class EngineProcess:
    """One start of the engine. lines() ends with None when its output has."""

    def __init__(self, job: Job, log: Path) -> None:
        self._mark = job.folder
        environment = {**os.environ, MARK: job.folder, STDIN: f"/proc/{os.getpid()}/fd/0", "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-P", "-m", "pipeline.runtime.engine_main"]
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=job.folder,
                env=environment,
                start_new_session=True,
            )
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue(maxsize=10_000)
        self._write(job_line(job))
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def next_line(self, timeout_s: float) -> dict[str, Any] | None:
        """Its next line; None: its output has ended. Raises queue.Empty."""
        return self._lines.get(timeout=timeout_s)

    def change(self, config_json: str) -> None:
        """Asks it to follow this config from now on, see `pipeline.runtime.changes`."""
        self._write(json.dumps({"change": config_json}, separators=(",", ":")) + "\n")

    def ask_to_stop(self) -> None:
        self._write("stop\n")

    def end(self, patience_s: float) -> int:
        """Waits so long for it to end by itself, then ends it and everything it started; gives its exit code."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_s)
        kill_marked(self._mark)
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return code

    def _write(self, text: str) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):  # it is gone: its end will be seen
                self._process.stdin.write(text.encode())
                self._process.stdin.flush()

    def _read(self) -> None:
        if self._process.stdout is not None:
            with contextlib.suppress(OSError, ValueError):  # closed under us by end()
                for line in self._process.stdout:
                    if message := _parsed(line):
                        self._lines.put(message)
        self._lines.put(None)


def kill_marked(mark: str) -> list[int]:
    """Kills every process of this user that descends from the engine of that run, wherever it went; gives their pids."""
    killed = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                process.kill()
                killed.append(process)
    psutil.wait_procs(killed, timeout=2)
    return [process.pid for process in killed]


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(line)
    except ValueError:
        return None  # not a line of the engine's: a library printed it
    return message if isinstance(message, dict) else None
