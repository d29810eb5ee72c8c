"""`sensorium run --daemon`: a session in the daemon, which is started if it does not run yet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from operators.errors import ConfigError, SensoriumError
from pipeline.api.client import Client
from pipeline.cli import say, state_folder
from pipeline.clock import Clock, SystemClock
from pipeline.commands.inputs import Chosen
from pipeline.commands.run import checked
from pipeline.config import Config
from pipeline.daemon.serve import API_FILE, serve
from pipeline.runtime.requests import ask
from pipeline.runtime.rundir import Run, folder_of, runs
from pipeline.service import load_service

PATIENCE_NS = 30_000_000_000
POLL_NS = 50_000_000


def run_in_daemon(chosen: Chosen | None, service: str | None, *, attached: bool) -> int:
    """chosen: what to start; None: only the daemon. attached: it is this process. Mistakes are told here, as without --daemon."""
    settings = load_service(service)
    config = None if chosen is None else _checked(chosen)
    if attached:
        return serve(settings, config)
    running = the_daemon()
    if running is not None and service is not None:
        raise ConfigError(
            "--service", "", "is read when the daemon starts, and it runs already", "sensorium stop --all, then start it again"
        )
    running = running or _started(service, SystemClock())
    if config is not None:
        print(ask(folder_of(running), {"start": {"config": config.model_dump(mode="json")}}, SystemClock()))
    page = Client.of(folder_of(running)).one_time_address()
    print(f"the daemon runs (pid {running.pid}); its page, good for one visit: {page}\nstop it with: sensorium stop --all")
    return 0


def the_daemon() -> Run | None:
    """This user's; None: it does not run."""
    return next((run for run in runs() if run.daemon), None)


def _checked(chosen: Chosen) -> Config:
    config = checked(chosen).config
    if config.truth is not None:
        say("note: decisions are scored against a truth by `sensorium run` in the foreground only")
    return config


def _started(service: str | None, clock: Clock) -> Run:
    """A new daemon, in a session of its own, with a log instead of a terminal. Raises what it ends with."""
    log = _log_path()
    words = [] if service is None else ["--service", str(Path(service).absolute())]
    process = _start(["run", "--daemon", "--attached", *words], log)
    until_ns = clock.now_ns() + PATIENCE_NS
    while clock.now_ns() < until_ns and process.poll() is None:
        run = next((run for run in runs() if run.pid == process.pid), None)
        if run is not None and (folder_of(run) / API_FILE).exists():
            return run
        clock.sleep_until(clock.now_ns() + POLL_NS)
    raise _Ended(log, process.poll())


class _Ended(SensoriumError):
    """The daemon did not start."""

    def __init__(self, log: Path, code: int | None) -> None:
        last = log.read_text("utf-8", "replace").strip().splitlines()
        self.exit_code = code or 1
        super().__init__(last[-1].removeprefix("sensorium: ") if last and code is not None else f"the daemon did not start; its log: {log}")


def _log_path() -> Path:
    folder = state_folder() / "logs"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder / "daemon.log"


def _start(words: list[str], log: Path) -> subprocess.Popen[bytes]:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        # -P: a folder named pipeline in the working directory must not be taken for ours.
        command = [sys.executable, "-P", "-m", "pipeline.cli", *words]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=descriptor, stderr=descriptor, start_new_session=True)
    finally:
        os.close(descriptor)
