"""One JSON object a line, one line a decision."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EBUSY, EEXIST
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from operators.decision import Decision
from pipeline.ports import Status

FIELDS = ("id", "session", "start_ns", "end_ns", "label", "scores", "presence", "age_ns", "revision", "latency_ns", "window", "model")


def line_of(decision: Decision) -> str:
    """The decision's fields in the order of FIELDS, and `attribution` and `also` where there are any. Times are integer nanoseconds."""
    values = decision.to_json()
    chosen = {name: values[name] for name in FIELDS}
    chosen |= {name: values[name] for name in ("attribution", "also") if values[name]}
    return json.dumps(chosen, ensure_ascii=False, allow_nan=False)


def begin_anew(path: Path, beginnings: tuple[bytes, ...]) -> int:
    """A descriptor of the emptied file, which no other session may have as long as it is open: a slip of the pen must not cost a recording.

    beginnings: of what such files hold. Raises OSError: FileExistsError for a file that begins like none of ours.
    """
    if path.is_file():
        with path.open("rb") as file:
            begin = file.read(8)
        if begin and not any(begin.startswith(ours) or ours.startswith(begin) for ours in beginnings):
            raise FileExistsError(EEXIST, "it holds something else than decisions and is not overwritten", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    if path.is_file():  # not a pipe, nor a terminal
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise OSError(EBUSY, "another session writes its decisions to it", str(path)) from None
        os.ftruncate(descriptor, 0)
    return descriptor


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError of a write says which file it was; of itself it does not."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, f"cannot be written ({error.strerror})", str(path)) from error


class JsonLines:
    """Every line is in the file as soon as it is decided; close() syncs to disk.

    path: begun anew with each run. Raises OSError where it holds something else than decisions, or another session writes to it.
    A disk that is full is an OSError that names the file: decisions that cannot be kept end the run.
    """

    def __init__(self, *, path: Path) -> None:
        self._path = path
        descriptor = begin_anew(path, (b'{"id": "',))
        self._file = open(descriptor, "w", encoding="utf-8", buffering=1, newline="\n")  # noqa: SIM115 - closed by close()

    def decision(self, decision: Decision) -> None:
        with naming(self._path):
            self._file.write(line_of(decision) + "\n")

    def status(self, status: Status) -> None:
        pass

    def close(self) -> None:
        with naming(self._path), self._file:
            self._file.flush()
            with suppress(OSError):  # a pipe or /dev/stdout cannot be synced, and needs not be
                os.fsync(self._file.fileno())
