"""A process as its supervisor sees it: in a session of its own, lines of JSON in and out. Nobody ever waits for it to read."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Any

import psutil

MARK = "SENSORIUM_RUN"
"""All descendants inherit this variable with the child's folder as its value: so every one of them is found again."""

STDIN = "SENSORIUM_STDIN"
"""Where our standard input is for them: theirs is another. The source `pipeline.sources.text_stdin:Stdin` reads it."""

MOST_WAITING = 20_000
"""So many lines may wait for a child that does not read; then the oldest go."""


class ChildProcess:
    """One start of a module. first: the first line it is given. folder: its own, and its working directory. log: gets its stderr."""

    def __init__(self, module: str, first: str, folder: Path, log: Path) -> None:
        self._mark = str(folder)
        environment = {**os.environ, MARK: self._mark, STDIN: f"/proc/{os.getpid()}/fd/0", "PYTHONUNBUFFERED": "1"}
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue(maxsize=10_000)
        self._waiting: deque[str] = deque([first])
        self._news = threading.Condition()
        self._closing = False
        self.unread = 0
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._write, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def next_line(self, timeout_s: float) -> dict[str, Any] | None:
        """Its next line; None: its output has ended. Raises queue.Empty."""
        return self._lines.get(timeout=timeout_s)

    def post(self, text: str) -> None:
        """Gives it a line, later if need be."""
        with self._news:
            self._waiting.append(text)
            if len(self._waiting) > MOST_WAITING:
                self._waiting.popleft()
                self.unread += 1
            self._news.notify()

    def end(self, patience_s: float) -> int:
        """Waits so long for it to end by itself, then ends it and everything it started; gives its exit code."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_s)
        kill_marked(self._mark)
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        with self._news:
            self._closing = True
            self._news.notify()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return code

    def _write(self) -> None:
        while (text := self._next_to_write()) is not None and self._process.stdin is not None:
            try:
                self._process.stdin.write(text.encode())
                self._process.stdin.flush()
            except (OSError, ValueError):  # it is gone: its end will be seen
                return

    def _next_to_write(self) -> str | None:
        with self._news:
            self._news.wait_for(lambda: self._waiting or self._closing)
            return None if self._closing else self._waiting.popleft()

    def _read(self) -> None:
        if self._process.stdout is not None:
            with contextlib.suppress(OSError, ValueError):  # closed under us by end()
                for line in self._process.stdout:
                    if message := _parsed(line):
                        self._lines.put(message)
        self._lines.put(None)


def kill_marked(mark: str) -> list[int]:
    """Kills every process of this user that descends from the child with that folder, wherever it went; gives their pids."""
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
        return None  # not a line of ours: a library printed it
    return message if isinstance(message, dict) else None
