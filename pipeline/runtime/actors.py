"""What runs in Ray's processes. Errors go out as plain values: nothing of ours is pickled."""

from __future__ import annotations

import os
import platform
import threading
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

from operators.errors import ContractError
from pipeline.clock import SystemClock
from pipeline.config import Config
from pipeline.plan import Plan, build_plan
from pipeline.runtime.failure import failure_of
from pipeline.runtime.fusion_host import FusionHost
from pipeline.runtime.ingest import IngestLoop
from pipeline.runtime.wires import Wires
from pipeline.session.layout import Recording

SOURCE_NICE = 5
"""Where the cores do not suffice, sources yield to the models: three shares of CPU to one. A decision by its deadline with a stream
missing is worth more than all streams and no decision; among equals, many sources leave the one process that decides for all too little."""


class Ingest:
    """One source of one session. The name is what the process shows in `ps`."""

    def __init__(self, config_json: str, digest: str, name: str, wires: dict[str, Any], generation: int) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.nice(SOURCE_NICE)
        self._stop = threading.Event()
        self._what = (config_json, digest, name, wires, generation)
        self._loop: IngestLoop | None = None

    def open(self) -> dict[str, Any]:
        config_json, digest, name, wires, generation = self._what
        try:
            plan = _plan(config_json, digest)
            self._loop = IngestLoop(plan, name, Wires.from_json(wires), generation, SystemClock(), self._stop.is_set)
            return {**self._loop.open(), "pid": os.getpid(), "machine": platform.node()}
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

    def record(self, recording: dict[str, Any] | None) -> dict[str, Any]:
        """Record there from now on; None: no longer."""
        if self._loop is not None:
            self._loop.record(None if recording is None else Recording(**recording))
        return {}

    def connect(self, edges: dict[str, str]) -> dict[str, Any]:
        """Where its inputs are received from now on."""
        if self._loop is not None:
            self._loop.connect(edges)
        return {}

    def stop(self) -> dict[str, Any]:
        self._stop.set()
        return {}


class Fusion:
    """The models of many sessions: a seat for each. The name is what the process shows in `ps`."""

    def __init__(self) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        self._stop = threading.Event()
        self._host = FusionHost(SystemClock(), self._stop.is_set)
        self._ends: SimpleQueue[tuple[str, int, dict[str, Any]]] = SimpleQueue()

    def open(self, seat: str, config_json: str, digest: str, wires: dict[str, Any], generation: int) -> dict[str, Any]:
        try:
            opened = self._host.open(seat, _plan(config_json, digest), Wires.from_json(wires), generation)
            return {**opened, "pid": os.getpid(), "machine": platform.node()}
        except Exception as error:  # noqa: BLE001 - the process's edge
            return {"error": failure_of(error).to_json()}

    def run(self, seat: str, number: int, arguments: dict[str, Any]) -> dict[str, Any]:
        """Returns at once; `ends` tells how it came out, with this number. A thread of Ray's for every seat would be too many."""
        threading.Thread(target=self._run, args=(seat, number, arguments), daemon=True).start()
        return {}

    def ends(self) -> list[tuple[str, int, dict[str, Any]]]:
        """(seat, number, what its run gave), when there is at least one."""
        found = [self._ends.get()]
        while not self._ends.empty():
            found.append(self._ends.get())
        return found

    def lose(self, seat: str, names: list[str]) -> dict[str, Any]:
        """These inputs of the seat will not come back."""
        self._host.lose(seat, names)
        return {}

    def vacate(self, seat: str, names: list[str]) -> dict[str, Any]:
        """Which of its inputs nobody feeds just now."""
        self._host.vacate(seat, names)
        return {}

    def record(self, seat: str, recording: dict[str, Any] | None) -> dict[str, Any]:
        """Its events, from now on; None: no longer."""
        self._host.record(seat, None if recording is None else Recording(**recording))
        return {}

    def end(self, seat: str) -> dict[str, Any]:
        """In order; returns when it has ended, so that a host that hangs is known by it."""
        self._host.end(seat).wait()
        return {}

    def counts(self) -> dict[str, Any]:
        return self._host.counts()

    def _run(self, seat: str, number: int, arguments: dict[str, Any]) -> None:
        try:
            self._host.run(seat, **arguments)
            self._ends.put((seat, number, {}))
        except Exception as error:  # noqa: BLE001 - the process's edge
            self._ends.put((seat, number, {"error": failure_of(error).to_json()}))


def _plan(config_json: str, digest: str) -> Plan:
    # The digest is what decisions are named after: that of the plan which the user's process checked, in every process.
    return replace(build_plan(Config.model_validate_json(config_json)), digest=digest)
