"""Three recorded sessions in one daemon, and every process of it killed at random instants: how long decisions stay away, and what is lost.

    python -m benchmarks.kill_matrix [--kills 10] [--seed 1] [--roles ingest,fusion,engine,gcs,raylet,api] [--keep FOLDER]

The sessions play configs/demo/scene.mp4 again and again (one long file) in real time, with the shipped model; segments of 2 s. One SIGKILL,
of one process of that role, at a random instant 2 to 5 s after all sessions were well again; the roles by turns in an order drawn by the
seed.

gap         the longest time without a decision of a session between the kill and its recovery, ms, as its JSONL sink's file shows it
            (a hop is 80 ms); "hit" is the session whose ingest actor was killed, "other" the two beside it
masked      from the kill to the first decision with all streams again, of the session that was hit
duplicates  ids that are twice in a sink's file, or twice in what a reader of the API's stream was given over all restarts of the API
closed      recorded segments that were finished before a kill: each must be there unchanged at the end (SHA-256), and
            `sessions recover` and `sessions verify` must find every file whole
in = out    at the end, of every edge of every session: entered = left + waiting + what was dropped, by reason
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from benchmarks.daemon_run import DaemonRun, Session, daemon_run, pause, wait
from benchmarks.follow import Follower
from benchmarks.machine import markdown, where_and_when
from benchmarks.media import looped
from benchmarks.recovery import WHOLE, titled
from benchmarks.session_kills import said
from pipeline.clock import SystemClock
from pipeline.session.audit import audit, digest
from pipeline.session.layout import segment_lines
from pipeline.session.read import Session as Recorded

ROOT = Path(__file__).resolve().parents[1]
SCENE = ROOT / "configs" / "demo" / "scene.mp4"
ROLES = {
    "ingest": "ray::Ingest",
    "fusion": "ray::Fusion",
    "engine": "pipeline.runtime.engine_main",
    "gcs": "gcs/gcs_server",
    "raylet": "raylet/raylet",
    "api": "pipeline.api.main",
}
NAMES = ("one", "two", "three")
CALM = 13
"""A session is well again with so many whole decisions in a row: a second of them."""
PATIENCE_S = 60


def config(media: Path, recordings: Path) -> dict[str, Any]:
    return {
        "model": "speaking",
        "sources": {"media": {"use": "pipeline.sources.file:MediaFile", "path": str(media)}},
        "inputs": {stream: f"media.{stream}" for stream in ("video", "audio", "text")},
        "run": {"speed": 1},
        "record": {"folder": str(recordings), "segment": 2.0, "free_mb": 0.0},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """at_ns: on the clock. gap_ms, masked_ms: by session. hit: whose ingest actor it was; empty: nobody's."""

    role: str
    hit: str
    gap_ms: Mapping[str, float]
    masked_ms: Mapping[str, float]


@dataclass(slots=True)
class Ledger:
    """What must hold at the end. closed: file -> SHA-256, by recording, as it was at one of the kills."""

    closed: dict[Path, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    problems: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10, help="of each role")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--roles", default=",".join(ROLES))
    parser.add_argument("--keep", type=Path, help="a folder for everything, which is left there")
    arguments = parser.parse_args()
    rng, roles = random.Random(arguments.seed), arguments.roles.split(",")
    order = [role for _ in range(arguments.kills) for role in rng.sample(roles, len(roles))]
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.keep or Path(temporary)).absolute()
        folder.mkdir(exist_ok=True)
        before = psutil.getloadavg()[0]
        kills, ledger = session_of_kills(folder, order, rng)
        print(f"{where_and_when()}; load before {before:.1f}, after {psutil.getloadavg()[0]:.1f}\n")
        print(f"{len(NAMES)} sessions of {SCENE.name} in real time; {arguments.kills} kills a role\n")
        print(markdown(HEADER, [row(role, [kill for kill in kills if kill.role == role]) for role in roles]))
        print("\n" + "\n".join([*summary(folder, ledger), *ledger.problems]))
    sys.exit(1 if ledger.problems else 0)


