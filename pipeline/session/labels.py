"""What people say of a session: labels/NAME.jsonl, a line for every span.

The lines are those of a truth file (`sensorium run --truth`), so a session's labels score a run of it as they are.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from operators.errors import ConfigError, SessionError
from pipeline.session.layout import LABELS, read_lines

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
MAX_LABELS = 1_000_000
MAX_TEXT = 1000


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Label:
    """`label` holds during [start_ns, end_ns) of session time. source: the file that said so. tier: whose it is, where that has several."""

    start_ns: int
    end_ns: int
    label: str
    source: str = ""
    tier: str = ""


def label_name(text: str) -> str:
    """A name for labels, made of a file's name. Raises ConfigError where nothing is left of it."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:64]
    return checked_name(name)


def checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ConfigError("--name", "", f"{name!r} is no name for labels", "use letters, digits, - and _, at most 64")
    return name


def label_names(folder: Path) -> list[str]:
    """Of a session's folder, sorted."""
    base = folder / LABELS
    paths = base.iterdir() if base.is_dir() and not base.is_symlink() else ()
    return sorted(path.stem for path in paths if path.suffix == ".jsonl" and _NAME.fullmatch(path.stem) and _plain(path))


def labels_path(folder: Path, name: str) -> Path:
    """Raises SessionError where the session has no such labels."""
    names = label_names(folder)
    if name not in names:
        there = f"it has {', '.join(names)}" if names else "sensorium sessions label adds them"
        raise SessionError(str(folder), f"has no labels {name!r}; {there}")
    return folder / LABELS / f"{name}.jsonl"


def read_labels(folder: Path, name: str, damaged: Callable[[Path, str], None] = lambda path, why: None) -> list[Label]:
    """In order of start; `damaged` is told of lines that hold no label. Raises SessionError."""
    path = labels_path(folder, name)
    found: list[Label] = []
    bad = 0
    for values in read_lines(path):
        label = _label(values)
        bad += label is None
        if label is not None and len(found) < MAX_LABELS:
            found.append(label)
    if bad:
        damaged(path, f"{bad} lines hold no label")
    return sorted(found)


def write_labels(folder: Path, name: str, labels: Iterable[Label]) -> Path:
    """As a whole or not at all; labels that are there are not replaced. Raises SessionError, OSError."""
    base = folder / LABELS
    if base.is_symlink():
        raise SessionError(str(folder), f"its {LABELS} is a link")
    base.mkdir(mode=0o700, exist_ok=True)
    path = base / f"{checked_name(name)}.jsonl"
    if path.exists() or path.is_symlink():
        raise SessionError(str(folder), f"has labels {name!r} already; delete {path} first, or choose another --name")
    new = path.with_suffix(".new")
    with new.open("w", encoding="utf-8") as file:
        for label in sorted(labels):
            file.write(json.dumps({key: value for key, value in asdict(label).items() if value != ""}, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    return path


def overlap(labels: Sequence[Label]) -> Label | None:
    """The first of the labels, in order of start, that begins while another still holds."""
    end_ns = -1
    for label in labels:
        if label.start_ns < end_ns:
            return label
        end_ns = max(end_ns, label.end_ns)
    return None


def _plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _label(values: Mapping[str, object]) -> Label | None:
    start_ns, end_ns, text = values.get("start_ns"), values.get("end_ns"), values.get("label")
    if not isinstance(start_ns, int) or not isinstance(end_ns, int) or not isinstance(text, str):
        return None
    if not 0 <= start_ns < end_ns < 1 << 63 or not text:
        return None
    source, tier = (str(values.get(key, ""))[:MAX_TEXT] for key in ("source", "tier"))
    return Label(start_ns=start_ns, end_ns=end_ns, label=text[:MAX_TEXT], source=source, tier=tier)
