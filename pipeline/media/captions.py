"""Caption files: WebVTT, SRT and JSON lines, read as people write them, not as the standards wish."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from itertools import pairwise
from pathlib import Path

from operators.errors import DecodeError, DeviceNotFound, SourceError

SUFFIXES = (".vtt", ".srt", ".jsonl")
MAX_BYTES = 32 << 20
STAMP = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
TIMING = re.compile(rf"^\s*{STAMP}\s*-->\s*{STAMP}")
MARKUP = re.compile(r"</?[a-zA-Z0-9][^<>]*>|\{\\[^{}]*\}")
NOT_CUES = ("WEBVTT", "NOTE", "STYLE", "REGION")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """One caption, shown during [start_ns, end_ns); start == end: until the next one."""

    start_ns: int
    end_ns: int
    text: str


def read_captions(path: Path) -> tuple[list[Cue], int]:
    """The cues in order of start, and how many were bad (no readable times, an end before the start, a missing field).

    Tolerates a byte order mark, CRLF, wrong UTF-8 (shown as U+FFFD), missing hours and numbers, commas for points, cues that overlap.
    Raises SourceError if the file cannot be read, and DecodeError if there is not one good cue in a file that has text.
    """
    text = _text(path)
    cues = list(_json_lines(text) if path.suffix.lower() == ".jsonl" else _blocks(text))
    good = sorted((cue for cue in cues if cue is not None), key=lambda cue: (cue.start_ns, cue.end_ns))
    if not good and text.strip() and not text.lstrip().startswith("WEBVTT"):
        raise DecodeError(str(path), "holds no caption that can be read (WebVTT, SRT or JSON lines with start_ms, end_ms, text wanted)")
    return good, len(cues) - len(good)


def beside(media: Path) -> Path | None:
    """The caption file of the same stem next to a media file."""
    return next((path for suffix in SUFFIXES if (path := media.with_suffix(suffix)).is_file() and path != media), None)


def plain(text: str) -> str:
    """Without tags, ASS overrides and entities; lines stay lines."""
    return unescape(MARKUP.sub("", text.replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " "))).strip()


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SourceError(str(path), f"captions of more than {MAX_BYTES >> 20} MiB are not read")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DeviceNotFound(str(path), "no such caption file") from error
    except OSError as error:
        raise SourceError(str(path), f"cannot be read ({error.strerror})") from error
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return data.decode(encoding, errors="replace").replace("\r\n", "\n").replace("\r", "\n")


def _blocks(text: str) -> Iterator[Cue | None]:
    """WebVTT and SRT alike: blocks parted by empty lines, each with a timing line; None for a block without a good one."""
    for block in re.split(r"\n[ \t]*\n", text):
        lines = [line for line in block.split("\n") if line.strip()]
        if not lines or lines[0].lstrip().startswith(NOT_CUES):
            continue
        timed = [index for index, line in enumerate(lines) if "-->" in line]
        if not timed:
            yield None
        for index, after in pairwise([*timed, len(lines)]):
            # Where the empty line is missing, the next cue's number stands before its times.
            numbered = after < len(lines) and lines[after - 1].strip().isdigit()
            yield _cue(lines[index], lines[index + 1 : after - numbered])


def _cue(timing: str, body: list[str]) -> Cue | None:
    match = TIMING.match(timing)
    if match is None:
        return None
    start_ns, end_ns = _stamp(match.groups()[:4]), _stamp(match.groups()[4:])
    text = plain("\n".join(body))
    return Cue(start_ns=start_ns, end_ns=end_ns, text=text) if end_ns >= start_ns and text else None


def _stamp(parts: tuple[str | None, ...]) -> int:
    hours, minutes, seconds, fraction = parts
    whole = (int(hours or 0) * 60 + int(minutes or 0)) * 60 + int(seconds or 0)
    return whole * 1_000_000_000 + int((fraction or "0").ljust(3, "0")) * 1_000_000


def _json_lines(text: str) -> Iterator[Cue | None]:
    for line in text.split("\n"):
        if line.strip():
            yield _json_cue(line)


def _json_cue(line: str) -> Cue | None:
    try:
        row = json.loads(line)
        start_ns, end_ns = round(row["start_ms"] * 1_000_000), round(row.get("end_ms", row["start_ms"]) * 1_000_000)
        text = row["text"]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    if not isinstance(text, str) or not text.strip() or not 0 <= start_ns <= end_ns:
        return None
    return Cue(start_ns=start_ns, end_ns=end_ns, text=text.strip())
