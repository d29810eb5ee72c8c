"""YAML text to plain values, strictly and safely, remembering the line of every key.

Only mappings, lists, strings, numbers, booleans and null come out. Refused with one clear line: duplicate keys, keys that
are not text, tags, text that refers to itself, more than NODE_LIMIT values (aliases counted as often as they are used).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from operators.errors import ConfigError

BYTE_LIMIT = 1 << 20
NODE_LIMIT = 20_000
DEPTH_LIMIT = 60

KeyPath = tuple[str | int, ...]
Places = dict[KeyPath, str]
"""Where each key was written: 'demo.yaml:7', or '--set a.b=c' for an override."""


class _Loader(yaml.SafeLoader):
    """SafeLoader that leaves dates as the text they are: JSON, which the config travels as, has none."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:timestamp"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_SCALAR_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null")}


def dotted(path: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in path)


def read_yaml(path: Path, shown: str) -> tuple[object, Places]:
    """The values of a file and the place of each key; `shown` is what errors call the file."""
    try:
        with path.open("rb") as file:
            raw = file.read(BYTE_LIMIT + 1)
    except FileNotFoundError:
        raise ConfigError(shown, "", "no such file", "name a YAML config, for example configs/demo.yaml") from None
    except IsADirectoryError:
        raise ConfigError(shown, "", "is a folder, not a file", "name a YAML config, for example configs/demo.yaml") from None
    except OSError as error:
        raise ConfigError(shown, "", f"cannot be read ({error.strerror})", "check its permissions") from None
    return parse_yaml(_as_text(raw, shown), shown)


def _as_text(raw: bytes, shown: str) -> str:
    if len(raw) > BYTE_LIMIT or b"\0" in raw:
        problem = "is not a YAML text" if b"\0" in raw else f"is larger than {BYTE_LIMIT >> 10} KiB"
        raise ConfigError(shown, "", problem, "for a media file, run `sensorium run file --input FILE`")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(shown, "", f"is not UTF-8 text (byte {error.start} is 0x{raw[error.start]:02x})", "save it as UTF-8") from None


def parse_yaml(text: str, shown: str) -> tuple[object, Places]:
    """Raises ConfigError naming the line for anything that is not plain data."""
    try:
        loader = _Loader(text)  # may already raise: not every character may stand in YAML
        node = loader.get_single_node()
        reader = _Reader(loader, shown)
        return (None if node is None else reader.value(node, ())), reader.places
    except RecursionError:
        raise ConfigError(shown, "", "is nested too deeply", f"at most {DEPTH_LIMIT} levels are read") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{shown}:{mark.line + 1}" if mark else shown
        raise ConfigError(place, "", f"is not valid YAML ({error.problem or error.context})", _syntax_hint(error)) from None
    except yaml.YAMLError as error:
        raise ConfigError(shown, "", f"is not valid YAML ({str(error).splitlines()[0]})", "save it as plain UTF-8 text") from None


def _syntax_hint(error: yaml.MarkedYAMLError) -> str:
    if "\\t" in str(error.problem):
        return "indent with spaces, not with tabs"
    return "check indentation, brackets and the space after each colon"


