"""The engine process: `python -m pipeline.runtime.engine_main`, started by the supervisor, with Ray and all sessions in it.

In:  one JSON line on stdin with the `EngineJob`; afterwards lines to follow: {"start": Job}, {"change": {"session", "config"}, "digest"},
     {"record": {"session", "recording": Recording or null}}, {"end": session}; and the line "stop", or the end of stdin (whoever
     started us is gone).
Out: JSON lines on stdout. Of a session, with its name in "session": {"type": "accepted" | "refused" | "started" | "decision" | "status" |
     "failed" | "ended", ...}; of the engine: "up", "engine" (its figures, once a second), "error", "over". Logs go to stderr.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TextIO

from pipeline.clock import SystemClock
from pipeline.config import Config
from pipeline.plan import Plan, build_plan
from pipeline.runtime.engine import Laps
from pipeline.runtime.failure import failure_of
from pipeline.runtime.ground import RayGround
from pipeline.runtime.host import Host
from pipeline.runtime.job import EngineJob, Job, engine_job_of, line


def main() -> int:
    lines = _Lines(sys.stdout)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to hear
    try:
        job = engine_job_of(sys.stdin.readline())
        orders: SimpleQueue[dict[str, Any]] = SimpleQueue()
        threading.Thread(target=_listen, args=(sys.stdin, stop, orders), daemon=True).start()
        # Ray puts the folder of the program on its workers' import path; ours is full of short names.
        sys.argv = [str(Path(job.folder) / "engine")]
        _serve(job, lines, stop, orders)
    except Exception as error:  # noqa: BLE001 - the process's edge: the supervisor tells the user
        lines.say({"type": "error", "error": failure_of(error).to_json()})
    else:
        lines.say({"type": "over"})
        return 0
    return 1


def _serve(job: EngineJob, lines: _Lines, stop: threading.Event, orders: SimpleQueue[dict[str, Any]]) -> None:
    clock = SystemClock()
    laps = Laps(clock, job.asked_ns)
    with ThreadPoolExecutor(1) as side:
        planned = {session: side.submit(_plan, session) for session in job.sessions}  # while Ray starts, which is mostly waiting
        laps.lap("python")
        configs = [json.loads(session.config_json) for session in job.sessions]
        actors = sum(len(config["sources"]) for config in configs) + min(job.fusion_actors, max(1, len(configs)))
        ground = RayGround(job, clock, actors)
        laps.lap("ray")
        try:
            rng = random.Random()  # noqa: S311 - the jitter of pauses
            host = Host(ground, clock, lines.say, rng, lambda session: _planned(planned, session))
            host.serve(job, laps, stop.is_set, lambda: _waiting(orders))
        finally:
            ground.close()


class _Lines:
    """JSON lines; a reader that has gone away ends the engine by SIGPIPE's Python form, BrokenPipeError."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def say(self, message: dict[str, Any]) -> None:
        self._out.write(line(message))
        self._out.flush()


def _listen(stdin: TextIO, stop: threading.Event, orders: SimpleQueue[dict[str, Any]]) -> None:
    for text in stdin:
        if text.strip() == "stop":
            break
        orders.put(json.loads(text))
    stop.set()


def _waiting(orders: SimpleQueue[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    while True:
        try:
            yield orders.get_nowait()
        except Empty:
            return


def _planned(planned: dict[Job, Future[Plan]], job: Job) -> Plan:
    """Of a session that was there from the beginning, or a new one."""
    return planned.pop(job).result() if job in planned else _plan(job)


def _plan(job: Job) -> Plan:
    """Checked by who sent it; decisions keep the digest that the session began with."""
    return replace(build_plan(Config.model_validate_json(job.config_json)), digest=job.digest)


if __name__ == "__main__":
    sys.exit(main())
