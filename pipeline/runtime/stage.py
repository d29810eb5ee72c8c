"""Where the actors of a session live, as its engine sees it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from operators.errors import SensoriumError
from pipeline.config import Config
from pipeline.runtime.failure import Failure
from pipeline.session.layout import Recording

FUSION = "fusion"
"""The name of the one actor that is no source: a seat in a process that may serve other sessions too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What became of an actor: its open() gave `values`, its run() came to its end, or it failed."""

    name: str
    generation: int
    what: Literal["opened", "ended", "failed"]
    values: dict[str, Any] = field(default_factory=dict)
    failure: Failure | None = None


class StageLost(SensoriumError):
    """What the actors live on is gone, and they with it."""


class Stage(Protocol):
    """Makes, opens, runs and kills the actors of one session; `pipeline.runtime.ray.SessionStage` is one."""

    def make(self, name: str, generation: int) -> None:
        """Starts an actor and opens it."""
        ...

    def run(self, name: str, generation: int, arguments: dict[str, Any]) -> None: ...

    def lose(self, names: list[str]) -> None:
        """Tells the fusion actor that these inputs will not come back."""
        ...

    def change(self, config: Config) -> None:
        """The config of the actors to come; those that live keep theirs."""
        ...

    def vacate(self, names: list[str]) -> None:
        """Tells the fusion actor which inputs nobody feeds just now."""
        ...

    def connect(self, edges: dict[str, str]) -> None:
        """Tells every source's actor where its inputs are received from now on."""
        ...

    def stop(self, name: str) -> None:
        """Asks it to end in order: its end will be a message."""
        ...

    def record(self, recording: Recording | None) -> None:
        """All actors record there from now on, or no longer."""
        ...

    def kill(self, name: str) -> None:
        """At once, whatever it is doing."""
        ...

    def check(self) -> None:
        """Raises SensoriumError if anything here can be reached from another machine."""
        ...

    def messages(self) -> Iterator[Message]:
        """What has become of the actors since the last call; does not wait. Raises StageLost."""
        ...
