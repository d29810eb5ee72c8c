"""Labels as other tools write them: WebVTT and SRT, ELAN, Audacity's label tracks, CSV, JSON lines.

Every span keeps its place in the file, so that a mistake is told with it. Nothing is guessed and nothing is left out in silence.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from operators.errors import ConfigError
from pipeline.media.captions import read_captions
from pipeline.session.elan import read_elan
from pipeline.session.labels import MAX_LABELS, MAX_TEXT, Label

MAX_BYTES = 64 << 20
EDGE_NS = 1_000_000_000
"""A label may end so much after the session; it is cut there. One that begins outside, or goes on for longer, has another clock."""
_UNITS = {"": 1e9, "_s": 1e9, "_ms": 1e6, "_ns": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A label in the file's own time; place: where in the file it stands ("line 3")."""

    start_ns: int
    end_ns: int
    label: str
    place: str
    tier: str = ""


def read_label_file(path: Path, tier: str | None = None) -> list[Span]:
    """By suffix: .vtt .srt .eaf .txt .csv .tsv .jsonl. tier: for ELAN files that have several. Raises ConfigError, SourceError."""
    readers: Mapping[str, Callable[[Path], Iterable[Span]]] = {
        ".vtt": _cues,
        ".srt": _cues,
        ".eaf": lambda path: _elan(path, tier),
        ".txt": _audacity,
        ".csv": _csv,
        ".tsv": _csv,
        ".jsonl": _json_lines,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(readers)
        raise ConfigError(str(path), "", f"labels are read from {known}; this is {path.suffix or 'a file without a suffix'}", "convert it")
    if tier is not None and path.suffix.lower() != ".eaf":
        raise ConfigError("--tier", "", "is for ELAN files", "leave it out")
    spans = list(islice(reader(path), MAX_LABELS + 1))
    if not spans:
        raise ConfigError(str(path), "", "holds no label", "a label is a start, an end and a text")
    if len(spans) > MAX_LABELS:
        raise ConfigError(str(path), "", f"holds more than {MAX_LABELS} labels", "split it")
    return spans


def placed(spans: Sequence[Span], file: str, *, shift_ns: int, end_ns: int) -> tuple[list[Label], int]:
    """The labels on session time, and how many were cut at the session's end. Raises ConfigError for one that does not lie in it."""
    labels, cut = [], 0
    for span in spans:
        start, end = span.start_ns + shift_ns, span.end_ns + shift_ns
        if end <= start:
            raise _wrong(file, span, "ends before it starts" if end < start else "starts and ends at once: it labels nothing", "correct it")
        if start < 0 or start >= end_ns or end > end_ns + EDGE_NS:
            problem = f"[{start / 1e9:.3f} s, {end / 1e9:.3f} s) is not within the session, which ends at {end_ns / 1e9:.3f} s"
            raise _wrong(file, span, problem, "move all labels with --shift, if the file's zero is not the session's")
        cut += end > end_ns
        labels.append(Label(start_ns=start, end_ns=min(end, end_ns), label=span.label, source=Path(file).name, tier=span.tier))
    return sorted(labels), cut


def _wrong(file: str, span: Span, problem: str, hint: str) -> ConfigError:
    return ConfigError(file, span.place, f"{span.label[:40]!r} {problem}", hint)


def _cues(path: Path) -> Iterator[Span]:
    cues, bad = read_captions(path)
    if bad:
        raise ConfigError(str(path), "", f"{bad} of its cues cannot be read", "correct them: a label that is left out would be a wrong one")
    for number, cue in enumerate(cues, 1):
        yield _span(str(path), f"cue {number}", cue.start_ns, cue.end_ns, cue.text)


def _elan(path: Path, tier: str | None) -> Iterator[Span]:
    for found in read_elan(path, _read(path), tier):
        yield _span(str(path), f"annotation {found.name}", found.start_ms * 1e6, found.end_ms * 1e6, found.text, found.tier)


def _audacity(path: Path) -> Iterator[Span]:
    """start TAB end TAB label, in seconds; a line that begins with a backslash holds frequencies of the one before."""
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip() or line.startswith("\\"):
            continue
        parts = line.split("\t", 2)
        if len(parts) < 3:
            raise ConfigError(f"{path}:{number}", "", "is not start, end and label with tabs between", "export it from Audacity again")
        start, end = (_number(part, str(path), f"line {number}") for part in parts[:2])
        yield _span(str(path), f"line {number}", start * 1e9, end * 1e9, parts[2])


def _csv(path: Path) -> Iterator[Span]:
    lines = _text(path).splitlines()
    head = lines[0] if lines else ""
    comma = max(",;\t", key=head.count)
    names = [name.strip().lower() for name in next(csv.reader([head], delimiter=comma), [])]
    start, end = _time_column(path, names, "start"), _time_column(path, names, "end")
    if "label" not in names:
        raise _no_column(path, "label")
    for number, cells in enumerate(csv.reader(lines[1:], delimiter=comma, strict=False), 2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) < len(names):
            raise ConfigError(f"{path}:{number}", "", f"has {len(cells)} cells, the header {len(names)}", "correct the line")
        row, place = dict(zip(names, cells, strict=False)), f"line {number}"
        times = [_number(row[name], str(path), place) * scale for name, scale in (start, end)]
        yield _span(str(path), place, times[0], times[1], row["label"], row.get("tier", ""))


def _time_column(path: Path, names: Sequence[str], edge: str) -> tuple[str, float]:
    """(column, nanoseconds in its unit)."""
    for unit, scale in _UNITS.items():
        if f"{edge}{unit}" in names:
            return f"{edge}{unit}", scale
    raise _no_column(path, edge)


def _no_column(path: Path, name: str) -> ConfigError:
    return ConfigError(
        f"{path}:1", "", f"has no column {name!r}", "begin with a header: start,end,label (seconds) or start_ms,end_ms,label"
    )


def _json_lines(path: Path) -> Iterator[Span]:
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        start, end = (_json_time(values, edge) for edge in ("start", "end"))
        if not isinstance(values, dict) or start is None or end is None or not isinstance(values.get("label"), str):
            example = '{"start_ms": 0, "end_ms": 1000, "label": "silent"}'
            raise ConfigError(f"{path}:{number}", "", "is not start_ms, end_ms (or _s, _ns) and label", f"write for example {example}")
        yield _span(str(path), place, start, end, values["label"], str(values.get("tier", "")))


def _json_time(values: object, edge: str) -> float | None:
    for unit in ("_ns", "_ms", "_s"):
        time = values.get(f"{edge}{unit}") if isinstance(values, dict) else None
        if isinstance(time, int | float) and not isinstance(time, bool):
            return time * _UNITS[unit] if unit != "_ns" else time
    return None


def _span(file: str, place: str, start: float, end: float, label: str, tier: str = "") -> Span:
    """start, end in ns. Raises ConfigError for times that are none, and for no text."""
    text = label.strip()
    if not all(math.isfinite(time) and abs(time) < 1 << 62 for time in (start, end)):
        raise ConfigError(file, place, "holds a time that is none", "correct it")
    if not text or len(text) > MAX_TEXT:
        raise ConfigError(file, place, f"holds no label of 1 to {MAX_TEXT} letters", "correct it")
    return Span(start_ns=round(start), end_ns=round(end), label=text, place=place, tier=tier)


def _number(text: str, file: str, place: str) -> float:
    try:
        return float(text.strip().replace(",", "."))
    except ValueError:
        raise ConfigError(file, place, f"{text.strip()[:40]!r} is no number", "a time like 12.5 is wanted") from None


def _text(path: Path) -> str:
    data = _read(path)
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise ConfigError(str(path), "", "is not UTF-8 text", "save it as UTF-8") from None


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(str(path), "", f"is larger than {MAX_BYTES >> 20} MiB", "split it")
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(str(path), "", f"cannot be read ({error.strerror})", "name a file with labels") from None
