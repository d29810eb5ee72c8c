"""A session in a zip or tar file. Whoever made the file may have meant harm: nothing is written before its entry was judged.

Refused: paths that lead out, links, devices, names that come twice, more or larger files than there is room for, files that are not
the size they claim. Left out: everything that is no file of a session, so that nothing but data gets in.
"""

from __future__ import annotations

import os
import re
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from lzma import LZMAError
from pathlib import Path
from zipfile import BadZipFile

from operators.errors import SessionError
from pipeline.session.importing.entries import SUFFIXES, Entry, Refused, entries
from pipeline.session.importing.place import place
from pipeline.session.labels import label_name
from pipeline.session.layout import DECISIONS, EVENTS, LABELS, MANIFEST, NOTES, SEGMENTS, STREAMS
from pipeline.session.manifest import Manifest, read_manifest, write_manifest

CHUNK = 1 << 20
_SEGMENT = r"\d{1,9}\.\d{1,9}-\d{6,9}\.(?:arrows|mkv)(?:\.part)?"
_STREAM = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}\.[A-Za-z0-9_-]{1,64}"
_LAYOUT = re.compile(
    rf"{re.escape(MANIFEST)}|{re.escape(SEGMENTS)}|{re.escape(NOTES)}|{LABELS}/[A-Za-z0-9_][A-Za-z0-9_-]{{0,63}}\.jsonl"
    rf"|(?:{EVENTS}|{DECISIONS}|{STREAMS}/{_STREAM})/{_SEGMENT}"
)
_BROKEN = (BadZipFile, tarfile.TarError, zlib.error, LZMAError, EOFError, OSError, NotImplementedError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """files: entries of an archive. bytes: of all of them, unpacked. ratio: unpacked by packed, beyond the first free_bytes.

    keep_bytes: of the disk, which stay free.
    """

    files: int = 100_000
    bytes: int = 1 << 40
    ratio: int = 200
    free_bytes: int = 1 << 30
    keep_bytes: int = 500 << 20


@dataclass(slots=True)
class _Unpacking:
    """What was met so far. root: the folder within the archive that is the session, once known."""

    packed: int
    limits: Limits
    seen: set[str] = field(default_factory=set)
    bytes: int = 0
    root: tuple[str, ...] | None = None
    kept: int = 0
    left_out: int = 0

    @property
    def most(self) -> int:
        return min(self.limits.bytes, max(self.limits.free_bytes, self.limits.ratio * self.packed))


Progress = Callable[[int], None]
"""Told now and then: bytes unpacked so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """kept: files of the session. left_out: entries that were none."""

    folder: Path
    kept: int
    left_out: int


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def import_archive(path: Path, store: Path, progress: Progress = lambda done: None, limits: Limits | None = None) -> Unpacked:
    """The new session. Raises SessionError with what is wrong; then nothing of it is left."""
    name = label_name(path.name.lower().removesuffix(next(suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix))))
    with place(store, name) as made:
        state = _unpack(path, made.folder, limits or Limits(), progress)
        manifest = _manifest(path, made.folder)
        model = manifest.model
        # Where the model lay on the other machine is nothing to look for on this one.
        here = None if model is None else model.model_copy(update={"folder": ""})
        write_manifest(made.folder, manifest.model_copy(update={"imported": path.name[:255], "model": here}))
    return Unpacked(folder=made.final, kept=state.kept, left_out=state.left_out)


def _manifest(path: Path, folder: Path) -> Manifest:
    """Raises SessionError that names the archive: its folder here will not be there any more."""
    try:
        return read_manifest(folder)
    except SessionError as error:
        raise type(error)(str(path), error.problem) from None


def _unpack(path: Path, folder: Path, limits: Limits, progress: Progress) -> _Unpacking:
    try:
        state = _Unpacking(packed=path.stat().st_size, limits=limits)
        for entry in entries(path, state.most):
            parts = _judged(entry, state)
            if parts is None:
                state.left_out += entry.kind == "file"
                continue
            _write(entry, folder.joinpath(*parts), state, progress)
            state.kept += 1
    except Refused as error:
        raise SessionError(str(path), f"is refused: {error}") from None
    except _BROKEN as error:
        why = " ".join(str(error).split())[:120] or type(error).__name__
        raise SessionError(str(path), f"cannot be unpacked ({why}): it is cut off, damaged or no archive") from None
    if not (folder / MANIFEST).is_file():
        raise SessionError(str(path), f"holds no recorded session: {MANIFEST} wanted, at its top or in one folder")
    return state


def _judged(entry: Entry, state: _Unpacking) -> tuple[str, ...] | None:
    """Where in the session the entry belongs; None for what is no file of one. Raises Refused."""
    shown = repr(entry.name[:80])
    parts = tuple(part for part in entry.name.split("/") if part not in ("", "."))
    state.seen.add(entry.name)
    if len(state.seen) > state.limits.files:
        raise Refused(f"it holds more than {state.limits.files} entries")
    if entry.name.startswith("/") or ".." in parts or re.search(r"[\\\x00-\x1f]|^[A-Za-z]:", entry.name):
        raise Refused(f"the path {shown} leads out of the session")
    if entry.kind not in ("file", "folder"):
        raise Refused(f"{shown} is a {entry.kind}; only plain files and folders are taken")
    if entry.kind == "folder":
        return None
    key = "/".join(parts).casefold()
    if f"\0{key}" in state.seen:
        raise Refused(f"the name {shown} comes twice")
    state.seen.add(f"\0{key}")
    return _place(parts, state)


def _place(parts: tuple[str, ...], state: _Unpacking) -> tuple[str, ...] | None:
    """The session is the archive itself or one folder at its top."""
    for depth in (0, 1) if state.root is None else (len(state.root),):
        inner = parts[depth:]
        if _LAYOUT.fullmatch("/".join(inner)):
            state.root = parts[:depth] if state.root is None else state.root
            if parts[:depth] != state.root:
                raise Refused("it holds more than one session; import them one by one")
            return inner
    return None


def _write(entry: Entry, target: Path, state: _Unpacking, progress: Progress) -> None:
    if state.bytes + entry.size > state.most:
        raise Refused(f"it unpacks to more than {state.most} bytes from {state.packed}")
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if shutil.disk_usage(target.parent).free - state.limits.keep_bytes < entry.size:
        raise Refused(f"the disk has no room for {entry.name[:80]!r} ({entry.size} bytes)")
    done = 0
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file, entry.open() as content:
        for chunk in _chunks(content.read):
            done += len(chunk)
            if done > entry.size:
                raise Refused(f"{entry.name[:80]!r} is larger than it says ({entry.size} bytes)")
            file.write(chunk)
            progress(state.bytes + done)
    if done != entry.size:
        raise Refused(f"{entry.name[:80]!r} is smaller than it says ({done} of {entry.size} bytes)")
    state.bytes += done


def _chunks(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while chunk := read(CHUNK):
        yield chunk
