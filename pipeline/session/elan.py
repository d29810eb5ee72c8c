"""ELAN's annotation files (.eaf). Read with expat; a file with a DOCTYPE is refused, so there are no entities that could grow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from operators.errors import ConfigError

MAX_DEPTH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """name: ELAN's id."""

    name: str
    tier: str
    start_ms: int
    end_ms: int
    text: str


@dataclass(slots=True)
class _Reading:
    """What the parser has met so far. annotations: (id, tier, two time slots or one other annotation, text)."""

    slots: dict[str, int] = field(default_factory=dict)
    annotations: list[tuple[str, str, tuple[str, ...], str]] = field(default_factory=list)
    tier: str = ""
    name: str = ""
    refers: tuple[str, ...] = ()
    text: list[str] | None = None
    depth: int = 0
    is_elan: bool = False
    units: str = "milliseconds"


class _Refused(Exception):
    """From a handler of the parser, which passes it on."""


def read_elan(path: Path, data: bytes, tier: str | None) -> Iterator[Annotation]:
    """In the file's order. tier: which; None where only one has annotations. Raises ConfigError."""
    read = _parsed(path, data)
    if read.units != "milliseconds":
        raise ConfigError(str(path), "TIME_UNITS", f"are {read.units!r}", "save it from ELAN with times in milliseconds")
    tiers = list(dict.fromkeys(found[1] for found in read.annotations))
    if tier is None and len(tiers) > 1:
        raise ConfigError(str(path), "", f"has annotations on the tiers {', '.join(tiers)[:200]}", "choose one with --tier")
    if tier is not None and tier not in tiers:
        raise ConfigError(str(path), "", f"has no annotation on a tier {tier!r}", f"choose one of {', '.join(tiers)[:200] or 'none'}")
    known = {name: refers for name, _, refers, _ in read.annotations}
    for name, on, refers, text in read.annotations:
        if on == (tier or on):
            start, end = (_time(path, read, name, slot) for slot in _slots(path, known, name, refers))
            yield Annotation(name=name, tier=on if len(tiers) > 1 else "", start_ms=start, end_ms=end, text=text)


def _slots(path: Path, known: dict[str, tuple[str, ...]], name: str, refers: tuple[str, ...]) -> tuple[str, ...]:
    """The time slots of an annotation; those of one that refers to another are the other's."""
    for _ in range(MAX_DEPTH):
        if len(refers) == 2:
            return refers
        refers = known.get(refers[0] if refers else "", ())
    raise ConfigError(str(path), f"annotation {name}", "has no time: it refers to none that has one", "correct it in ELAN")


def _time(path: Path, read: _Reading, name: str, slot: str) -> int:
    if slot not in read.slots:
        raise ConfigError(str(path), f"annotation {name}", f"has no time: slot {slot!r} has none", "align it in ELAN")
    return read.slots[slot]


def _parsed(path: Path, data: bytes) -> _Reading:
    read = _Reading()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = lambda *declared: _refuse("declares a DOCTYPE, which ELAN's files have not")
    parser.StartElementHandler = lambda name, attributes: _begin(read, name, attributes)
    parser.EndElementHandler = lambda name: _end(read, name)
    parser.CharacterDataHandler = lambda text: read.text.append(text) if read.text is not None else None
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ConfigError(str(path), "", f"is not well-formed XML ({error})", "save it from ELAN again") from None
    except (_Refused, ValueError) as error:
        raise ConfigError(str(path), "", str(error), "save it from ELAN again") from None
    if not read.is_elan:
        raise ConfigError(str(path), "", "is no ELAN file: ANNOTATION_DOCUMENT wanted", "save it from ELAN as .eaf")
    return read


def _refuse(problem: str) -> None:
    raise _Refused(problem)


def _begin(read: _Reading, name: str, attributes: dict[str, str]) -> None:
    read.depth += 1
    if read.depth > MAX_DEPTH:
        _refuse(f"nests deeper than {MAX_DEPTH}")
    match name:
        case "ANNOTATION_DOCUMENT":
            read.is_elan = read.depth == 1
        case "HEADER":
            read.units = attributes.get("TIME_UNITS", "milliseconds")
        case "TIME_SLOT" if "TIME_VALUE" in attributes:
            read.slots[attributes.get("TIME_SLOT_ID", "")] = _milliseconds(attributes["TIME_VALUE"])
        case "TIER":
            read.tier = attributes.get("TIER_ID", "")
        case "ALIGNABLE_ANNOTATION":
            read.name = attributes.get("ANNOTATION_ID", "")
            read.refers = (attributes.get("TIME_SLOT_REF1", ""), attributes.get("TIME_SLOT_REF2", ""))
        case "REF_ANNOTATION":
            read.name, read.refers = attributes.get("ANNOTATION_ID", ""), (attributes.get("ANNOTATION_REF", ""),)
        case "ANNOTATION_VALUE":
            read.text = []


def _milliseconds(text: str) -> int:
    if not text.isdecimal() or len(text) > 15:
        _refuse(f"has a time {text[:20]!r}")
    return int(text)


def _end(read: _Reading, name: str) -> None:
    read.depth -= 1
    if name == "ANNOTATION_VALUE" and read.text is not None:
        text = "".join(read.text).strip()
        if text:  # ELAN keeps empty annotations that nobody has filled in
            read.annotations.append((read.name, read.tier, read.refers, text))
        read.text = None
