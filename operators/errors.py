"""Every error that Sensorium raises on purpose.

SensoriumError
  ConfigError(file, key, problem, hint)   a config that cannot work; exit 2
  ContractError                           a value breaks a documented shape, unit or range
  SourceError(stream)                     a source cannot go on; exit 3
    DeviceNotFound                        nothing there under that name or path
    DeviceLost                            it was there and went away
    DecodeError                           its bytes are not the media they claim to be
  SessionError(session)                   a recorded session cannot be used; exit 5
    NotASession                           the folder holds none
    Truncated                             what was asked for was never written, or is damaged
    UnsupportedVersion                    it was written by a newer Sensorium
  BackendError                            a model or an engine cannot be used; exit 4
    BackendUnavailable                    the engine's library is not installed or has no device
    EngineMismatch                        the model's files disagree with each other or with the plan

Data faults are values with counters (`operators.packet.Dropped`, `Late`), never exceptions.
Supervision decides on types, never on message text.
"""

from __future__ import annotations


class SensoriumError(Exception):
    """Base of all; its text is one line for a person: what was got, what was expected, what to do."""

    exit_code = 1


class ConfigError(SensoriumError):
    """A config that cannot work; names the file, the key, the problem and what to do."""

    exit_code = 2

    def __init__(self, file: str, key: str, problem: str, hint: str) -> None:
        self.file, self.key, self.problem, self.hint = file, key, problem, hint
        place = f"{file}: {key}" if key else file
        super().__init__(f"{place}: {problem}; {hint}")

    def __reduce__(self) -> tuple[type[ConfigError], tuple[str, str, str, str]]:
        return type(self), (self.file, self.key, self.problem, self.hint)


class ContractError(SensoriumError):
    """A value breaks a documented shape, unit or range: a mistake in code, not in data."""


class SourceError(SensoriumError):
    """A source cannot go on."""

    exit_code = 3

    def __init__(self, stream: str, problem: str) -> None:
        self.stream, self.problem = stream, problem
        super().__init__(f"{stream}: {problem}")

    def __reduce__(self) -> tuple[type[SourceError], tuple[str, str]]:
        return type(self), (self.stream, self.problem)


class DeviceNotFound(SourceError):
    """Nothing is there under that name or path."""


class DeviceLost(SourceError):
    """The device or file was there and went away."""


class DecodeError(SourceError):
    """The bytes are not the media they claim to be."""


class SessionError(SensoriumError):
    """A recorded session cannot be used."""

    exit_code = 5

    def __init__(self, session: str, problem: str) -> None:
        self.session, self.problem = session, problem
        super().__init__(f"{session}: {problem}")

    def __reduce__(self) -> tuple[type[SessionError], tuple[str, str]]:
        return type(self), (self.session, self.problem)


class NotASession(SessionError):
    """The folder holds no recorded session."""


class Truncated(SessionError):
    """What was asked for was never written, or is damaged."""


class UnsupportedVersion(SessionError):
    """A newer Sensorium wrote it."""


class BackendError(SensoriumError):
    """A model or an engine cannot be used."""

    exit_code = 4


class BackendUnavailable(BackendError):
    """The engine's library is not installed, or it has no device to run on."""


class EngineMismatch(BackendError):
    """The model's files disagree with each other or with the plan."""
