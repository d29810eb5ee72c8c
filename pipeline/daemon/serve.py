"""The daemon from its start to its end: supervisor, engine, API, and the desk between them."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from operators.errors import SensoriumError
from pipeline import __version__, logs
from pipeline.clock import Clock, SystemClock, wall_ns, wall_utc
from pipeline.config import Config
from pipeline.daemon.api_keeper import ApiKeeper
from pipeline.daemon.catalog import Catalog
from pipeline.daemon.desk import ServiceDesk
from pipeline.daemon.watchdog import Watchdog
from pipeline.runtime.engine_keeper import EngineKeeper
from pipeline.runtime.job import EngineJob
from pipeline.runtime.requests import post
from pipeline.runtime.rundir import RunDir, runs
from pipeline.runtime.supervisor import LASTING_ENGINE, Supervisor
from pipeline.runtime.wishes import wishes_to_stop
from pipeline.service import Service
from pipeline.traces import Traces

NAME = "daemon"
API_FILE = "api.json"
PATIENCE_NS = 15_000_000_000


class RunsAlready(SensoriumError):
    """There is one daemon a user."""

    exit_code = 2


def serve(service: Service, first: Config | None = None, base: Path | None = None) -> int:
    """Runs the daemon in this process until it is asked to end; gives the exit code. first: a session to begin with.

    Raises RunsAlready, SettingsRefused.
    """
    if any(run.daemon for run in runs(base)):
        raise RunsAlready("the daemon runs already; `sensorium status` says where")
    clock = SystemClock()
    run_dir = RunDir(NAME, clock, base, daemon=True)
    logs.set_up("daemon", service.log, run_dir.path)
    try:
        return _serve(service, run_dir, clock, first)
    finally:
        run_dir.close()


def _serve(service: Service, run_dir: RunDir, clock: Clock, first: Config | None) -> int:
    rng = random.Random()  # noqa: S311 - the jitter of pauses
    view = f"ipc://{run_dir.scratch}/view"
    api = ApiKeeper(
        _hello(service, run_dir, view, clock), run_dir.scratch / "api", run_dir.path / "api.log", clock, rng, lambda: desk.again()
    )
    traces = Traces(service.traces, clock, wall_ns) if service.traces else None
    desk = ServiceDesk(Catalog(service), run_dir.path, service.recordings_folder, api, clock, traces)
    api.start()
    _await_api(api, run_dir, clock)
    if first is not None:
        post(run_dir.path, {"start": {"config": first.model_dump(mode="json")}})
    with wishes_to_stop() as wishes, ExitStack() as stack:
        if traces is not None:
            stack.callback(traces.close)
        engine = EngineKeeper(run_dir, clock, rng, LASTING_ENGINE)
        watched = Watched(desk, api, run_dir, Watchdog.from_environment(os.environ, clock))
        return Supervisor(engine, watched, clock, wishes, _settings(service, view), lasting=True).run()


def _hello(service: Service, run_dir: RunDir, view: str, clock: Clock) -> dict[str, Any]:
    values = service.model_dump(mode="json") | {"recordings": str(service.recordings_folder)}
    about = {"run_dir": str(run_dir.path), "view": view, "utc": wall_utc(), "monotonic_ns": clock.now_ns(), "version": __version__}
    return {"service": values, **about}


def _settings(service: Service, view: str) -> EngineJob:
    return EngineJob(
        folder="",
        asked_ns=0,
        view=view,
        address=service.ray.address,
        fusion_actors=service.ray.fusion_actors,
        cores=service.admission.cores or float(psutil.cpu_count() or 1),
        share=service.admission.share,
    )


def _await_api(api: ApiKeeper, run_dir: RunDir, clock: Clock) -> None:
    """Settings that no API can be had with end the daemon at once. Raises SensoriumError."""
    until_ns = clock.now_ns() + PATIENCE_NS
    while not api.address and clock.now_ns() < until_ns:
        for _ in api.asked():
            pass  # nobody can ask before it listens
        if api.wrong:
            api.close()
            raise SettingsRefused(api.wrong.removeprefix("sensorium: "))
        clock.sleep_until(clock.now_ns() + 20_000_000)
    if not api.address:
        api.close()
        raise SensoriumError(f"the API did not start within {PATIENCE_NS // 1_000_000_000} s; its log: {run_dir.path / 'api.log'}")
    print(f"sensorium: the daemon listens on {api.address}", file=sys.stderr, flush=True)


class SettingsRefused(SensoriumError):
    """What the service's settings ask for cannot be, or may not."""

    exit_code = 2


class Watched:
    """The desk, with the system told that we live, and the run directory where the API listens."""

    def __init__(self, desk: ServiceDesk, api: ApiKeeper, run_dir: RunDir, watchdog: Watchdog) -> None:
        self._desk, self._api, self._run_dir, self._watchdog = desk, api, run_dir, watchdog
        self._told: Mapping[str, Any] = {}
        self.answered, self.over = desk.answered, desk.over

    def turn(self, supervisor: Supervisor) -> None:
        self._desk.turn(supervisor)
        told = {"address": self._api.address, "certificate": self._api.certificate, "pid": os.getpid()}
        if told != self._told:
            self._told = told
            self._run_dir.tell(API_FILE, told)
        self._watchdog.beat(ready=supervisor.engine.child.state == "running")

    def close(self) -> None:
        self._watchdog.stopping()
        self._desk.close()
