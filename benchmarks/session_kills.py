"""What a kill -9 costs a recording, and what it costs an MP4 and an MCAP file of the same packets.

    python -m benchmarks.session_kills [--kills 10] [--seed 1] [--input FILE ...] [--skip-peers]

`sensorium run configs/file.yaml --record` in real time on Ray, with segments of 1 s. In each session three processes are killed one
after the other, each 2 to 5 s after it began to record (or its predecessor was replaced): the ingest actor, the fusion actor and the
process that the person started; the engine then ends by itself. So the logs of the first lives say what a kill costs.

lost    session time from the oldest thing that was passed on by the kill and cannot be read to the kill; 0: there is no such thing.
        benchmarks/kill_losses.py says who the witness is: what was not due yet, or late on a busy machine, is not lost
age     from the end of what can be read to the kill
behind  from the newest thing that was passed on to the kill: what age would be if nothing were lost (the pace of the stream, lateness)

Every session must open; `replay --verify` must say identical (up to the loss) before and after `sessions recover`; `sessions verify`
must find every file whole then; no segment that was finished before a kill may have changed. Exit 1 where one of these fails.
The MP4 and the MCAP file hold the packets of each input, written when they are due, killed 3 to 8 s after the first.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import kill_losses, kill_peers
from benchmarks.kill_losses import Loss
from benchmarks.machine import markdown, where_and_when
from benchmarks.recovery import VICTIMS, titled
from benchmarks.recovery import Session as Running
from pipeline.cli import main as sensorium
from pipeline.clock import SystemClock
from pipeline.session.audit import audit, digest
from pipeline.session.layout import EVENTS, NOTES, read_lines, segment_lines, segments
from pipeline.session.read import Session

ROOT = Path(__file__).resolve().parents[1]
SENSORIUM = [sys.executable, "-P", "-m", "pipeline.cli"]
S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """session_ns: when. closed: the segments finished by then, with their checksums."""

    session_ns: int
    closed: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """One session and what was killed in it. lines: (a decision's start, when its line was read), session time."""

    folder: Path
    kills: Mapping[str, Kill]
    lines: Sequence[tuple[int, int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10, help="of each kind of process")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--input", nargs="+", type=Path, default=[ROOT / "configs" / "demo" / "scene.mp4"], help="played in turn, again and again"
    )
    parser.add_argument("--keep", type=Path, help="record into this folder and leave it there")
    parser.add_argument("--skip-peers", action="store_true")
    arguments = parser.parse_args()
    rng, files = random.Random(arguments.seed), [path.absolute() for path in arguments.input]
    found: dict[tuple[str, str], list[Loss]] = defaultdict(list)
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        for number in range(arguments.kills):
            killed = killed_session(folder / str(number), files, rng)
            for name, loss in losses(killed):
                found[name].append(loss)
            problems += [f"session {number}: {problem}" for problem in checked(killed)]
            print(number, {victim: kill.session_ns / S for victim, kill in killed.kills.items()}, *problems, file=sys.stderr)
            print(markdown(HEADER, [row(*name, of) for name, of in found.items()]), file=sys.stderr, flush=True)
        rows = [row(*name, of) for name, of in found.items()]
        for file in [] if arguments.skip_peers else files:
            rows += peers(file, folder, arguments.kills, rng)
    print(f"{where_and_when()}\n\n{arguments.kills} sessions, 3 kills each; {', '.join(file.name for file in files)}\n")
    print(markdown(HEADER, rows))
    print("\n" + ("\n".join(problems) or f"all {arguments.kills} open, are verified, recovered and verified; nothing finished was lost"))
    sys.exit(1 if problems else 0)


def killed_session(store: Path, files: Sequence[Path], rng: random.Random) -> Killed:
    store.mkdir()
    with running(store, files) as (run, folder):
        anchor = next(note["anchor"] for note in read_lines(folder / NOTES) if "anchor" in note)
        behind_ns = anchor["monotonic_ns"] - anchor["session_ns"]
        kills = {}
        for victim in ("ingest", "fusion", "supervisor"):
            process = victim_of(run, victim)
            wait(lambda name=victim: begun_again(folder, name), "the process that was replaced records again")
            pause(rng.uniform(2, 5))
            kills[victim] = kill(process, folder, behind_ns)
    lines = [(line.start_ms * 1_000_000, line.at_ns - behind_ns) for line in run.lines]
    return Killed(folder=folder, kills=kills, lines=lines)


@contextmanager
def running(store: Path, files: Sequence[Path]) -> Iterator[tuple[Running, Path]]:
    """A run that records, once it does; in the end everything of it is gone."""
    source = {"use": "pipeline.sources.playlist:Playlist", "paths": [str(file) for file in files] * 100}
    words = ["run", str(ROOT / "configs" / "file.yaml"), "--set", f"sources.media={json.dumps(source)}", "--plain"]
    words += ["--record", str(store), "--set", "record.segment=1", "--set", "record.free_mb=0"]
    with (store / "errors").open("w") as errors:
        run = Running(subprocess.Popen([*SENSORIUM, *words], stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT))
    reader = threading.Thread(target=run.read)
    reader.start()
    tree: list[psutil.Process] = []
    try:
        wait(lambda: run.lines and any("anchor" in note for path in store.glob(f"*/{NOTES}") for note in read_lines(path)), "a recording")
        (notes,) = store.glob(f"*/{NOTES}")
        tree = psutil.Process(run.process.pid).children(recursive=True)
        yield run, notes.parent
        _, alive = psutil.wait_procs(tree, timeout=60)
        assert not alive, f"still there a minute after the supervisor: {alive}"
    finally:
        run.process.kill()
        run.process.wait()
        reader.join()


def victim_of(run: Running, victim: str) -> psutil.Process:
    """The process to kill, which may be about to start."""
    supervisor = psutil.Process(run.process.pid)
    if victim == "supervisor":
        return supervisor

    def found() -> list[psutil.Process]:
        return [child for child in supervisor.children(recursive=True) if titled(child).startswith(VICTIMS[victim])]

    wait(lambda: bool(found()), f"a {VICTIMS[victim]}")
    return found()[0]


def begun_again(folder: Path, victim: str) -> bool:
    """Whoever was killed before this victim records again."""
    if victim == "fusion":
        return all(any(segment.name.actor >= 1 for segment in segments(path)) for path in (folder / "streams").iterdir())
    return victim != "supervisor" or any(segment.name.actor >= 1 for segment in segments(folder / EVENTS))


def kill(process: psutil.Process, folder: Path, behind_ns: int) -> Kill:
    closed = {file: line.sha256 for file, line in segment_lines(folder).items()}
    now_ns = SystemClock().now_ns()
    process.kill()
    return Kill(session_ns=now_ns - behind_ns, closed=closed)


def losses(killed: Killed) -> Iterator[tuple[tuple[str, str], Loss]]:
    """((victim, what), loss)."""
    session, at_ns = Session.open(killed.folder), {victim: one.session_ns for victim, one in killed.kills.items()}
    for what, loss in kill_losses.of_ingest(session, at_ns["ingest"]):
        yield ("ingest actor", what), loss
    yield ("fusion actor", "events at the aligner"), kill_losses.of_fusion(session, at_ns["fusion"])
    yield ("supervisor", "decisions"), kill_losses.of_supervisor(session, killed.lines, at_ns["supervisor"])


def checked(killed: Killed) -> Iterator[str]:
    """What is wrong with the session; it is recovered afterwards."""
    folder = str(killed.folder)
    finished = {file: sha256 for kill in killed.kills.values() for file, sha256 in kill.closed.items()}
    yield from (f"{file} was finished and has changed" for file, sha256 in finished.items() if digest(killed.folder / file) != sha256)
    before = {finding.file.removesuffix(".part"): finding.extent.rows for finding in audit(Session.open(folder))}
    yield from said(["replay", folder, "--verify"], "identical: ")
    yield from said(["sessions", "recover", folder], "")
    after = {finding.file: finding for finding in audit(Session.open(folder))}
    yield from (f"{file} is {finding.state}" for file, finding in after.items() if finding.state != "whole")
    yield from (
        f"{file}: recover lost rows" for file, rows in before.items() if rows and (file not in after or after[file].extent.rows < rows)
    )
    yield from said(["sessions", "verify", folder], "")
    yield from said(["replay", folder, "--verify"], "identical: ")


def said(words: Sequence[str], begins: str) -> Iterator[str]:
    """What is wrong with what `sensorium WORDS` says, and how it ends."""
    out, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        code = sensorium(list(words))
    if code or not out.getvalue().startswith(begins):
        yield f"{' '.join(words)}: exit {code}: {out.getvalue()} {errors.getvalue()}"


def peers(file: Path, folder: Path, kills: int, rng: random.Random) -> Iterator[list[str]]:
    for kind, name in (("mp4", "plain MP4"), ("mcap", "MCAP, defaults")):
        after_ns = [round(rng.uniform(3, 8) * S) for _ in range(kills)]
        lost = defaultdict(list)
        for by_stream, _ in kill_peers.losses(kind, file, folder, after_ns):
            for stream, lost_ns in by_stream.items():
                lost[stream].append(Loss(lost_ns=lost_ns, age_ns=lost_ns, behind_ns=0))
        for stream, found in lost.items():
            yield [*row(f"writer of {name}", f"{stream} of {file.name}", found)[:6], *["-"] * 4]


HEADER = ["killed", "what", "kills", "lost ms, min", "median", "max", "age ms, median", "max", "behind ms, median", "max"]


def row(killed: str, what: str, found: Sequence[Loss]) -> list[str]:
    lost, age, behind = ([getattr(one, name) / 1e6 for one in found] for name in ("lost_ns", "age_ns", "behind_ns"))
    figures = [min(lost), statistics.median(lost), max(lost)]
    figures += [figure for values in (age, behind) for figure in (statistics.median(values), max(values))]
    return [killed, what, str(len(found)), *(f"{figure:.0f}" for figure in figures)]


def pause(seconds: float) -> None:
    clock = SystemClock()
    clock.sleep_until(clock.now_ns() + round(seconds * S))


def wait(is_so: Callable[[], object], what: str, seconds: float = 180) -> None:
    clock = SystemClock()
    end_ns = clock.now_ns() + round(seconds * S)
    while not is_so():
        assert clock.now_ns() < end_ns, f"not within {seconds} s: {what}"
        pause(0.02)


if __name__ == "__main__":
    main()
