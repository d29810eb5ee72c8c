"""The engine process and its successors, one at a time."""

from __future__ import annotations

import queue
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.clock import Clock
from pipeline.runtime.child_process import ChildProcess
from pipeline.runtime.job import EngineJob, engine_job_line, line
from pipeline.runtime.rundir import RunDir
from pipeline.runtime.supervise import Child, RestartPolicy

SECOND = 1_000_000_000
WAIT_S = 0.05
MODULE = "pipeline.runtime.engine_main"


class EngineKeeper:
    """Starts, hears and ends it. `child` says when."""

    def __init__(self, run_dir: RunDir, clock: Clock, rng: random.Random, policy: RestartPolicy) -> None:
        self._run_dir, self._clock = run_dir, clock
        self._log: Path = run_dir.path / "engine.log"
        self.child = Child("engine", policy, rng, clock.now_ns())
        self._process: ChildProcess | None = None

    @property
    def there(self) -> bool:
        return self._process is not None

    def start(self, job: EngineJob) -> None:
        """job: its folder is not known yet."""
        folder = self._run_dir.scratch / f"e{self.child.generation}"
        folder.mkdir(mode=0o700)
        (folder / "ray").mkdir(mode=0o700)
        self._process = ChildProcess(MODULE, engine_job_line(replace(job, folder=str(folder))), folder, self._log)

    def next_line(self) -> dict[str, Any] | None:
        """Its next line; None: its output has ended. Raises queue.Empty."""
        if self._process is None:
            self._clock.sleep_until(self._clock.now_ns() + int(WAIT_S * SECOND))
            raise queue.Empty
        said = self._process.next_line(WAIT_S)
        if said is not None:
            self.child.beat(self._clock.now_ns())
        return said

    def post(self, values: dict[str, Any]) -> None:
        if self._process is not None:
            self._process.post(line(values))

    def ask_to_stop(self) -> None:
        if self._process is not None:
            self._process.post("stop\n")

    def end(self, patience_s: float) -> None:
        if self._process is not None:
            self._process.end(patience_s)
            self._process = None
        for folder in self._run_dir.scratch.glob("e*"):
            shutil.rmtree(folder, ignore_errors=True)
