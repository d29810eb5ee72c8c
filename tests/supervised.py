"""`python supervised.py VALUES.json OUT.jsonl BASE`: runs these values of a config under the supervisor and writes down what its sinks are told."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from operators.decision import Decision
from pipeline.commands.run import recorded
from pipeline.config import validate
from pipeline.plan import build_plan
from pipeline.ports import Status
from pipeline.runtime.supervisor import run_supervised


class Log:
    def __init__(self, path: str) -> None:
        self._out = Path(path).open("w")  # noqa: SIM115 - lives as long as the process

    def _say(self, what: str, values: dict[str, Any]) -> None:
        self._out.write(json.dumps({what: values, "at_ns": time.monotonic_ns()}) + "\n")
        self._out.flush()

    def decision(self, decision: Decision) -> None:
        self._say("decision", decision.to_json())

    def status(self, status: Status) -> None:
        self._say("status", asdict(status))

    def close(self) -> None:
        self._out.close()


if __name__ == "__main__":
    plan = build_plan(validate(json.loads(Path(sys.argv[1]).read_text()), {}, origin=str(Path("story.yaml").absolute())))
    sinks, base = [Log(sys.argv[2])], Path(sys.argv[3])
    if plan.config.record is None:
        sys.exit(run_supervised(plan, sinks, base=base))
    with recorded(plan, sinks) as (recording, keeping):
        sys.exit(run_supervised(plan, keeping, base=base, recording=recording))