def session_of_kills(folder: Path, order: list[str], rng: random.Random) -> tuple[list[Kill], Ledger]:
    ledger, kills, media = Ledger(), [], folder / "scenes.mp4"
    looped(media, SCENE, 2 + len(order) // 2)  # half a minute a kill is enough
    with daemon_run(folder) as run:
        for name in NAMES:
            run.start(name, config(media, folder / "recordings"))
        followers = {name: Follower(run.api, name) for name in NAMES}
        for role in order:
            wait(lambda: all(well(session, 0) for session in run.sessions.values()), "all sessions are well", PATIENCE_S)
            pause(rng.uniform(2, 5))
            kills.append(kill(run, role, rng, ledger))
            print(role, kills[-1], file=sys.stderr, flush=True)
        pause(2)
        for name in NAMES:
            run.api().stop(name)
        wait(lambda: all(run.api().session(name)["gone"] for name in NAMES), "all have ended")
        pause(1)
        for name, follower in followers.items():
            follower.close()
            ledger.problems += told(run, name, follower)
    return kills, ledger


def well(session: Session, since_ns: int) -> bool:
    """Its last decisions are whole and without a hole, and all newer than that."""
    last = session.lines[-CALM:]
    windows = [line.decision["window"] for line in last]
    fresh = SystemClock().now_ns() - last[-1].at_ns < 500_000_000 if last else False
    whole = all(set(line.decision["presence"].values()) <= set(WHOLE) and line.at_ns > since_ns for line in last)
    return len(last) == CALM and fresh and whole and windows == list(range(windows[0], windows[0] + CALM))


def kill(run: DaemonRun, role: str, rng: random.Random, ledger: Ledger) -> Kill:
    victims = sorted((process for process in run.tree() if ROLES[role] in titled(process)), key=lambda process: process.pid)
    victim = rng.choice(victims)
    hit = owner(run, victim) if role == "ingest" else ""
    for recording in (run.folder / "recordings").iterdir():
        ledger.closed[recording] |= {file: line.sha256 for file, line in segment_lines(recording).items()}
    at_ns = SystemClock().now_ns()
    victim.kill()
    pause(0.3)
    wait(lambda: all(well(session, at_ns) for session in run.sessions.values()), f"all are well after {role}", PATIENCE_S)
    wait(lambda: run.api().service()["degraded"] == [], f"and said to be, after {role}", PATIENCE_S)
    return Kill(
        role=role,
        hit=hit,
        gap_ms={name: gap_ms(session, at_ns) for name, session in run.sessions.items()},
        masked_ms={name: masked_ms(session, at_ns) for name, session in run.sessions.items()},
    )


def owner(run: DaemonRun, victim: psutil.Process) -> str:
    """The session that an ingest actor is of, as the files that it records to say."""
    paths = [file.path for file in victim.open_files()]
    return next(name for name in NAMES if any(f"/recordings/{name}-" in path for path in paths))


def gap_ms(session: Session, at_ns: int) -> float:
    """The longest time between two decisions, from the last one before the kill on."""
    before = [line.at_ns for line in session.lines if line.at_ns <= at_ns][-1:]
    times = [*before, *(line.at_ns for line in session.lines if line.at_ns > at_ns)]
    return max((after - before) / 1e6 for before, after in pairwise(times))


def masked_ms(session: Session, at_ns: int) -> float:
    """From the kill to the first decision after the last that lacked a stream; 0: none did."""
    after = [line for line in session.lines if line.at_ns > at_ns]
    masked = [n for n, line in enumerate(after) if not set(line.decision["presence"].values()) <= set(WHOLE)]
    return (after[masked[-1] + 1].at_ns - at_ns) / 1e6 if masked else 0.0


def told(run: DaemonRun, name: str, follower: Follower) -> Iterator[str]:
    """What is wrong with what a session's sink and the API's reader were told, and with what its edges counted."""
    ids = [line.decision["id"] for line in run.sessions[name].lines]
    twice = len(ids) - len(set(ids))
    first = ids.index(follower.ids[0]) if follower.ids and follower.ids[0] in ids else 0
    print(f"{name}: {len(ids)} decisions; {len(follower.ids)} by the API, in {follower.connections} connections", file=sys.stderr)
    if twice or follower.twice():
        yield f"{name}: {twice} ids twice in its sink, {len(follower.twice())} at the API"
    if missing := set(ids[first:]) - set(follower.ids):
        yield f"{name}: {len(missing)} decisions did not reach the API's reader"
    for edge in run.status(name)["edges"]:
        if edge["entered"] != edge["left"] + edge["waiting"] + sum(edge["dropped"].values()):
            yield f"{name}: {edge} does not add up"
        print(f"{name}: {edge}", file=sys.stderr)


def summary(folder: Path, ledger: Ledger) -> Iterator[str]:
    """Of the recordings, which are recovered by it; what is wrong goes to the ledger's problems."""
    files = 0
    for recording, closed in ledger.closed.items():
        changed = [file for file, sha256 in closed.items() if digest(recording / file) != sha256]
        ledger.problems += [f"{recording.name}: {file} was finished and has changed" for file in changed]
        ledger.problems += said(["sessions", "recover", str(recording)], "")
        ledger.problems += [f"{one.file} is {one.state}: {one.why}" for one in audit(Recorded.open(recording)) if one.state != "whole"]
        ledger.problems += said(["sessions", "verify", str(recording)], "")
        files += len(closed)
    yield f"{files} segments were finished before a kill; {len(ledger.problems)} problems"


HEADER = ["killed", "kills", "gap ms, min", "median", "max", "of the session hit, median", "max", "its masked ms, median", "max"]


def row(role: str, kills: list[Kill]) -> list[str]:
    gaps = [gap for kill in kills for gap in kill.gap_ms.values()]
    hit = [kill for kill in kills if kill.hit]
    cells = [role, str(len(kills)), f"{min(gaps):.0f}", f"{statistics.median(gaps):.0f}", f"{max(gaps):.0f}"]
    for values in ([kill.gap_ms[kill.hit] for kill in hit], [kill.masked_ms[kill.hit] for kill in hit]):
        cells += [f"{statistics.median(values):.0f}", f"{max(values):.0f}"] if values else ["", ""]
    return cells


if __name__ == "__main__":
    main()
