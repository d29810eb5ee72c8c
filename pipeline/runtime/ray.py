"""Ray: starts the processes of a run, sees them die, starts them again. The only `import ray`; it carries no packet.

Hardened, for a runtime that serves one run on one machine: an own token (0600) that every connection must show, no
dashboard, loopback only, no usage statistics, a private folder, a small object store. Must be set before `import ray`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import psutil

from operators.errors import ContractError
from pipeline.clock import SystemClock
from pipeline.config import Config
from pipeline.plan import Plan, build_plan
from pipeline.runtime.failure import Failure, death, failure_of
from pipeline.runtime.fusion_host import FusionHost
from pipeline.runtime.ingest import IngestLoop
from pipeline.runtime.listeners import refuse_open_ports
from pipeline.runtime.parts import session_of
from pipeline.runtime.stage import FUSION, Message, StageLost
from pipeline.runtime.wires import Wires

OBJECT_STORE_BYTES = 80 << 20
"""Ray's smallest is 75 MiB; we put nothing into it."""
SPARE_WORKERS = 1
"""One idle process waits for the day that an actor dies: it saves a second of every recovery."""
PRELOADED = ("pipeline.runtime.ray", "av", "cv2", "onnxruntime")
"""What nearly every actor needs is imported by a process before it is given one; what cannot be imported is missed where it is used."""


class Process:
    """One loop in a process of Ray's. Errors go out as plain values: nothing of ours is pickled."""

    def __init__(self, config_json: str, digest: str, name: str, wires: dict[str, Any], generation: int) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        self._stop = threading.Event()
        self._what = (config_json, digest, name, Wires.from_json(wires), generation)
        self._loop: IngestLoop | _OneSeat | None = None

    def open(self) -> dict[str, Any]:
        try:
            self._loop = _make_loop(*self._what, self._stop.is_set)
            return self._loop.open()
        except Exception as error:  # noqa: BLE001 - the process's edge: the engine is told its kind
            return {"error": failure_of(error).to_json()}

    def run(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if self._loop is None:
            return {"error": failure_of(ContractError("run before open")).to_json()}
        try:
            self._loop.run(**arguments)
        except Exception as error:  # noqa: BLE001 - as above
            return {"error": failure_of(error).to_json()}
        finally:
            self._loop.close()
        return {}

    def lose(self, names: list[str]) -> dict[str, Any]:
        if isinstance(self._loop, _OneSeat):
            self._loop.lose(names)
        return {}

    def vacate(self, names: list[str]) -> dict[str, Any]:
        if isinstance(self._loop, _OneSeat):
            self._loop.vacate(names)
        return {}

    def stop(self) -> dict[str, Any]:
        self._stop.set()
        return {}


class _OneSeat:
    """A fusion process with one session."""

    def __init__(self, plan: Plan, wires: Wires, generation: int, stop: Callable[[], bool]) -> None:
        self._what = (session_of(plan), plan, wires, generation)
        self._host = FusionHost(SystemClock(), stop)

    def open(self) -> dict[str, Any]:
        return self._host.open(*self._what)

    def run(self, **arguments: Any) -> None:  # noqa: ANN401 - plain values from the engine
        self._host.run(self._what[0], **arguments)

    def lose(self, names: list[str]) -> None:
        self._host.lose(self._what[0], names)

    def vacate(self, names: list[str]) -> None:
        self._host.vacate(self._what[0], names)

    def close(self) -> None:
        self._host.close()


class Ingest(Process):
    """The name that the process shows in `ps`."""


class Fusion(Process):
    """The name that the process shows in `ps`."""


def _make_loop(config_json: str, digest: str, name: str, wires: Wires, generation: int, stop: Callable[[], bool]) -> IngestLoop | _OneSeat:
    # The digest is what decisions are named after: that of the plan which the user's process checked, in every process.
    plan = replace(build_plan(Config.model_validate_json(config_json)), digest=digest)
    if name == FUSION:
        return _OneSeat(plan, wires, generation, stop)
    return IngestLoop(plan, name, wires, generation, SystemClock(), stop)


class RayStage:
    """A Ray runtime of our own and the actors on it."""

    def __init__(self, config_json: str, digest: str, folder: Path, actors: int) -> None:
        self._config_json, self._digest, self._room = config_json, digest, actors
        self.wires: Wires | None = None
        self._actors: dict[str, Any] = {}
        self._pending: dict[Any, tuple[str, int, Literal["opened", "ended", "told"]]] = {}
        _harden(folder)
        import ray

        self._ray: Any = ray
        trimming = threading.Event()
        trimmer = threading.Thread(target=_trim, args=(trimming,), daemon=True)
        trimmer.start()
        self._ray.init(
            address="local",
            num_cpus=actors + SPARE_WORKERS,
            num_gpus=0,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            _temp_dir=str(folder),
            _node_ip_address="127.0.0.1",
        )
        trimming.set()
        trimmer.join()
        self._needed = {child.pid: child.name() for child in psutil.Process().children() if child.name() in NEEDED}
        # One thread each for run, for open or lose, and for stop.
        remote = self._ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0, max_concurrency=3)
        self._classes = {True: remote(Fusion), False: remote(Ingest)}

    def make(self, name: str, generation: int) -> None:
        """Starts an actor and opens it."""
        if self.wires is None:
            raise ContractError("actors want to know the wires of their run")
        # Ray has room for the actors of the config; one that is attached is not counted.
        room = {} if len(self._actors) < self._room else {"num_cpus": 0}
        kind = self._classes[name == FUSION].options(**room)
        actor = kind.remote(self._config_json, self._digest, name, self.wires.to_json(), generation)
        self._actors[name] = actor
        self._pending[actor.open.remote()] = (name, generation, "opened")

    def run(self, name: str, generation: int, arguments: dict[str, Any]) -> None:
        self._pending[self._actors[name].run.remote(arguments)] = (name, generation, "ended")

    def lose(self, names: list[str]) -> None:
        """Tells the fusion actor that these inputs will not come back."""
        if FUSION in self._actors:
            self._pending[self._actors[FUSION].lose.remote(names)] = (FUSION, -1, "told")

    def change(self, config_json: str) -> None:
        """The config of the actors to come; those that live keep theirs."""
        self._config_json = config_json

    def vacate(self, names: list[str]) -> None:
        """Tells the fusion actor which inputs nobody feeds just now."""
        if FUSION in self._actors:
            self._pending[self._actors[FUSION].vacate.remote(names)] = (FUSION, -1, "told")

    def kill(self, name: str) -> None:
        """At once, whatever it is doing."""
        actor = self._actors.pop(name, None)
        if actor is not None:
            self._ray.kill(actor, no_restart=True)
        self._pending = {ref: about for ref, about in self._pending.items() if about[0] != name}

    def check(self) -> None:
        """Raises SensoriumError if anything of this process and its descendants can be reached from another machine."""
        refuse_open_ports(os.getpid())

    def messages(self) -> Iterator[Message]:
        """What has become of the actors since the last call; does not wait. Raises StageLost."""
        for pid, name in self._needed.items():
            if not _lives(pid):
                raise StageLost(f"Ray's {name} died")
        if not self._pending:
            return
        ready, _ = self._ray.wait(list(self._pending), num_returns=len(self._pending), timeout=0)
        for ref in ready:
            about = self._pending.pop(ref, None)
            if about is not None:
                yield from self._message(ref, *about)

    def close(self, patience_s: float) -> None:
        """Asks all to stop, waits so long for those that run, ends the runtime."""
        if not all(_lives(pid) for pid in self._needed):
            return  # whoever would be asked waits for one that is gone
        told = [actor.stop.remote() for actor in self._actors.values()]
        running = [ref for ref, about in self._pending.items() if about[2] == "ended"]
        if told:
            self._ray.wait([*told, *running], num_returns=len(told) + len(running), timeout=patience_s)
        for name in list(self._actors):
            self.kill(name)
        self._ray.shutdown()

    def _message(self, ref: Any, name: str, generation: int, what: Literal["opened", "ended", "told"]) -> Iterator[Message]:  # noqa: ANN401
        try:
            values = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            # Ray has long texts about a dead actor; which one it was, the name says.
            yield Message(name=name, generation=generation, what="failed", failure=death(type(error).__name__))
            return
        if "error" in values:
            yield Message(name=name, generation=generation, what="failed", failure=Failure.from_json(values["error"]))
        elif what != "told":
            yield Message(name=name, generation=generation, what=what, values=values)


