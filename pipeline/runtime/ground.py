"""What the sessions of an engine live on: Ray's processes, a private folder and an inbox for each of them."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq

from pipeline.clock import Clock
from pipeline.runtime.bus import Inbox
from pipeline.runtime.crew import Crew, SessionStage
from pipeline.runtime.job import EngineJob, Job
from pipeline.runtime.listeners import refuse_open_ports
from pipeline.runtime.parts import RunPlan
from pipeline.runtime.ray import RayNode
from pipeline.runtime.wires import Wires


class CheckedStage(SessionStage):
    """A stage of this machine's processes."""

    def check(self) -> None:
        """Raises SensoriumError if anything of this process and its descendants can be reached from another machine."""
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
        self._node = RayNode(Path(job.folder) / "ray", actors)
        self._crew = Crew(self._node, clock, job.fusion_actors)
        self._context: zmq.Context[Any] = zmq.Context()
        self._poller = zmq.Poller()
        self._count = 0

    def place(self, job: Job, plan: RunPlan) -> RayPlace:
        folder = Path(self._job.folder) / f"s{self._count}"
        folder.mkdir(mode=0o700)
        self._count += 1
        wires = Wires(folder=str(folder), inputs=tuple(plan.model.spec.inputs), recording=job.recording, view=self._job.view)
        inbox = Inbox(self._context, wires.engine)
        self._poller.register(inbox.socket, zmq.POLLIN)
        return RayPlace(CheckedStage(self._crew, job.session, job.config_json, job.digest, wires), inbox, self, folder)

    def leave(self, place: RayPlace) -> None:
        self._poller.unregister(place.inbox.socket)
        place.inbox.close()
        self._crew.forget(place.stage)
        shutil.rmtree(place.folder, ignore_errors=True)

    def wait(self, timeout_ms: int) -> None:
        """Until somebody has said something, at most so long. Raises StageLost."""
        self._poller.poll(timeout_ms)
        self._crew.collect()

    def refusal(self, job: Job, plan: RunPlan) -> str | None:
        return None

    def figures(self) -> dict[str, Any]:
        self._crew.ask_counts()
        return {"fusion": self._crew.counts()}

    def close(self) -> None:
        self._node.close()
        self._context.destroy(linger=0)
