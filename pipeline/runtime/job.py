"""What a supervisor tells an engine to do: lines of JSON on its stdin, the first an `EngineJob`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.session.layout import Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One session.

    digest             of the plan that was checked; a plan built again from config_json carries it
    epoch_ns, decided  of an earlier engine of the same session; None and -1: it begins
    recording          where to record; None: nowhere
    """

    session: str
    config_json: str
    digest: str
    epoch_ns: int | None = None
    decided: int = -1
    recording: Recording | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineJob:
    """One engine process.

    folder         for sockets and Ray's files, private, of this engine only
    asked_ns       when it was asked for, on the clock that all processes read
    view           where a page that watches listens; empty: there is none
    address        of Ray: local, auto or HOST:PORT. fusion_actors: at most so many processes run models
    cores, share   what may be in use before a session is refused; None: any number of sessions is taken on
    sessions       what runs from the beginning
    """

    folder: str
    asked_ns: int
    view: str = ""
    address: str = "local"
    fusion_actors: int = 1
    cores: float | None = None
    share: float = 1.0
    sessions: tuple[Job, ...] = ()


def line(values: Mapping[str, Any]) -> str:
    return json.dumps(values, separators=(",", ":")) + "\n"


def engine_job_line(job: EngineJob) -> str:
    return line(asdict(job))


def engine_job_of(text: str) -> EngineJob:
    """What `engine_job_line` wrote."""
    values = json.loads(text)
    return EngineJob(**{**values, "sessions": tuple(job_of(session) for session in values["sessions"])})


def job_of(values: Mapping[str, Any]) -> Job:
    """What asdict made of one."""
    recording = values["recording"]
    return Job(**{**values, "recording": None if recording is None else Recording(**recording)})
