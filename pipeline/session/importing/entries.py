"""The entries of a zip or tar file, one by one, whatever they claim to be. No header can make the reader allocate what it claims."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, cast

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MOST_AT_ONCE = 16 << 20
"""A directory or a header of more than this is not read: an honest archive of a session has none."""


class Refused(Exception):
    """The archive is not unpacked; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """size: what it claims. kind: "file", "folder", or what else it is, for people. open: its content; valid until the next entry."""

    name: str
    kind: str
    size: int
    open: Callable[[], IO[bytes]]


def entries(path: Path, most_bytes: int) -> Iterator[Entry]:
    """most_bytes: of a tar file, unpacked. Raises Refused, and what zipfile, tarfile and the decompressors raise."""
    yield from _zip(path) if path.name.lower().endswith(".zip") else _tar(path, most_bytes)


class Bounded(io.RawIOBase):
    """A file that is not read beyond most_bytes, and never much at once."""

    def __init__(self, file: IO[bytes], most_bytes: int | None = None) -> None:
        self._file, self._most_bytes = file, most_bytes

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        wanted = MOST_AT_ONCE + 1 if size < 0 else size
        data = b"" if wanted > MOST_AT_ONCE and size >= 0 else self._file.read(wanted)
        if wanted > MOST_AT_ONCE and (size >= 0 or len(data) > MOST_AT_ONCE):
            raise Refused(f"it has a header or a directory of more than {MOST_AT_ONCE >> 20} MiB")
        self._check(self._file.tell())
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if whence == 0:
            self._check(offset)
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def _check(self, position: int) -> None:
        if self._most_bytes is not None and position > self._most_bytes + MOST_AT_ONCE:
            raise Refused(f"it unpacks to more than {self._most_bytes} bytes")


def _zip(path: Path) -> Iterator[Entry]:
    with path.open("rb") as file, zipfile.ZipFile(cast(IO[bytes], Bounded(file))) as archive:
        for info in archive.infolist():
            yield Entry(name=info.filename, kind=_zip_kind(info), size=info.file_size, open=partial(archive.open, info))


def _zip_kind(info: zipfile.ZipInfo) -> str:
    mode = info.external_attr >> 16
    if info.flag_bits & 1:
        return "file with a password"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "file that is not deflated"
    if info.orig_filename != info.filename and "\0" in info.orig_filename:
        return "file with a zero byte in its name"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "link" if stat.S_ISLNK(mode) else "device"
    return "folder" if info.is_dir() else "file"


def _tar(path: Path, most_bytes: int) -> Iterator[Entry]:
    with ExitStack() as stack:
        file = Bounded(stack.enter_context(_decompressed(path)), most_bytes)
        archive = stack.enter_context(tarfile.open(fileobj=cast(IO[bytes], file), mode="r:"))
        while (member := archive.next()) is not None:
            kind = "file" if member.isreg() and not member.issparse() else "folder" if member.isdir() else _tar_kind(member)
            yield Entry(name=member.name, kind=kind, size=member.size, open=partial(_content, archive, member))


def _tar_kind(member: tarfile.TarInfo) -> str:
    return "link" if member.issym() or member.islnk() else "device" if member.isdev() else "special file"


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(member)
    if file is None:
        raise Refused(f"{member.name[:80]!r} has no content")
    return file


def _decompressed(path: Path) -> IO[bytes]:
    name = path.name.lower()
    if name.endswith((".gz", ".tgz")):
        return cast(IO[bytes], gzip.open(path))
    if name.endswith(".bz2"):
        return cast(IO[bytes], bz2.open(path))
    if name.endswith(".xz"):
        return cast(IO[bytes], lzma.open(path))
    return path.open("rb")
