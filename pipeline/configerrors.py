"""From pydantic's errors to the one line a person needs: where, what was got, what is expected, what to do."""

from __future__ import annotations

import difflib
import json
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from operators.errors import ConfigError
from pipeline.mask import is_secret, mask
from pipeline.yamltext import KeyPath, Places, dotted

SHOWN_LENGTH = 60
HIDDEN = ("origin", "replay")
"""Keys of a config that only programs write."""

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping of key: value",
    "model_type": "a mapping of key: value",
    "dataclass_type": "a mapping of key: value",
    "list_type": "a list",
    "tuple_type": "a list",
    "path_type": "a path",
    "finite_number": "a finite number",
    "greater_than_equal": ">= {ge}",
    "greater_than": "> {gt}",
    "less_than_equal": "<= {le}",
    "less_than": "< {lt}",
    "literal_error": "{expected}",
    "string_too_short": "at least one character",
    "too_short": "at least {min_length} entries",
    "too_long": "at most {max_length} entries",
    "string_pattern_mismatch": "letters, digits, '.', '_' and '-' only, at most 64",
    "value_error": "{error}",
}
_NOT_KNOWN = ("extra_forbidden", "unexpected_keyword_argument")


def shown(value: object, key: str = "") -> str:
    """A value as one short piece of text, without secrets."""
    if is_secret(key):
        return "***"
    try:
        text = mask(json.dumps(_open(value), ensure_ascii=False, default=str))
    except ValueError:
        text = mask(repr(value))
    return text if len(text) <= SHOWN_LENGTH else text[: SHOWN_LENGTH - 1] + "…"


def _open(value: object) -> object:
    """Without the values of secret keys inside it."""
    if isinstance(value, Mapping):
        return {key: "***" if is_secret(str(key)) else _open(inner) for key, inner in value.items()}
    return [_open(inner) for inner in value] if isinstance(value, list) else value


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


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with a value: where inside it, what it is, what to do."""

    path: KeyPath
    problem: str
    hint: str


def first_error(error: ValidationError, model: type[BaseModel], values: object, places: Places, file: str) -> ConfigError:
    """The error to show of many, with the line of its mistake."""
    mistake = first_mistake(error, model, values)
    return ConfigError(place_of(mistake.path, places, file), dotted(mistake.path), mistake.problem, mistake.hint)


def first_mistake(error: ValidationError, annotation: object, value: object, name: str = "") -> Mistake:
    """The mistake to show of many: a key that is not known goes first, since it explains the one that is missing.

    annotation: what `value` was checked against. name: its key, where it was checked alone; the values of some are secret.
    """
    details = error.errors(include_url=False)
    first = min(details, key=lambda detail: detail["type"] not in _NOT_KNOWN)
    path = _path_in(first, value)
    # One value that fits no branch of a union makes one error for each branch.
    same = [detail for detail in details if _path_in(detail, value) == path]
    return _mistake(same, path, annotation, name)


def _mistake(same: list[ErrorDetails], path: KeyPath, annotation: object, name: str) -> Mistake:
    detail, field = same[0], _field_at(annotation, path)
    if detail["type"] in _NOT_KNOWN:
        return Mistake(path, "is not a key that is known here", did_you_mean(str(path[-1]), _keys_at(annotation, path[:-1])))
    if detail["type"] == "missing" and isinstance(path[-1], int):
        return Mistake(path[:-1], f"got {shown(detail['input'], name)}, expected more entries", "correct it")
    if detail["type"] == "missing":
        return Mistake(path, "is missing", _example(path, field) or "add it")
    if detail["loc"] and detail["loc"][-1] == "[key]":
        return Mistake(path, f"{str(path[-1])!r} is not a name", f"use {_expected(detail)}")
    expected = " or ".join(dict.fromkeys(_expected(detail) for detail in same))
    problem = f"got {shown(detail['input'], dotted((name, *path)))}, expected {expected}"
    return Mistake(path, problem, _near(detail) or _example(path, field) or "correct it")


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


def _keys_at(annotation: object, path: KeyPath) -> list[str]:
    for option in _options_at(annotation, path):
        if is_dataclass(option):
            return [field.name for field in fields(option)]
        if isinstance(option, type) and issubclass(option, BaseModel):
            return [name for name in option.model_fields if name not in HIDDEN]
    return []


def _field_at(annotation: object, path: KeyPath) -> FieldInfo | None:
    """What a model says of the key at the end of the path."""
    for option in _options_at(annotation, path[:-1]) if path else []:
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option.model_fields.get(str(path[-1]))
    return None


def _options_at(annotation: object, path: KeyPath) -> list[object]:
    """The branches of the annotation of what stands at a path."""
    options = _branches(annotation)
    for part in path:
        options = [branch for option in options for branch in _branches(_annotation_of(option, part))]
    return options


def _branches(annotation: object) -> list[object]:
    """A | B as [A, B], whatever is written around them."""
    if get_origin(annotation) is Annotated:
        return _branches(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [branch for option in get_args(annotation) for branch in _branches(option)]
    return [annotation]


def _annotation_of(annotation: object, part: str | int) -> object:
    """Of the value under a key or an index; None where that is not known."""
    if isinstance(annotation, type) and is_dataclass(annotation):
        return get_type_hints(annotation).get(str(part))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(part))
        return None if field is None else field.annotation
    return get_args(annotation)[-1] if get_origin(annotation) in (dict, list) else None
