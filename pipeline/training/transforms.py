"""The model's own transforms, made afresh for every session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from operators.errors import ConfigError
from operators.operator import Operator
from pipeline.model import ModelSpec
from pipeline.resolve import Part
from pipeline.yamltext import KeyPath, dotted


def chains(spec: ModelSpec, file: str, folder: Path) -> dict[str, Callable[[], list[Operator]]]:
    """Input -> a function that makes its chain. Raises ConfigError that names `file` for a transform that cannot be made."""

    def fail(path: KeyPath, problem: str, hint: str) -> ConfigError:
        return ConfigError(file, dotted(path), problem, hint)

    made: dict[str, Callable[[], list[Operator]]] = {}
    for name, part in spec.inputs.items():
        parts = [
            Part(use.use, use.options(), path=("model", "inputs", name, "transforms", index), folder=folder, fail=fail)
            for index, use in enumerate(part.transforms)
        ]
        made[name] = _maker(parts)
    return made


def _maker(parts: list[Part]) -> Callable[[], list[Operator]]:
    return lambda: [part.make_operator() for part in parts]
