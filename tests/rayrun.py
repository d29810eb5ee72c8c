"""A supervised run in a process of its own, as a test of the whole runtime sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
from waiting import until

from pipeline.config import validate
from pipeline.runtime.child_process import MARK

TESTS = Path(__file__).parent


class SupervisedRun:
    """Of `beatsource.Beat`, and what its sink was told so far. record: where it is recorded. av: instead of its source `av`."""

    def __init__(
        self,
        folder: Path,
        model: Path,
        speed: float | str,
        faults: dict[str, Any],
        seconds: float,
        record: Path | None = None,
        av: dict[str, Any] | None = None,
    ) -> None:
        self.folder, self.out = folder, folder / "out.jsonl"
        marker = {"marker": str(folder / "happened")} if faults else {}
        beat = {"use": "beatsource:Beat", "seconds": seconds}
        values = {
            "model": str(model),
            "sources": {"av": av or {**beat, "streams": "video,audio", **faults, **marker}, "words": {**beat, "streams": "text"}},
            "inputs": {"video": "av.video", "audio": "av.audio", "text": "words.text"},
            "run": {"speed": speed},
            **({} if record is None else {"record": {"folder": str(record), "segment": 2.0, "free_mb": 0.0}}),
        }
        self.config = validate(values, {}, origin=str(folder / "story.yaml"))
        (folder / "config.json").write_text(json.dumps(values))
        self.process = subprocess.Popen(
            [sys.executable, str(TESTS / "supervised.py"), "config.json", "out.jsonl", str(folder / "runs")],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            stderr=subprocess.PIPE,
            text=True,
        )

        until(lambda: list((folder / "runs").glob("*/run.json")), 30, "a run directory")
        self.scratch = json.loads(next((folder / "runs").glob("*/run.json")).read_text())["scratch"]

    def lines(self) -> list[dict[str, Any]]:
        if not self.out.exists():
            return []
        return [json.loads(line) for line in self.out.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def decisions(self) -> list[dict[str, Any]]:
        return [line["decision"] for line in self.lines() if "decision" in line]

    def statuses(self) -> list[dict[str, Any]]:
        return [line["status"] for line in self.lines() if "status" in line]

    def events(self) -> list[str]:
        return [line for status in self.statuses() for line in status["events"]]

    def ours(self) -> list[tuple[str, psutil.Process]]:
        """The engine and its descendants with their titles, of which several may have the same."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK, "").startswith(self.scratch):
                    found.append((" ".join(process.cmdline()), process))
            except (psutil.Error, OSError):
                continue
        return found

    def kill(self, title: str) -> int:
        """Kills all of that title at once; gives how many decisions there were."""
        victims = [process for name, process in self.ours() if title in name]
        assert victims, title
        decided = len(self.decisions())
        for victim in victims:
            victim.kill()
        return decided

    def wait_decided(self, count: int) -> None:
        until(lambda: len(self.decisions()) >= count or self.process.poll() is not None, 60, f"{count} decisions")
        assert self.process.poll() is None, self.process.communicate()

    def end(self) -> tuple[int, str]:
        _, errors = self.process.communicate(timeout=90)
        return self.process.returncode, errors

    def left_behind(self) -> list[object]:
        """Processes, files, sockets: everything that should be gone."""
        return [*self.ours(), *(self.folder / "runs").glob("*"), *Path(self.scratch).glob("**"), *ray_shm()]


def ray_shm() -> list[Path]:
    return [path for path in Path("/dev/shm").glob("*") if "plasma" in path.name or "ray" in path.name]
