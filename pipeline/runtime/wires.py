"""Where the processes of one session find each other: sockets in one private folder, or on a cluster ports with keys."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from operators.errors import ContractError
from pipeline.clock import Clock
from pipeline.runtime.keys import Keys, own_address
from pipeline.session.layout import Recording

if TYPE_CHECKING:
    from pipeline.session.recorder import Recorder

MAX_PATH = 100
"""A Unix socket's path has room for 107 bytes; the rest is for the names below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wires:
    """folder: 0700, of this run only. inputs: the model's inputs in its order; an edge's place in it is its number on the wire.

    recording: where every process records its part; None: nobody does. view: where who watches listens; empty: nobody will.
    engine_at, keys: on a cluster, tcp://HOST:PORT of the engine, and what such connections are encrypted with
    """

    folder: str
    inputs: tuple[str, ...]
    recording: Recording | None = None
    view: str = ""
    engine_at: str = ""
    keys: Keys | None = None

    def __post_init__(self) -> None:
        if len(self.folder.encode()) > MAX_PATH - len("/edge-000"):
            raise ContractError(f"a folder for sockets wants a path of at most {MAX_PATH} bytes, got {self.folder}")

    def edge(self, name: str) -> str:
        """Where an input's receiver listens; on a cluster at any port, see `EdgeReceiver.address`."""
        if self.engine_at:
            return f"tcp://{own_address(urlsplit(self.engine_at).hostname or '')}:*"
        return f"ipc://{self.folder}/edge-{self.inputs.index(name)}"

    @property
    def engine(self) -> str:
        """Where the engine listens."""
        return self.engine_at or f"ipc://{self.folder}/engine"

    def recorder(self, life: int, clock: Clock, *, paced: bool) -> Recorder | None:
        """For what one process records; None: nothing is. life: counts the starts of that process."""
        if self.recording is None:
            return None
        from pipeline.session.recorder import Recorder

        return Recorder(self.recording, life, clock, paced=paced)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Wires:
        recording = values["recording"]
        keys = None if values["keys"] is None else Keys(**values["keys"])
        kept = None if recording is None else Recording(**recording)
        return cls(**{**values, "inputs": tuple(values["inputs"]), "recording": kept, "keys": keys})
