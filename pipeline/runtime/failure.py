"""What went wrong in another process, as plain values, and whether it is worth another try: judged by type, where the type is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from operators.errors import BackendError, ConfigError, ContractError, SensoriumError

MISTAKES = (ConfigError, ContractError, BackendError)
"""They would happen again: a run ends with them at once. Anything else (a lost device, a crash) is tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """kind: a mistake (see MISTAKES), any other error that was raised, or the death of a process. text: one line for a person."""

    kind: Literal["mistake", "error", "death"]
    type: str
    text: str
    exit_code: int = 1

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Failure:
        return cls(**values)


def failure_of(error: BaseException) -> Failure:
    """An exception's. exit_code 1 where it is not one of ours."""
    code = error.exit_code if isinstance(error, SensoriumError) else 1
    kind: Literal["mistake", "error"] = "mistake" if isinstance(error, MISTAKES) else "error"
    return Failure(kind=kind, type=type(error).__name__, text=str(error) or type(error).__name__, exit_code=code)


def death(type_name: str) -> Failure:
    """Of a process that had no time to say why; type_name: what its owner was told."""
    return Failure(kind="death", type=type_name, text=f"its process died ({type_name})")


class CannotGoOn(SensoriumError):
    """The run has failed, with the failure of the process that it failed in."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.text)
