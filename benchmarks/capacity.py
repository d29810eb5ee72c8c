"""How many sessions one machine takes, added one by one to a running daemon, beside N times the bare floor of their media.

    python -m benchmarks.capacity [--most 12] [--model speaking] [--picture reel|pattern] [--seconds 30] [--settle 8] [--aim 99.9]

Each session plays a minute of 640x480 H.264 at 30 fps with 16 kHz AAC and captions (benchmarks/media.py) again and again in real time, one
decoder thread. No restart between rows: session N+1 is started while N run, and the row is measured `settle` seconds later for `seconds`.
The daemon's own admission is off: this is what its limit must be set by. It ends with the second row in a row that misses the aim.

on time    decisions out by the deadline, of all windows that ended in the span of all sessions, %. A window that was skipped is not on time
whole      of the decisions, those in which the deadline cut off no stream, %
p50, p99   of a decision's total latency after its window's end, ms (what was skipped has none)
cores      CPU of the daemon and all it started, in cores (user + system); floor: N times what bare PyAV takes for the same file at the same
           pace (decode, one resize, resample; benchmarks/cost_job.py), measured alone before the first session, the cheaper of two
PSS, USS   of the same processes, MB: PSS shares what they have in common, USS leaves it out. each: what the last session added to PSS
by part    the same cores, of every kind of process: of the last row that meets the aim
during     the longest gap between two decisions of those that ran, while this row's session was started, ms (a hop is 80 ms)
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from benchmarks.cost import DATA, job, write_config
from benchmarks.cost import Setup as CostSetup
from benchmarks.daemon_run import Arrived, DaemonRun, Session, daemon_run, pause
from benchmarks.machine import markdown, where_and_when
from benchmarks.media import make_media, pattern, reel
from benchmarks.process_tree import TreeCpu
from benchmarks.recovery import titled
from pipeline.clock import SystemClock
from pipeline.config import load_config
from pipeline.model import load_model

S = 1_000_000_000
MEDIA_S = 60
MB = 1_000_000
PARTS = {"sources": "ray::Ingest", "models": "ray::Fusion", "engine": "engine_main", "supervisor": "--attached", "API": "pipeline.api.main"}
OTHER = "Ray itself"
CUT = ("partial", "timeout")
HEADER = ["sessions", "on time %", "whole %", "p50 ms", "p99 ms", "skipped", "cores", "x floor", "PSS MB", "each", "USS MB", "during ms"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """sessions: how many. windows: that ended in the span; latencies_ms: of those that were decided."""

    sessions: int
    windows: int
    on_time: int
    whole: int
    latencies_ms: Sequence[float]
    cores: float
    floor_cores: float
    pss: int
    uss: int
    during_ms: float
    by_part: dict[str, float]

    @property
    def share(self) -> float:
        return 100.0 * self.on_time / self.windows

    def cells(self, before: Row | None) -> list[str]:
        each = (self.pss - before.pss) / MB if before is not None else self.pss / MB
        late = sorted(self.latencies_ms)
        quantiles = [f"{late[min(len(late) - 1, int(len(late) * share))]:.0f}" for share in (0.5, 0.99)]
        cost = [f"{self.cores:.2f}", f"{self.cores / self.floor_cores:.2f}", f"{self.pss / MB:.0f}", f"{each:+.0f}", f"{self.uss / MB:.0f}"]
        counts = [f"{self.share:.2f}", f"{100.0 * self.whole / len(late):.2f}", *quantiles, str(self.windows - len(late))]
        return [str(self.sessions), *counts, *cost, f"{self.during_ms:.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=12)
    parser.add_argument("--model", default="speaking")
    parser.add_argument("--picture", choices=["reel", "pattern"], default="reel" if (DATA / "grid_s1_dev").exists() else "pattern")
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--settle", type=int, default=8)
    parser.add_argument("--aim", type=float, default=99.9)
    args = parser.parse_args()
    print(f"{where_and_when()}; load {psutil.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        media = folder / "media.mp4"
        # Long enough for the last session: each plays from its own second on.
        length_s = 60 + args.most * (args.settle + args.seconds + 10)
        make_media(media, reel(DATA / "grid_s1_dev", length_s) if args.picture == "reel" else pattern(length_s))
        floor_cores = floor(folder, media, args.model)
        print(
            f"\n{args.picture}, model {args.model}, {args.seconds} s a row; the floor of one session: {floor_cores:.3f} cores\n", flush=True
        )
        (folder / "daemon").mkdir()
        with daemon_run(folder / "daemon") as run:
            found = list(rows(run, media, args, floor_cores))
    print(markdown(HEADER, [row.cells(before) for row, before in zip(found, [None, *found], strict=False)]))
    enough = [row for row in found if row.share >= args.aim] or found[:1]
    parts = enough[-1].by_part
    print("\n" + markdown(["of " + str(enough[-1].sessions), *parts], [["cores", *(f"{cores:.2f}" for cores in parts.values())]]))
    print(f"\nat least {args.aim} % on time up to {enough[-1].sessions} sessions; load at the end {psutil.getloadavg()[0]:.1f}")


def floor(folder: Path, media: Path, model: str) -> float:
    """Cores that bare PyAV takes for one session."""
    found = load_model(model).folder.resolve()
    setup = CostSetup(folder=folder, media=media, model=str(found), null=found, paced_s=20)
    config = write_config(setup, "floor", model=setup.model, threads="none", speed=1, runner="inline")
    return min(job("floor", "floor", config).cpu_ms for _ in range(2)) / 1000


def times_played(args: argparse.Namespace, number: int) -> int:
    """Until the last row is done."""
    return 2 + (args.most - number + 1) * (args.settle + args.seconds + 10) // MEDIA_S


def rows(run: DaemonRun, media: Path, args: argparse.Namespace, floor_cores: float) -> Iterator[Row]:
    clock, missed = SystemClock(), 0
    for number in range(1, args.most + 1):
        begun_ns = clock.now_ns()
        before = list(run.sessions.values())
        run.start(f"s{number}", config([media] * times_played(args, number), args.model))
        pause(args.settle)
        during_ms = max((gap_ms(session, begun_ns) for session in before), default=0.0)
        row = measured(run, args.seconds, floor_cores * number, during_ms)
        print(json.dumps(row.cells(None)), file=sys.stderr, flush=True)
        yield row
        missed = missed + 1 if row.share < args.aim else 0
        if missed == 2:
            return


def config(media: Sequence[Path], model: str) -> dict[str, Any]:
    return {
        "model": model,
        "sources": {"media": {"use": "pipeline.sources.playlist:Playlist", "paths": [str(path) for path in media], "threads": "none"}},
        "inputs": {stream: f"media.{stream}" for stream in ("video", "audio", "text")},
        "run": {"speed": 1},
    }


def gap_ms(session: Session, begun_ns: int) -> float:
    times = [line.at_ns for line in session.lines if line.at_ns >= begun_ns]
    return max(((after - before) / 1e6 for before, after in pairwise(times)), default=0.0)


def measured(run: DaemonRun, seconds: int, floor_cores: float, during_ms: float) -> Row:
    clock, tree = SystemClock(), TreeCpu(run.process.pid)
    cpu_s, parts, begun_ns = tree.sample(), cpu_by_part(run), clock.now_ns()
    for _ in range(seconds * 2):
        pause(0.5)
        tree.sample()
    cores = (tree.sample() - cpu_s) / ((clock.now_ns() - begun_ns) / S)
    until_ns = clock.now_ns()
    by_part = {part: (cpu - parts[part]) / ((until_ns - begun_ns) / S) for part, cpu in cpu_by_part(run).items()}
    pss, uss = memory(run.tree())
    pause(1)  # what was late by then
    windows, decided = 0, list[Arrived]()
    for session in run.sessions.values():
        inside = [line for line in session.lines if begun_ns <= line.at_ns < until_ns]
        decided += inside
        windows += inside[-1].decision["window"] - inside[0].decision["window"] + 1
    deadline_ns = load_config(run.folder / "configs" / "s1.yaml").align.deadline_ms * 1e6
    latencies = [line.decision["latency_ns"]["total"] for line in decided]
    return Row(
        sessions=len(run.sessions),
        windows=windows,
        on_time=sum(latency <= deadline_ns for latency in latencies),
        whole=sum(not any(state in CUT for state in line.decision["presence"].values()) for line in decided),
        latencies_ms=[latency / 1e6 for latency in latencies],
        cores=cores,
        floor_cores=floor_cores,
        pss=pss,
        uss=uss,
        during_ms=during_ms,
        by_part=by_part,
    )


def cpu_by_part(run: DaemonRun) -> dict[str, float]:
    """Seconds of user and system time so far."""
    found = dict.fromkeys([*PARTS, OTHER], 0.0)
    for process in run.tree():
        title = titled(process)
        part = next((part for part, words in PARTS.items() if words in title), OTHER)
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        found[part] += times.user + times.system
    return found


def memory(processes: Sequence[psutil.Process]) -> tuple[int, int]:
    """Sums of PSS and USS, bytes."""
    pss = uss = 0
    for process in processes:
        try:
            info = process.memory_full_info()
        except psutil.Error:
            continue
        pss, uss = pss + info.pss, uss + info.uss
    return pss, uss


if __name__ == "__main__":
    main()
