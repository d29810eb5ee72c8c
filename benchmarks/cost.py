"""What a whole run costs beside bare PyAV: CPU per second of media, and how much faster than real time it goes.

    python -m benchmarks.cost [--model speaking] [--picture reel|pattern] [--seconds 60] [--paced 20] [--rounds 2] [--runners inline,ray]

The file: 640x480 H.264 at 30 fps, 16 kHz AAC, captions. benchmarks/media.py makes it: `reel` from GRID clips, else `pattern`.

floor              PyAV alone: decode, one swscale step to the model's picture size, decode and resample the sound, one decoder thread.
                   In real time it costs more than at full speed (cold caches, a sleep for each frame), so there is a floor for each pace,
                   and every row is compared with that of its own pace
source             pipeline.sources.file, drained
source, transforms the same and the model's transforms (face crop, log-mel, tokens)
model excluded     the whole pipeline with the model's graphs replaced by constants (benchmarks/null_model.py)
CPU                user + system of the process and all its children, start-up (imports, Ray, warm-up) not counted, ms per second of media
x real time        seconds of media per second of wall time
p50, p99           of a decision's total latency after its window's end, ms; only in real time
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from benchmarks.machine import markdown, where_and_when
from benchmarks.media import make_media, pattern, reel
from benchmarks.null_model import write_null_model
from benchmarks.process_tree import TreeCpu
from pipeline.model import load_model

DATA = Path(os.environ.get("SENSORIUM_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
HEADER = ["", "CPU ms per media s", "x floor", "x real time", "p50 ms", "p99 ms", "missed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Where this run's file, models and configs are."""

    folder: Path
    media: Path
    model: str
    null: Path
    paced_s: int


@dataclass(slots=True, kw_only=True)
class Cost:
    """One row; threads: of the video decoder."""

    name: str
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def cpu_ms(self) -> float:
        return 1000.0 * float(self.said["cpu_s"]) / float(self.said["media_s"])

    def row(self, floor_ms: float) -> list[str]:
        said = self.said
        latencies = [f"{said[key]:.0f}" if key in said else "" for key in ("p50_ms", "p99_ms")]
        factor = float(said["media_s"]) / float(said["wall_s"])
        return [self.name, f"{self.cpu_ms:.1f}", f"{self.cpu_ms / floor_ms:.2f}", f"{factor:.1f}", *latencies, str(said.get("missed", ""))]


def write_config(setup: Setup, name: str, *, model: str, threads: str, speed: str | int, runner: str) -> Path:
    config: dict[str, Any] = {
        "session": name,
        "model": model,
        "sources": {"media": {"use": "pipeline.sources.file:MediaFile", "path": str(setup.media), "threads": threads}},
        "inputs": {stream: f"media.{stream}" for stream in ("video", "audio", "text")},
        "run": {"speed": speed, "runner": runner, "duration": setup.paced_s if speed == 1 else None},
        "sinks": [{"use": "pipeline.sinks.jsonl:JsonLines", "path": str(setup.folder / f"{name}.jsonl")}] if runner == "ray" else [],
    }
    path = setup.folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config), "utf-8")
    return path


def job(name: str, kind: str, config: Path) -> Cost:
    """One measurement of benchmarks.cost_job."""
    said = subprocess.run([sys.executable, "-m", "benchmarks.cost_job", kind, str(config)], check=True, stdout=subprocess.PIPE, text=True)
    return Cost(name=name, said=json.loads(said.stdout.splitlines()[-1]))


