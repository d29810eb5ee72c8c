"""`sensorium sessions label, import, export`: what goes into recorded sessions and what comes out of them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console as Terminal
from rich.progress import Progress

from operators.errors import ConfigError, SessionError
from pipeline.cli import say
from pipeline.commands.stopping import tidy_on_sigterm
from pipeline.mask import printable
from pipeline.media.container import check_file
from pipeline.session.audit import audit
from pipeline.session.export.write import Format, export
from pipeline.session.importing.archive import import_archive, is_archive
from pipeline.session.importing.media import import_media
from pipeline.session.labelfiles import placed, read_label_file
from pipeline.session.labels import checked_name, label_name, overlap, write_labels
from pipeline.session.purge import size_of
from pipeline.session.read import Session

_SHIFT = re.compile(r"([+-]?)(\d+(?:\.\d+)?)(ms|s)?")


def label_session(path: str, file: str, *, name: str | None, shift: str, tier: str | None) -> None:
    session = Session.open(path)
    chosen = label_name(Path(file).stem) if name is None else checked_name(name)
    spans = read_label_file(Path(file), tier)
    labels, cut = placed(spans, file, shift_ns=_shift_ns(shift), end_ns=session.end_ns())
    written = write_labels(session.folder, chosen, labels)
    kinds = sorted({label.label for label in labels})
    print(f"{written}: {len(labels)} labels ({printable(', '.join(kinds))[:200]})")
    if cut:
        say(f"note: {cut} of them ended after the session and end with it now")
    if (both := overlap(labels)) is not None:
        say(f"note: two labels hold at {both.start_ns / 1e9:.3f} s; --truth and training want one at a time")


def _shift_ns(text: str) -> int:
    match = _SHIFT.fullmatch(text.strip())
    if match is None:
        raise ConfigError("--shift", "", f"is {text!r}; a time like 1.5s or -200ms is wanted", "it is added to every label")
    sign, number, unit = match.groups()
    return round(float(f"{sign}{number}") * (1e6 if unit == "ms" else 1e9))


def import_files(files: Sequence[str], store: str) -> None:
    """One after the other; the first that cannot be imported ends it."""
    for file in files:
        path = Path(file)
        if path.is_dir():
            raise SessionError(file, "is a folder; media files and archives are imported, a recorded session is used where it is")
        check_file(path)
        with progress_bar(f"importing {path.name}") as bar:
            if not is_archive(path):
                folder = import_media(path, Path(store), bar)
            else:
                unpacked = import_archive(path, Path(store), lambda done, bar=bar: bar(done, None))  # type: ignore[misc]
                folder = unpacked.folder
        print(folder)
        if is_archive(path):
            _tell(folder, unpacked.left_out)


def _tell(folder: Path, left_out: int) -> None:
    """What an archive brought that is not as it should be."""
    if left_out:
        say(f"note: {left_out} files of the archive belong to no session and were left out")
    for finding in audit(Session.open(folder)):
        if finding.state in ("damaged", "missing"):
            say(f"note: {finding.file}: {finding.state}: {finding.why}")


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A function to be told (how far, of how much); a bar on stderr, where that is a terminal. SIGTERM ends the work like Ctrl-C."""
    with tidy_on_sigterm():
        if not sys.stderr.isatty():
            yield lambda done, total: None
            return
        with Progress(console=Terminal(stderr=True), transient=True) as progress:
            task = progress.add_task(printable(what), total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)


def export_session(path: str, out: str, to: Format | None) -> None:
    session = Session.open(path)
    end_ns = session.end_ns()
    with progress_bar(f"exporting {session.name}") as bar:
        counts = export(session, Path(out), to, lambda at_ns: bar(at_ns, end_ns))
    for name, count in counts.items():
        print(f"{count:>9}  {printable(name)}")
    print(f"{out}: {size_of(Path(out))} bytes")
    for file, why in session.faults.found.items():
        say(f"note: {Path(file).name} is damaged: {why}")