class _Reader:
    """Walks the nodes of one document; `places` fills as it goes."""

    def __init__(self, loader: yaml.SafeLoader, shown: str) -> None:
        self.places: Places = {}
        self._loader = loader
        self._shown = shown
        self._nodes = 0
        self._open: list[yaml.Node] = []

    def value(self, node: yaml.Node, path: KeyPath) -> object:
        self._nodes += 1
        if self._nodes > NODE_LIMIT:
            raise self._error(
                node, path, f"holds more than {NODE_LIMIT} values", "make it smaller; aliases count as often as they are used"
            )
        if len(path) > DEPTH_LIMIT:
            raise self._error(node, path[:3], "is nested too deeply", f"at most {DEPTH_LIMIT} levels are read")
        if any(node is outer for outer in self._open):
            raise self._error(node, path, "refers to itself", "write the value out instead of an alias")
        self.places.setdefault(path, self._place(node))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        self._open.append(node)
        value = self._mapping(node, path) if isinstance(node, yaml.MappingNode) else self._list(node, path)
        self._open.pop()
        return value

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> object:
        if node.tag not in _SCALAR_TAGS:
            raise self._error(node, path, f"has the tag {node.tag!r}", "only plain text, numbers, true, false and null are read")
        try:
            return self._loader.construct_object(node)
        except ValueError as error:
            raise self._error(node, path, f"cannot be read ({error})", "put it in quotes if it is text") from None

    def _list(self, node: yaml.Node, path: KeyPath) -> list[object]:
        if not isinstance(node, yaml.SequenceNode) or node.tag != "tag:yaml.org,2002:seq":
            raise self._error(node, path, f"has the tag {node.tag!r}", "only plain lists are read")
        return [self.value(child, (*path, index)) for index, child in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        if node.tag != "tag:yaml.org,2002:map":
            raise self._error(node, path, f"has the tag {node.tag!r}", "only plain mappings are read")
        found: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key in found:
                first = self.places[(*path, key)]
                raise self._error(key_node, (*path, key), f"is given twice (first at {first})", "keep one of them")
            self.places[(*path, key)] = self._place(key_node)
            found[key] = self.value(value_node, (*path, key))
        return found

    def _key(self, node: yaml.Node, path: KeyPath) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag in ("tag:yaml.org,2002:merge", "tag:yaml.org,2002:null"):
            raise self._error(node, path, "has a key that is not plain text", "write keys as plain text")
        return str(node.value)

    def _place(self, node: yaml.Node) -> str:
        return f"{self._shown}:{node.start_mark.line + 1}"

    def _error(self, node: yaml.Node, path: KeyPath, problem: str, hint: str) -> ConfigError:
        return ConfigError(self._place(node), dotted(path), problem, hint)


@dataclass(frozen=True, slots=True)
class Override:
    """A value put over what the file says. shown: what the user typed for it, for errors."""

    key: str
    value: object
    shown: str


def parse_override(text: str) -> Override:
    """`a.b.0=value`; the value is read as YAML."""
    shown = f"--set {text}"
    key, equals, value = text.partition("=")
    if not equals or any(not part for part in key.strip().split(".")):
        raise ConfigError(shown, "", "is not of the form key.key=value", "write for example --set align.deadline_ms=100")
    return Override(key.strip(), parse_yaml(value, shown)[0], shown)


def apply_override(values: object, places: Places, override: Override) -> None:
    """Sets it in place. Missing mappings on the way are made."""
    shown = override.shown
    *outer, last = override.key.split(".")
    holder, path = values, ()  # type: tuple[object, KeyPath]
    for part, following in zip(outer, [*outer, last][1:], strict=True):
        holder, path = _step_into(holder, path, part, shown, [] if following == "0" else {})
    _assign(holder, path, last, override.value, shown)
    path = (*path, int(last) if isinstance(holder, list) else last)
    for known in [known for known in places if known[: len(path)] == path]:
        del places[known]
    places[path] = shown


def _step_into(holder: object, path: KeyPath, part: str, shown: str, new: object) -> tuple[object, KeyPath]:
    """One key down; where there is nothing yet, `new` is put there."""
    if isinstance(holder, dict):
        if holder.get(part) is None:
            holder[part] = new
        return holder[part], (*path, part)
    items, index = _item(holder, path, part, shown)
    if index == len(items):
        items.append(new)
    return items[index], (*path, index)


def _assign(holder: object, path: KeyPath, part: str, value: object, shown: str) -> None:
    if isinstance(holder, dict):
        holder[part] = value
        return
    items, index = _item(holder, path, part, shown)
    items[index : index + 1] = [value]


def _item(holder: object, path: KeyPath, part: str, shown: str) -> tuple[list[object], int]:
    if not isinstance(holder, list):
        raise ConfigError(shown, dotted((*path, part)), f"{dotted(path)} is {holder!r}, which has no keys", "set the whole of it instead")
    if not part.isascii() or not part.isdigit() or int(part) > len(holder):
        problem = f"{dotted(path)} is a list of {len(holder)}: got the index {part!r}"
        raise ConfigError(shown, dotted((*path, part)), problem, f"use 0 to {len(holder)}, where {len(holder)} adds one")
    return holder, int(part)
