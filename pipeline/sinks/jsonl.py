"""One JSON object a line, one line a decision."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EEXIST
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


def keep_others(path: Path, beginnings: tuple[bytes, ...]) -> None:
    """Raises FileExistsError for a file that begins like none of ours: a slip of the pen must not cost a recording."""
    if path.is_file():
        with path.open("rb") as file:
            begin = file.read(8)
        if begin and not any(begin.startswith(ours) or ours.startswith(begin) for ours in beginnings):
            raise FileExistsError(EEXIST, "it holds something else than decisions and is not overwritten", str(path))


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

    path: begun anew with each run. Raises FileExistsError where it holds something else than decisions: that is not overwritten.
    A disk that is full is an OSError that names the file: decisions that cannot be kept end the run.
    """

    def __init__(self, *, path: Path) -> None:
        keep_others(path, (b'{"id": "',))
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("w", encoding="utf-8", buffering=1, newline="\n")

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