NEEDED = ("gcs_server", "raylet")
"""Without them Ray ends by itself, but only after a minute in which nothing that dies is started again."""


def _lives(pid: int) -> bool:
    """A child of ours; it is only looked at: to collect it is for whoever started it."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


UNNEEDED = ("dashboard/dashboard.py", "_private/monitor.py", "_private/log_monitor.py")
"""Processes that ray.init starts whatever it is told: dashboard, autoscaler, forwarder of logs. On two cores they cost seconds."""
TRIM_S = 0.05


def _trim(done: threading.Event) -> None:
    """Ends them as they come up, until ray.init has returned and all were looked at once more."""
    me = psutil.Process()
    last = False
    while not last:
        last = done.wait(TRIM_S)
        for child in me.children():
            with contextlib.suppress(psutil.Error):
                if any(part.endswith(UNNEEDED) for part in child.cmdline()):
                    child.kill()


def _harden(folder: Path) -> None:
    """Sets the environment that `import ray` and its processes read."""
    token = folder / "token"
    handle = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, secrets.token_hex(32).encode())
    finally:
        os.close(handle)
    os.environ |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Even without a dashboard Ray starts its process and waits seconds for it; nothing of ours needs it.
        "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "0",
        "RAY_preload_python_modules": ",".join(PRELOADED),
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "OMP_NUM_THREADS": "1",
    }
    os.environ.pop("RAY_ADDRESS", None)
    os.environ.pop("RAY_AUTH_TOKEN", None)
