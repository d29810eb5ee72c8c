"""The engine process: `python -m pipeline.runtime.engine_main`, started by the supervisor, with Ray and an `Engine` in it.

In:  one JSON line on stdin with the `Job`; afterwards lines {"change": config} to follow, and the line "stop", or the end of stdin
     (whoever started us is gone).
Out: JSON lines on stdout, {"type": "decision" | "status" | "started" | "error" | "ended", ...}, the content under the name of
     its type. Logs go to stderr.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TextIO

import zmq

from pipeline.clock import SystemClock
from pipeline.config import Config
from pipeline.plan import Plan, build_plan
from pipeline.runtime.bus import Inbox
from pipeline.runtime.engine import Engine, Laps
from pipeline.runtime.failure import CannotGoOn, failure_of
from pipeline.runtime.job import Job, job_of
from pipeline.runtime.ray import RayStage
from pipeline.runtime.wires import Wires

STOP_PATIENCE_S = 1.5


def main() -> int:
    lines = _Lines(sys.stdout)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to hear
    try:
        job = job_of(sys.stdin.readline())
        configs: SimpleQueue[str] = SimpleQueue()
        threading.Thread(target=_listen, args=(sys.stdin, stop, configs), daemon=True).start()
        # Ray puts the folder of the program on its workers' import path; ours is full of short names.
        sys.argv = [str(Path(job.folder) / "engine")]
        _serve(job, lines, stop, configs)
    except CannotGoOn as error:
        lines.say({"type": "error", "error": error.failure.to_json()})
    except Exception as error:  # noqa: BLE001 - the process's edge: the supervisor tells the user
        lines.say({"type": "error", "error": failure_of(error).to_json()})
    else:
        lines.say({"type": "ended"})
        return 0
    return 1


def _serve(job: Job, lines: _Lines, stop: threading.Event, configs: SimpleQueue[str]) -> None:
    clock = SystemClock()
    laps = Laps(clock, job.asked_ns)
    config = Config.model_validate_json(job.config_json)
    with ThreadPoolExecutor(1) as side:
        planned = side.submit(build_plan, config)  # while Ray starts, which is mostly waiting
        laps.lap("python")
        stage = RayStage(job.config_json, job.digest, Path(job.folder) / "ray", actors=1 + len(config.sources))
        laps.lap("ray")
        context: zmq.Context[Any] = zmq.Context()
        try:
            plan = planned.result()
            wires = Wires(folder=job.folder, inputs=tuple(plan.model.spec.inputs), recording=job.recording)
            stage.wires = wires
            inbox = Inbox(context, wires.engine)
            rng = random.Random()  # noqa: S311 - the jitter of pauses
            Engine(plan, job, stage, inbox, clock, lines.say, rng, laps).run(stop.is_set, lambda: _next_plan(job, configs))
            inbox.close()
        finally:
            stage.close(STOP_PATIENCE_S)
            context.destroy(linger=0)


class _Lines:
    """JSON lines; a reader that has gone away ends the engine by SIGPIPE's Python form, BrokenPipeError."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def say(self, message: dict[str, Any]) -> None:
        self._out.write(json.dumps(message, separators=(",", ":")) + "\n")
        self._out.flush()


def _listen(stdin: TextIO, stop: threading.Event, configs: SimpleQueue[str]) -> None:
    for line in stdin:
        if line.strip() == "stop":
            break
        configs.put(json.loads(line)["change"])
    stop.set()


def _next_plan(job: Job, configs: SimpleQueue[str]) -> Plan | None:
    """The plan of a change, checked by who sent it; decisions keep the digest that the session began with."""
    if configs.empty():
        return None
    return replace(build_plan(Config.model_validate_json(configs.get())), digest=job.digest)


if __name__ == "__main__":
    sys.exit(main())
