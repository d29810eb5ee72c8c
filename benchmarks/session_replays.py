"""A long recorded run with everything wrong in it, replayed again and again: is every replay what happened?

    python -m benchmarks.session_replays [--seconds 600] [--replays 100] [--input FILE ...] [--load 2] [--keep FOLDER]

Records `sensorium run configs/file.yaml` on Ray in real time, with faults on the way (log-normal delays, drops, captions up to 1.5 s late,
a dead microphone, a stalled camera), and kills the ingest and the fusion actor once each. Then `sensorium replay --verify` of the whole
session and of parts of it after a seek, at 0.5x, 1x, 20x and max, inline and on Ray, with `--load` processes that burn a core each.
Exit 1 if one of them is not identical.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.machine import markdown, where_and_when
from pipeline.session.read import Session

ROOT = Path(__file__).resolve().parents[1]
SENSORIUM = [sys.executable, "-P", "-m", "pipeline.cli"]
BURN = "while True: pass"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How to replay. seconds None: the whole session; else a part of that length after a seek."""

    speed: str
    runner: str
    seconds: float | None
    times: int

    @property
    def name(self) -> str:
        part = "whole" if self.seconds is None else f"{self.seconds:g} s after a seek"
        return f"{self.speed}{'' if self.speed == 'max' else 'x'}, {self.runner}, {part}"


def ways(replays: int) -> list[Way]:
    """So many in all; the slow speeds on short parts."""
    fixed = [
        Way(speed="max", runner="inline", seconds=None, times=4),
        Way(speed="20", runner="inline", seconds=None, times=2),
        Way(speed="max", runner="ray", seconds=None, times=2),
        Way(speed="20", runner="ray", seconds=60, times=4),
        Way(speed="1", runner="inline", seconds=8, times=4),
        Way(speed="1", runner="ray", seconds=8, times=2),
        Way(speed="0.5", runner="inline", seconds=4, times=4),
        Way(speed="0.5", runner="ray", seconds=4, times=2),
        Way(speed="max", runner="ray", seconds=20, times=6),
    ]
    rest = max(0, replays - sum(way.times for way in fixed))
    return [*fixed, Way(speed="max", runner="inline", seconds=20, times=rest)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--replays", type=int, default=100)
    parser.add_argument(
        "--input", nargs="+", default=[str(ROOT / "configs" / "demo" / "scene.mp4")], help="files, played in turn until the end"
    )
    parser.add_argument("--load", type=int, default=2, help="processes that burn a core while it is replayed")
    parser.add_argument("--keep", type=Path, help="record into this folder and leave it there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        session = record(arguments.keep or Path(folder), arguments.input, arguments.seconds)
        print(where_and_when())
        print(told(session))
        with burning(arguments.load):
            good, rows = replay_all(session, ways(arguments.replays), arguments.seconds)
    print(markdown(["replay", "identical", "of", "seconds each"], rows))
    sys.exit(0 if good else 1)


def record(store: Path, files: Sequence[str], seconds: float) -> Path:
    faults = {
        "video": {"delay_ms": 45, "jitter": 0.6, "drop": 0.02, "stalls": [[seconds * 0.5, seconds * 0.5 + 2]]},
        "audio": {"delay_ms": 15, "jitter": 0.5, "drop": 0.01, "dead": [[seconds * 0.3, seconds * 0.3 + 10]]},
        "text": {"delay_ms": 700, "jitter": 0.3},
    }
    listed = [str(Path(file).absolute()) for file in files] * 1000
    source = {"use": "pipeline.sources.playlist:Playlist", "paths": listed[: int(seconds // 2) + 1], "faults": faults}
    words = ["run", str(ROOT / "configs" / "file.yaml"), "--set", f"sources.media={json.dumps(source)}", "--quiet"]
    words += ["--duration", f"{seconds}s", "--record", str(store), "--set", "align.revise_ms=1500"]
    process = subprocess.Popen([*SENSORIUM, *words], cwd=store)
    time.sleep(seconds * 0.2 + 8)
    kill(process.pid, "ray::Ingest")
    time.sleep(seconds * 0.2)
    kill(process.pid, "ray::Fusion")
    if process.wait() != 0:
        raise SystemExit("the run failed")
    return max(path for path in store.iterdir() if (path / "manifest.json").is_file())


def kill(supervisor: int, title: str) -> None:
    for process in psutil.Process(supervisor).children(recursive=True):
        with suppress(psutil.Error):  # a zombie has no command line
            if title in " ".join(process.cmdline()):
                process.kill()


def told(folder: Path) -> str:
    session = Session.open(folder)
    words: Counter[str] = Counter()
    decisions = 0
    for decision in session.decisions():
        decisions += 1
        words.update(f"{stream} {word}" for stream, word in decision.presence.items() if word in ("timeout", "partial"))
        words["revised"] += decision.revision
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    minutes = session.end_ns() / 60e9
    drops = (session.ended() or {}).get("skipped")
    counted = ", ".join(f"{number} {word}" for word, number in words.most_common())
    return f"{minutes:.1f} minutes, {decisions} decisions ({counted}), {drops} skipped; {size / minutes / 1e6:.1f} MB a minute\n"


@contextmanager
def burning(processes: int) -> Iterator[None]:
    burners = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(processes)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def replay_all(session: Path, chosen: Sequence[Way], seconds: float) -> tuple[bool, list[list[str]]]:
    rng = random.Random(1)
    rows, good = [], True
    for way in chosen:
        same, took = 0, 0.0
        for _ in range(way.times):
            begun = time.monotonic()
            same += replay(session, way, rng, seconds)
            took += time.monotonic() - begun
        good = good and same == way.times
        rows.append([way.name, str(same), str(way.times), f"{took / max(1, way.times):.1f}"])
    total = [sum(int(row[column]) for row in rows) for column in (1, 2)]
    return good, [*rows, ["all", *map(str, total), ""]]


def replay(session: Path, way: Way, rng: random.Random, seconds: float) -> bool:
    words = ["replay", str(session), "--verify", "--speed", way.speed, "--runner", way.runner]
    if way.seconds is not None:
        start = rng.uniform(0, seconds - way.seconds - 1)
        words += ["--from", f"{start:.3f}", "--to", f"{start + way.seconds:.3f}"]
    done = subprocess.run([*SENSORIUM, *words], capture_output=True, text=True)
    if done.returncode or not done.stdout.startswith("identical: "):
        print(" ".join(words), done.stdout, done.stderr, file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    main()