def command(name: str, config: Path) -> Cost:
    """`sensorium run` as a person starts it; counted from its first decision to its last, Ray's processes included."""
    out = config.with_suffix(".jsonl")
    out.unlink(missing_ok=True)
    arguments = [sys.executable, "-m", "pipeline.cli", "run", str(config), "--plain"]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        tree, first, last = TreeCpu(process.pid), None, (0.0, 0.0, 0)
        while process.poll() is None:
            cpu_s, decisions = tree.sample(), _lines(out)
            if decisions and first is None:
                first = (time.perf_counter(), cpu_s, decisions)
            if decisions > last[2]:
                last = (time.perf_counter(), cpu_s, decisions)
            time.sleep(0.05)
    if process.returncode or first is None:
        raise SystemExit(f"{name}: sensorium run {config} ended with {process.returncode} and {_lines(out)} decisions")
    return Cost(name=name, said=_between(first, last, out))


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _between(first: tuple[float, float, int], last: tuple[float, float, int], out: Path) -> dict[str, Any]:
    decisions = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    media_s = (decisions[last[2] - 1]["end_ns"] - decisions[first[2] - 1]["end_ns"]) / 1e9
    said = {"cpu_s": last[1] - first[1], "wall_s": last[0] - first[0], "media_s": media_s}
    late = sorted(decision["latency_ns"]["total"] / 1e6 for decision in decisions if decision["latency_ns"])
    return said | ({"p50_ms": late[len(late) // 2], "p99_ms": late[int(len(late) * 0.99)]} if late else {})


PACES: tuple[tuple[str | int, str], ...] = (("max", "max speed"), (1, "real time"))


def least(rounds: int, measure: Callable[[], Cost]) -> Cost:
    """The cheapest of some rounds: what else the machine does only ever adds."""
    return min((measure() for _ in range(rounds)), key=lambda cost: cost.cpu_ms)


def costs(setup: Setup, rounds: int, runners: list[str]) -> Iterator[tuple[Cost, float]]:
    """(row, the CPU of its floor)."""

    def config(name: str, model: str, speed: str | int = "max", runner: str = "inline", threads: str = "none") -> Path:
        return write_config(setup, name.replace(", ", "-").replace(" ", "-"), model=model, threads=threads, speed=speed, runner=runner)

    floors: dict[str | int, float] = {}
    for speed, pace in PACES:
        path = config(f"floor, {pace}", setup.model, speed)
        floor = least(rounds, partial(job, f"floor, {pace}", "floor", path))
        floors[speed] = floor.cpu_ms
        yield floor, floor.cpu_ms
    path = config("floor, auto", setup.model, threads="auto")
    yield least(rounds, partial(job, "floor, max speed, FFmpeg's choice of threads", "floor", path)), floors["max"]
    for name, kind in (("source, max speed", "source"), ("source and transforms, max speed", "intake")):
        yield least(rounds, partial(job, name, kind, config(name, setup.model))), floors["max"]
    for runner, (speed, pace) in product(runners, PACES):
        for model, what in ((str(setup.null), "model excluded"), (setup.model, "model included")):
            name = f"{runner}, {pace}, {what}"
            path = config(name, model, speed, runner)
            measure = partial(command, name, path) if runner == "ray" else partial(job, name, "inline", path)
            yield least(rounds, measure), floors[speed]


def prepare(args: argparse.Namespace) -> Setup:
    folder = Path(args.folder)
    folder.mkdir(parents=True, exist_ok=True)
    media = (folder / f"{args.picture}-{args.seconds}.mp4").resolve()
    if not media.exists():
        clips = reel(DATA / "grid_s1_dev", args.seconds) if args.picture == "reel" else pattern(args.seconds)
        make_media(media, clips)
    model = load_model(args.model)
    null = write_null_model(model.spec, folder / "null").resolve()
    return Setup(folder=folder.resolve(), media=media, model=str(model.folder.resolve()), null=null, paced_s=args.paced)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="speaking")
    parser.add_argument("--picture", choices=["reel", "pattern"], default="reel" if (DATA / "grid_s1_dev").exists() else "pattern")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--paced", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--runners", default="inline,ray")
    parser.add_argument("--folder", default="out/cost")
    args = parser.parse_args()
    setup = prepare(args)
    print(where_and_when())
    print(
        f"\n{setup.media.name}: 640x480 30 fps H.264, 16 kHz AAC, captions; model {args.model}; real-time rows {args.paced} s\n", flush=True
    )
    print(markdown(HEADER, [cost.row(floor_ms) for cost, floor_ms in costs(setup, args.rounds, args.runners.split(","))]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
