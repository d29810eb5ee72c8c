"""Engines that run a model directory. One file each, `pipeline/backends/<name>.py`, with one class `<Name>Backend(model, *, threads)`."""

from __future__ import annotations

import importlib
from typing import Any

from operators.errors import BackendUnavailable
from pipeline.model import Model
from pipeline.ports import Backend

_AUTO = "onnx"  # the fastest on a CPU of those that need nothing but the default installation


def make_backend(name: str, model: Model, *, threads: int = 1) -> Backend:
    """A backend by its name; `auto` is the best for this machine. Raises BackendUnavailable, EngineMismatch."""
    chosen = _AUTO if name == "auto" else name
    module_name = f"pipeline.backends.{chosen}"
    try:
        made: Any = getattr(importlib.import_module(module_name), f"{chosen.capitalize()}Backend", None) if chosen.isidentifier() else None
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        made = None
    if made is None:
        raise BackendUnavailable(f"there is no backend {name!r}; say auto, onnx or torch")
    backend: Backend = made(model, threads=threads)
    return backend
