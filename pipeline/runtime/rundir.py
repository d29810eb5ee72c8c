"""The folder that a running session keeps for `sensorium status` and `sensorium stop`: who it is and how it is.

<base>/<session>-<pid>/  0700      base: $XDG_RUNTIME_DIR/sensorium, else ~/.local/state/sensorium
    run.json     session, pid, the process's start time, its private folder for sockets
    status.json  the newest Status, replaced as a whole about once a second; of a daemon api.json instead: where its API listens
    ask-*.json   a request, see `pipeline.runtime.requests`
    engine.log   what the engine's process wrote to stderr
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from operators.decision import Decision
from pipeline.clock import Clock, wall_utc
from pipeline.ports import Status
from pipeline.runtime.codec import status_from_json, status_to_json
from pipeline.runtime.wires import MAX_PATH

STATUS_NS = 1_000_000_000
SCRATCH_PREFIX = "sensorium-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One supervisor's process. started: its start time as the system tells it, so that a reused pid is not taken for it.

    daemon: it keeps many sessions, which its API tells of; `session` is then just its name.
    """

    session: str
    pid: int
    started: float
    since: str
    scratch: str
    daemon: bool = False

    @property
    def alive(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            return process.create_time() == self.started and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def stop(self) -> bool:
        """Asks it to end (SIGTERM); False: it is gone already."""
        if self.alive:
            os.kill(self.pid, signal.SIGTERM)
            return True
        return False


class RunDir:
    """The folder of this process's run. Also a sink: it keeps the newest status. close() removes it with everything in it."""

    def __init__(self, session: str, clock: Clock, base: Path | None = None, *, daemon: bool = False) -> None:
        folder = base or base_folder()
        _make_private(folder)
        _sweep(folder)
        self.path = folder / f"{session}-{os.getpid()}"
        _make_private(self.path)
        self.scratch = _scratch()
        started = psutil.Process().create_time()
        scratch = str(self.scratch)
        self.run = Run(session=session, pid=os.getpid(), started=started, since=wall_utc(), scratch=scratch, daemon=daemon)
        _write(self.path / "run.json", asdict(self.run))
        self._clock = clock
        self._due_ns = clock.now_ns()

    def decision(self, decision: Decision) -> None:
        """Nothing of it is kept here."""

    def status(self, status: Status) -> None:
        now_ns = self._clock.now_ns()
        if now_ns >= self._due_ns or status.final:
            self._due_ns = now_ns + STATUS_NS
            _write(self.path / "status.json", status_to_json(status))

    def tell(self, name: str, values: dict[str, Any]) -> None:
        """Keeps something else for who looks in, as a whole; name: of a file."""
        _write(self.path / name, values)

    def close(self) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)
        shutil.rmtree(self.path, ignore_errors=True)


def base_folder() -> Path:
    """Where the runs of this user are."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return (Path(runtime) if runtime else Path.home() / ".local" / "state") / "sensorium"


def runs(base: Path | None = None) -> list[Run]:
    """The sessions that run now, oldest first; folders of dead ones are left for the next run to sweep."""
    found = [run for _, run in _folders(base or base_folder()) if run.alive]
    return sorted(found, key=lambda run: run.started)


def folder_of(run: Run, base: Path | None = None) -> Path:
    """Its run directory."""
    return (base or base_folder()) / f"{run.session}-{run.pid}"


def status_of(run: Run, base: Path | None = None) -> Status | None:
    """Its newest status; None: there is none yet."""
    try:
        text = (folder_of(run, base) / "status.json").read_text("utf-8")
        return status_from_json(json.loads(text))
    except FileNotFoundError:
        return None


def _folders(base: Path) -> Iterator[tuple[Path, Run]]:
    for path in sorted(base.glob("*/run.json")):
        try:
            yield path.parent, Run(**json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            continue  # being written or removed at this moment, or none of ours


def _sweep(base: Path) -> None:
    """Removes what runs left behind that were killed."""
    for path, run in _folders(base):
        if not run.alive:
            scratch = Path(run.scratch)
            if scratch.name.startswith(SCRATCH_PREFIX) and scratch.is_dir() and scratch.stat().st_uid == os.getuid():
                shutil.rmtree(scratch, ignore_errors=True)
            shutil.rmtree(path, ignore_errors=True)


def _scratch() -> Path:
    """A private folder with a path short enough for sockets (and for Ray's, which lie deeper: hence half of it)."""
    folder = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX, dir=folder if len(folder) < MAX_PATH // 4 else "/tmp"))  # noqa: S108


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def _write(path: Path, values: dict[str, Any]) -> None:
    """As a whole or not at all: a reader never sees half of it."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(values), "utf-8")
    new.replace(path)
