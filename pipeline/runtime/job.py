"""What a supervisor tells an engine to do: one line of JSON on its stdin."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from pipeline.session.layout import Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a supervisor wants done.

    digest             of the plan that was checked; a plan built again from config_json carries it
    folder             for sockets and Ray's files, private, of this engine only
    asked_ns           when it was asked for, on the clock that all processes read
    epoch_ns, decided  of an earlier engine of the same session; None and -1: it begins
    recording          where to record; None: nowhere
    """

    config_json: str
    digest: str
    folder: str
    asked_ns: int
    epoch_ns: int | None = None
    decided: int = -1
    recording: Recording | None = None


def job_line(job: Job) -> str:
    return json.dumps(asdict(job), separators=(",", ":")) + "\n"


def job_of(line: str) -> Job:
    """What `job_line` wrote."""
    values = json.loads(line)
    recording = values["recording"]
    return Job(**{**values, "recording": None if recording is None else Recording(**recording)})
