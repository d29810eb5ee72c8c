"""Ray: starts processes, sees them die, starts them again. The only `import ray`; it carries no packet.

Hardened, for a runtime that serves one user on one machine: an own token (0600) that every connection must show, no
dashboard, loopback only, no usage statistics, a private folder, a small object store. Must be set before `import ray`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from operators.errors import ConfigError
from pipeline.runtime.actors import Fusion, Ingest
from pipeline.runtime.failure import death
from pipeline.runtime.stage import StageLost

OBJECT_STORE_BYTES = 80 << 20
"""Ray's smallest is 75 MiB; we put nothing into it."""
SPARE_WORKERS = 1
"""One idle process waits for the day that an actor dies: it saves a second of every recovery."""
PRELOADED = ("pipeline.runtime.actors", "av", "cv2", "onnxruntime")
"""What nearly every actor needs is imported by a process before it is given one; what cannot be imported is missed where it is used."""
KNOCK_S = 5.0
CALLS = 64
"""So many methods of a shared process at a time: one waits for ends, seats wait for each other to open, and what is short must not wait for
them: a process that does not answer is taken to hang."""


LOCAL = "local"


class RayNode:
    """A Ray runtime of our own on this machine, or a cluster that others keep.

    folder: private, for the former. actors: so many processes are started at once there; more can follow. address: `local`, else as
    ray.init takes it.
    """

    def __init__(self, folder: Path, actors: int, address: str = LOCAL) -> None:
        self._room = actors
        self._actors: list[Any] = []
        self._cluster = address != LOCAL
        if self._cluster:
            os.environ.setdefault("RAY_AUTH_MODE", "token")  # the cluster's own, where Ray looks for it
        else:
            _harden(folder)
        import ray

        self._ray: Any = ray
        self._needed: dict[int, str] = {}
        if self._cluster:
            self._join(address)
        else:
            self._begin(folder, actors)
        # A source: one thread each for run, for open, and for what it is told.
        self._ingest, self._fusion = self._kind(Ingest, 3), self._kind(Fusion, CALLS)

    @property
    def host(self) -> str:
        """The address of this machine in the cluster; empty: there is none."""
        return str(self._ray.util.get_node_ip_address()) if self._cluster else ""

    def _join(self, address: str) -> None:
        try:
            _knock(address)
            self._ray.init(address=address, namespace="sensorium", log_to_driver=False, logging_level=logging.CRITICAL)
        except (OSError, ValueError, RuntimeError, self._ray.exceptions.RayError) as error:
            problem = " ".join(str(error).split())[:200]
            raise ConfigError(
                "ray.address", "", f"no Ray cluster answers at {address} ({problem})", "start one: ray start --head"
            ) from None

    def _begin(self, folder: Path, actors: int) -> None:
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

    def _kind(self, kind: type, calls: int) -> Any:  # noqa: ANN401 - Ray's class of actors
        return self._ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0, max_concurrency=calls)(kind)

    def ingest(self, *arguments: object, labels: Mapping[str, str]) -> Any:  # noqa: ANN401 - Ray's handle of an actor
        """A new process for a source; on a cluster on a node with these labels."""
        place = {"label_selector": dict(labels)} if self._cluster and labels else {}
        return self._made(self._ingest, place, *arguments)

    def fusion(self) -> Any:  # noqa: ANN401 - as above
        """A new process for models; on a cluster where a GPU is free, if one is."""
        free = self._cluster and self._ray.available_resources().get("GPU", 0) >= 1
        return self._made(self._fusion, {"num_gpus": 1} if free else {})

    def has(self, labels: Mapping[str, str]) -> bool:
        """Whether a node of the cluster that lives has these labels."""
        alive = [node.get("Labels", {}) for node in self._ray.nodes() if node.get("Alive")]
        return any(all(own.get(key) == value for key, value in labels.items()) for own in alive)

    def _made(self, kind: Any, place: dict[str, Any], *arguments: object) -> Any:  # noqa: ANN401 - as above
        # Ray has room for the actors it was started for; those that come later, and those of a cluster, are not counted: we count cores.
        counted = not self._cluster and len(self._actors) < self._room
        room = {} if counted else {"num_cpus": 0, **({"scheduling_strategy": "SPREAD"} if self._cluster and not place else {})}
        actor = kind.options(**room, **place).remote(*arguments)
        self._actors.append(actor)
        return actor

    def call(self, actor: Any, method: str, *arguments: object) -> Any:  # noqa: ANN401 - as above
        """Asks for a method of it; `ready` has the answer."""
        return getattr(actor, method).remote(*arguments)

    def kill(self, actor: Any) -> None:  # noqa: ANN401 - as above
        """At once, whatever it is doing."""
        if actor in self._actors:
            self._actors.remove(actor)
        self._ray.kill(actor, no_restart=True)

    def ready(self, refs: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """What has been answered; does not wait. Raises StageLost."""
        for pid, name in self._needed.items():
            if not _lives(pid):
                raise StageLost(f"Ray's {name} died")
        if not refs:
            return
        found, _ = self._ray.wait(list(refs), num_returns=len(refs), timeout=0)
        for ref in found:
            try:
                yield ref, self._ray.get(ref)
            except self._ray.exceptions.RayError as error:
                # Ray has long texts about a dead actor; which one it was, the crew knows.
                yield ref, death(type(error).__name__)

    def close(self) -> None:
        """Ends every process and the runtime."""
        if not all(_lives(pid) for pid in self._needed):
            return  # whoever would be asked waits for one that is gone
        for actor in list(self._actors):
            self.kill(actor)
        self._ray.shutdown()


NEEDED = ("gcs_server", "raylet")
"""Without them Ray ends by itself, but only after a minute in which nothing that dies is started again."""


def _knock(address: str) -> None:
    """Ray itself tries for a minute. Raises OSError."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=KNOCK_S).close()


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
        # Ray's workers are of low priority (15), as for batch work; ours have deadlines.
        "RAY_worker_niceness": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "OMP_NUM_THREADS": "1",
    }
    os.environ.pop("RAY_ADDRESS", None)
    os.environ.pop("RAY_AUTH_TOKEN", None)
