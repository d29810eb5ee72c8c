"""What can be asked of a run of one session: by files in its run directory, see `pipeline.runtime.requests`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from operators.errors import SensoriumError
from pipeline.mask import mask
from pipeline.plan import Plan
from pipeline.runtime.changes import changed
from pipeline.runtime.keeper import Keeper
from pipeline.runtime.requests import Refused, answer, asked

if TYPE_CHECKING:
    from pipeline.runtime.supervisor import Supervisor


class RunDesk:
    """Attach and detach. folder: the run directory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def turn(self, supervisor: Supervisor) -> None:
        for path, request in asked(self._folder):
            try:
                for keeper in supervisor.sessions.values():
                    answer(path, done=change(supervisor, keeper, request))
            except SensoriumError as error:
                answer(path, refused=mask(str(error)))

    def answered(self, session: str, why: str | None) -> None:
        """Nobody asked."""

    def over(self, keeper: Keeper) -> None:
        """Its sinks know."""

    def close(self) -> None:
        """There is nothing to close."""


def change(supervisor: Supervisor, keeper: Keeper, request: Mapping[str, Any]) -> str:
    """Attaches or detaches sources of a session; gives a line for who asked. Raises Refused, ConfigError, SourceError."""
    if not supervisor.engine.there or not keeper.begun or not isinstance(keeper.plan, Plan):
        raise Refused("the session is not running just now; try again")
    plan, done = changed(keeper.plan, request, recorded=keeper.recording is not None)
    supervisor.change(keeper, plan)
    return done
