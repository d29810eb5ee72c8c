"""`sensorium sessions`: what recordings there are, what is in one, whether it is whole, mending and deleting."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console as Terminal
from rich.progress import Progress
from rich.table import Table

from operators.errors import SensoriumError, SessionError
from pipeline.mask import printable
from pipeline.session.audit import Finding, audit
from pipeline.session.layout import MANIFEST
from pipeline.session.lock import is_being_recorded
from pipeline.session.loss import cuts
from pipeline.session.purge import purge, size_of
from pipeline.session.read import Session
from pipeline.session.recover import recover
from pipeline.sinks.plain import clock_text

DAMAGED = 1


def list_sessions(store: str) -> None:
    folder = Path(store)
    found = [path for path in (sorted(folder.iterdir()) if folder.is_dir() else []) if (path / MANIFEST).is_file()]
    if not found:
        print(f"no recorded session in {folder}")
        return
    table = _table("session", "recorded", "length", "MB", "model", "streams", "state")
    for path in found:
        try:
            session = Session.open(path)
            table.add_row(path.name, *_figures(session))
        except SensoriumError as error:
            table.add_row(path.name, "-", "-", "-", "-", "-", printable(str(error).removeprefix(f"{path}: ")))
    _terminal().print(table)


def _figures(session: Session) -> tuple[str, ...]:
    manifest = session.manifest
    streams = ", ".join(session.streams())
    return (
        manifest.created[:19].replace("T", " "),
        clock_text(session.end_ns()),
        f"{size_of(session.folder) / 1e6:.1f}",
        "-" if manifest.model is None else manifest.model.name,
        streams,
        state_of(session),
    )


def state_of(session: Session) -> str:
    if is_being_recorded(session.folder):
        return "recording"
    return "complete" if session.ended() is not None else "cut off"


def show_session(path: str) -> None:
    session = Session.open(path)
    manifest, terminal = session.manifest, _terminal()
    head = _table("", "")
    head.show_header = False
    for name, value in _facts(session).items():
        head.add_row(name, printable(value))
    terminal.print(head)
    table = _table("stream", "feeds", "packets", "from", "to", "files", "dropped")
    fed = {recorded.stream: name for name, recorded in manifest.inputs.items()}
    for stream in session.streams():
        table.add_row(*_stream_row(session, stream, fed.get(stream, "-")))
    terminal.print(table)
    for note in session.notes():
        if "event" in note:
            terminal.print(f"{clock_text(int(note.get('session_ns', 0)))}  {printable(str(note['event']))}", soft_wrap=True)
    for file, why in session.faults.found.items():
        terminal.print(f"damaged: {Path(file).name}: {printable(why)}", soft_wrap=True)


def _facts(session: Session) -> dict[str, str]:
    manifest, end = session.manifest, session.ended() or {}
    decisions = sum(1 for _ in session.decisions())
    return {
        "session": manifest.session,
        "recorded": f"{manifest.created} by {manifest.software}",
        **({"imported": f"from {manifest.imported}"} if manifest.imported else {}),
        "state": state_of(session),
        "length": clock_text(session.end_ns()),
        "model": "none" if manifest.model is None else f"{manifest.model.name}@{manifest.model.digest[:12]}",
        "decisions": f"{decisions}, {end.get('missed_deadlines', '?')} after their deadline, {end.get('skipped', '?')} skipped",
        "deadline": f"{manifest.deadline_ms:g} ms" if manifest.paced else "none: it was read at full speed",
        "labels": ", ".join(session.label_names()) or "none",
        "bytes": f"{size_of(session.folder)}",
    }


def _stream_row(session: Session, stream: str, fed: str) -> list[str]:
    packets, first_ns, last_ns, dropped = 0, None, 0, 0
    for row in session.stream_rows(stream):
        if row["kind"] == "packet":
            packets += 1
            first_ns = row["start_ns"] if first_ns is None else first_ns
            last_ns = max(last_ns, row["end_ns"])
        dropped += row["seq"] if row["kind"] == "dropped" else 0
    files = len(session.stream_segments(stream)) + len(session.media_segments(stream))
    return [stream, fed, str(packets), clock_text(first_ns or 0), clock_text(last_ns), str(files), str(dropped)]


def verify_session(path: str) -> int:
    """Every checksum, every row. 1 where something is damaged or missing."""
    session = Session.open(path)
    findings = list(_progress(audit(session), "verifying"))
    bad = [finding for finding in findings if finding.state in ("damaged", "missing")]
    for finding in bad:
        print(f"{finding.file}: {finding.state}: {printable(finding.why)} ({finding.extent.rows} rows are readable)")
    open_files = [finding for finding in findings if finding.state in ("open", "unlisted")]
    for finding in open_files:
        print(f"{finding.file}: not finished, {finding.extent.rows} rows are readable")
    for cut in cuts(session) if session.manifest.model is not None else ():  # an imported file has no windows to lose
        print(f"gap: {cut.why}")
    whole = sum(finding.state == "whole" for finding in findings)
    print(f"{whole} of {len(findings)} files are whole, {sum(finding.bytes for finding in findings)} bytes")
    if open_files and not is_being_recorded(session.folder):
        print(f"it was cut off: `sensorium sessions recover {path}` finishes it")
    return DAMAGED if bad else 0


def recover_session(path: str) -> None:
    folder = Path(path)
    before = {finding.file: finding for finding in audit(Session.open(folder))}
    repairs = recover(folder, lambda repair: print(f"{repair.file}: {printable(repair.done)}"))
    if not repairs:
        print("nothing to mend")
        return
    for stream, lost_ns in losses(before).items():
        print(f"{stream}: ends {lost_ns / 1e6:.0f} ms before the last thing that was recorded")


def losses(findings: dict[str, Finding]) -> dict[str, int]:
    """By folder: how much earlier its readable part ends than that of the one that lasted longest, ns."""
    ends: dict[str, int] = {}
    for file, finding in findings.items():
        name = file.rpartition("/")[0] + (" (media)" if file.endswith(".mkv") else "")
        ends[name] = max(ends.get(name, 0), finding.extent.end_ns)
    last_ns = max(ends.values(), default=0)
    return {name: last_ns - end_ns for name, end_ns in sorted(ends.items())}


def purge_session(path: str, *, yes: bool) -> None:
    """Deletes it altogether, and looks whether it is gone."""
    folder = Path(path)
    if not yes:
        length = clock_text(Session.open(folder).end_ns())
        raise SessionError(path, f"would be deleted with {size_of(folder)} bytes ({length}); say --yes")
    print(f"{path}: {purge(folder)}")


def _progress(findings: Iterator[Finding], what: str) -> Iterator[Finding]:
    with Progress(console=Terminal(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(what, total=None)
        for finding in findings:
            progress.update(task, description=f"{what} {finding.file}", advance=1)
            yield finding


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _terminal() -> Terminal:
    return Terminal(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160)
