"""What the sessions of an engine live on: Ray's processes, a private folder and an inbox for each of them."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import zmq

from operators.errors import DeviceNotFound
from pipeline.clock import Clock
from pipeline.runtime.bus import Inbox
from pipeline.runtime.crew import Crew, SessionStage
from pipeline.runtime.job import EngineJob, Job
from pipeline.runtime.keys import Doorman, Keys, new_keys
from pipeline.runtime.listeners import refuse_open_ports
from pipeline.runtime.load import Load
from pipeline.runtime.parts import RunPlan
from pipeline.runtime.ray import RayNode
from pipeline.runtime.wires import Wires


class CheckedStage(SessionStage):
    """alone: this machine is no node of a cluster, whose nodes listen for each other by design (behind the cluster's token)."""

    alone = True

    def check(self) -> None:
        """Raises SensoriumError if anything of this process and its descendants can be reached from another machine."""
        if self.alone:
            refuse_open_ports(os.getpid())


@dataclass(slots=True)
class RayPlace:
    """One session's."""

    stage: CheckedStage
    inbox: Inbox
    ground: RayGround
    folder: Path

    def close(self) -> None:
        self.ground.leave(self)


class RayGround:
    """A Ray runtime and the crew on it."""

    def __init__(self, job: EngineJob, clock: Clock, actors: int) -> None:
        self._job, self._clock = job, clock
        self._node = RayNode(Path(job.folder) / "ray", actors, job.address)
        self._crew = Crew(self._node, clock, job.fusion_actors)
        self._context: zmq.Context[Any] = zmq.Context()
        self._poller = zmq.Poller()
        self._load = Load(clock, job.cores or float(psutil.cpu_count() or 1), job.share)
        self._judges = job.cores is not None
        self._doorman: Doorman | None = None
        self._count = 0

    def place(self, job: Job, plan: RunPlan) -> RayPlace:
        folder = Path(self._job.folder) / f"s{self._count}"
        folder.mkdir(mode=0o700)
        self._count += 1
        self._check_nodes(plan)
        wires = Wires(folder=str(folder), inputs=tuple(plan.model.spec.inputs), recording=job.recording, view=self._job.view)
        if host := self._node.host:
            wires = replace(wires, engine_at=f"tcp://{host}:*", keys=self._new_keys())
        inbox = Inbox(self._context, wires.engine, wires.keys)
        wires = replace(wires, engine_at=inbox.address if host else "")
        self._poller.register(inbox.socket, zmq.POLLIN)
        self._load.begin(job.session, plan)
        stage = CheckedStage(self._crew, job.session, job.config_json, job.digest, wires, plan.config.nodes)
        stage.alone = not host
        return RayPlace(stage, inbox, self, folder)

    def _new_keys(self) -> Keys:
        keys = new_keys()
        self._doorman = self._doorman or Doorman(self._context)
        self._doorman.admit(keys)
        return keys

    def _check_nodes(self, plan: RunPlan) -> None:
        """Raises DeviceNotFound before anything waits for a node that is not there."""
        for source, labels in plan.config.nodes.items():
            if self._node.host and not self._node.has(labels):
                wanted = ", ".join(f"{key}={value}" for key, value in labels.items())
                raise DeviceNotFound(source, f"no node of the cluster has the labels {wanted}; `ray start --labels` gives a node its own")

    def leave(self, place: RayPlace) -> None:
        self._poller.unregister(place.inbox.socket)
        place.inbox.close()
        if self._doorman is not None and place.stage.wires.keys is not None:
            self._doorman.forget(place.stage.wires.keys)
        self._crew.forget(place.stage)
        self._load.end(place.stage.session)
        shutil.rmtree(place.folder, ignore_errors=True)

    def wait(self, timeout_ms: int) -> None:
        """Until somebody has said something, at most so long. Raises StageLost."""
        self._poller.poll(timeout_ms)
        self._crew.collect()

    def refusal(self, session: str, plan: RunPlan) -> str | None:
        """Only a daemon refuses: it has sessions to protect."""
        if not self._judges:
            return None
        batch_ns = max((process.get("usual_batch_ns", 0) for process in self._crew.counts()), default=0)
        return self._load.refusal(session, plan, self._crew.neighbours(session), batch_ns)

    def learn(self, session: str, cost_ns: int) -> None:
        self._load.learn(session, cost_ns)

    def figures(self) -> dict[str, Any]:
        """Called about once a second."""
        counts = self._crew.counts()
        self._crew.ask_counts()
        used_ns = {name: seat["used_ns"] for process in counts for name, seat in process.get("seats", {}).items()}
        self._load.measure(self._crew.pids, used_ns)
        return {"fusion": counts, **self._load.figures(self._crew.pids)}

    def close(self) -> None:
        self._node.close()
        if self._doorman is not None:
            self._doorman.close()
        self._context.destroy(linger=0)
