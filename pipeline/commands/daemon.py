"""`sensorium run --daemon`: the same command once more, in a session of its own, with a log instead of a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.cli import say, state_folder
from pipeline.clock import Clock, SystemClock
from pipeline.commands.inputs import Chosen
from pipeline.commands.run import checked
from pipeline.runtime.rundir import runs, status_of
from pipeline.score import read_truth

PATIENCE_NS = 30_000_000_000
POLL_NS = 50_000_000


def detach(chosen: Chosen, arguments: Sequence[str]) -> int:
    """Starts it, waits until it runs, says its name and how to stop it. Mistakes in the config are told here, as without --daemon."""
    plan = checked(chosen)
    if plan.truth is not None:
        read_truth(plan.truth)
    session = plan.config.session or "session"
    if not plan.sinks:
        say("note: the decisions go nowhere; --out FILE keeps them")
    log = _log_path(session)
    process = _start([word for word in arguments if word != "--daemon"], log)
    code = _await(process, SystemClock())
    if code is not None:
        last = log.read_text("utf-8", "replace").strip().splitlines()
        say(f"{session} ended at once: {last[-1].removeprefix('sensorium: ') if last else 'it said nothing'}")
        return code
    print(f"{session} runs in the background (pid {process.pid}, log {log})\nstop it with: sensorium stop {session}")
    return 0


def _log_path(session: str) -> Path:
    folder = state_folder() / "logs"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder / f"{session}.log"


def _start(words: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        # -P: a folder named pipeline in the working directory must not be taken for ours.
        command = [sys.executable, "-P", "-m", "pipeline.cli", *words, "--quiet"]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=descriptor, stderr=descriptor, start_new_session=True)
    finally:
        os.close(descriptor)


def _await(process: subprocess.Popen[bytes], clock: Clock) -> int | None:
    """None: it runs. Else the exit code that it ended with."""
    until_ns = clock.now_ns() + PATIENCE_NS
    while clock.now_ns() < until_ns and process.poll() is None:
        if any(run.pid == process.pid and status_of(run) is not None for run in runs()):
            return None
        clock.sleep_until(clock.now_ns() + POLL_NS)
    return process.poll()
