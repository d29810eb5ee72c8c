"""From pydantic's errors to the one line a person needs: where, what was got, what is expected, what to do."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from operators.errors import ConfigError
from pipeline.mask import is_secret, mask
from pipeline.yamltext import KeyPath, Places, dotted

SHOWN_LENGTH = 60

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping of key: value",
    "model_type": "a mapping of key: value",
    "list_type": "a list",
    "path_type": "a path",
    "finite_number": "a finite number",
    "greater_than_equal": ">= {ge}",
    "greater_than": "> {gt}",
    "less_than_equal": "<= {le}",
    "less_than": "< {lt}",
    "literal_error": "{expected}",
    "string_too_short": "at least one character",
    "too_short": "at least one entry",
    "string_pattern_mismatch": "letters, digits, '.', '_' and '-' only, at most 64",
    "value_error": "{error}",
}


def shown(value: object, key: str = "") -> str:
    """A value as one short piece of text, without secrets."""
    if is_secret(key):
        return "***"
    try:
        text = mask(json.dumps(value, ensure_ascii=False, default=str))
    except ValueError:
        text = mask(repr(value))
    return text if len(text) <= SHOWN_LENGTH else text[: SHOWN_LENGTH - 1] + "…"


def did_you_mean(name: str, known: Iterable[str], what: str = "known") -> str:
    """'did you mean 'x'?' where one is near, and all that are known."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    listed = f"{what}: {', '.join(names)}" if names else f"{what}: none"
    return f"did you mean {near[0]!r}? ({listed})" if near else listed


def place_of(path: KeyPath, places: Places, file: str) -> str:
    """Where a key was written; for one that was not, the nearest mapping around it."""
    for length in range(len(path), 0, -1):
        if (place := places.get(path[:length])) is not None:
            return place
        if below := [place for known, place in places.items() if known[:length] == path[:length]]:
            return below[0]
    return file


def first_error(error: ValidationError, model: type[BaseModel], values: object, places: Places, file: str) -> ConfigError:
    """The error to show of many: a key that is not known goes first, since it explains the one that is missing."""
    details = error.errors(include_url=False)
    first = min(details, key=lambda detail: detail["type"] != "extra_forbidden")
    path = _path_in(first, values)
    # One value that fits no branch of a union makes one error for each branch.
    same = [detail for detail in details if _path_in(detail, values) == path]
    return _config_error(same, path, model, places, file)


def _config_error(same: list[ErrorDetails], path: KeyPath, model: type[BaseModel], places: Places, file: str) -> ConfigError:
    detail = same[0]
    place, key = place_of(path, places, file), dotted(path)
    field = _field_at(model, path)
    if detail["type"] == "extra_forbidden":
        return ConfigError(place, key, "is not a key that is known here", did_you_mean(str(path[-1]), _keys_at(model, path[:-1])))
    if detail["type"] == "missing":
        return ConfigError(place, key, "is missing", _example(path, field) or "add it")
    if detail["loc"][-1] == "[key]":
        return ConfigError(place, key, f"{str(path[-1])!r} is not a name", f"use {_expected(detail)}")
    problem = f"got {shown(detail['input'], key)}, expected {' or '.join(dict.fromkeys(_expected(detail) for detail in same))}"
    return ConfigError(place, key, problem, _near(detail) or _example(path, field) or "correct it")


def value_problem(error: ValidationError, got: str) -> str:
    """'got X, expected A or B' for one value that was checked alone; names the place inside it where that is deeper."""
    details = error.errors(include_url=False)
    deeper = [str(part) for part in details[0]["loc"] if isinstance(part, int)] if len(details) == 1 else []
    expected = " or ".join(dict.fromkeys(_expected(detail) for detail in details))
    return f"got {got}, expected {expected}{f' at index {deeper[0]}' if deeper else ''}"


def _expected(detail: ErrorDetails) -> str:
    template = _EXPECTED.get(detail["type"])
    if template is None:
        return detail["msg"].removeprefix("Input should be ")
    context = {name: f"{value:g}" if isinstance(value, float) else value for name, value in detail.get("ctx", {}).items()}
    return template.format(**context)


def _near(detail: ErrorDetails) -> str:
    if detail["type"] != "literal_error" or not isinstance(detail["input"], str):
        return ""
    names = [name.strip("' ") for name in detail["ctx"]["expected"].replace(" or ", ",").split(",")]
    near = difflib.get_close_matches(detail["input"], names, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else ""


def _example(path: KeyPath, field: FieldInfo | None) -> str:
    if field is None or not field.examples or not path:
        return f"{field.description}" if field is not None and field.description else ""
    example = field.examples[0]
    text = example if isinstance(example, str) else json.dumps(example)
    about = f" ({field.description})" if field.description else ""
    return f"write for example `{path[-1]}: {text}`{about}"


def _path_in(detail: ErrorDetails, values: object) -> KeyPath:
    """The error's location without pydantic's own marks (union branches, '[key]'), which are in no YAML."""
    path: list[str | int] = []
    for part in detail["loc"]:
        known = _child(values, part)
        if known is _NONE and not (detail["type"] == "missing" and part == detail["loc"][-1]):
            continue
        path.append(part)
        values = None if known is _NONE else known
    return tuple(path)


_NONE = object()


def _child(values: object, part: str | int) -> object:
    if isinstance(values, Mapping):
        return values.get(part, _NONE)
    if isinstance(values, list) and isinstance(part, int) and part < len(values):
        return values[part]
    return _NONE


def _keys_at(model: type[BaseModel], path: KeyPath) -> list[str]:
    found = _model_at(model, path)
    return [] if found is None else [name for name in found.model_fields if name != "origin"]


def _field_at(model: type[BaseModel], path: KeyPath) -> FieldInfo | None:
    """The nearest described field at or above a path."""
    for length in range(len(path), 0, -1):
        holder = _model_at(model, path[: length - 1])
        if holder is not None and path[length - 1] in holder.model_fields:
            return holder.model_fields[str(path[length - 1])] if length == len(path) else None
    return None


def _model_at(model: type[BaseModel], path: KeyPath) -> type[BaseModel] | None:
    current: object = model
    for part in path:
        current = _annotation_of(current, part)
    found = [option for option in (current, *get_args(current)) if isinstance(option, type) and issubclass(option, BaseModel)]
    return found[0] if found else None


def _annotation_of(annotation: object, part: str | int) -> object:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(part))
        return None if field is None else field.annotation
    if get_origin(annotation) in (dict, list):
        return get_args(annotation)[-1]
    return None
