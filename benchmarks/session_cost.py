"""What recording costs, what it writes, and how fast a recorded session is replayed.

    python -m benchmarks.session_cost [--input FILE ...] [--seconds 30] [--rounds 2] [--runners inline,ray]

CPU        user + system of all processes of `sensorium run` from its first decision to its last, ms per second of media, in real time;
           with and without --record by turns, the cheapest of some rounds each: what else the machine does only ever adds
MB/minute  what the recording holds, by kind of file
replay     seconds of session per second of wall time, and per second of this process's CPU, which other load does not change as much:
           `sensorium replay` of the whole session at full speed with its model (set-up not counted); `pipeline.session.replay.replayed`
           drained alone; and the floor: PyAV decoding the same files' video and sound, one thread, nothing else. By turns, too
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import psutil

from benchmarks.cost_job import Count
from benchmarks.machine import markdown, where_and_when
from benchmarks.process_tree import TreeCpu
from pipeline.commands.replay import Asked, replay_plan
from pipeline.runtime.inline import run_inline
from pipeline.session.read import Session
from pipeline.session.replay import Replay, replayed

ROOT = Path(__file__).resolve().parents[1]
SENSORIUM = [sys.executable, "-P", "-m", "pipeline.cli"]
KINDS = {"events": "events at the aligner", "decisions": "decisions", ".mkv": "original media", ".arrows": "logs of the streams"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--input", nargs="+", type=Path, default=[ROOT / "configs" / "demo" / "scene.mp4"], help="played in turn, again and again"
    )
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--runners", default="inline,ray")
    arguments = parser.parse_args()
    files = [path.absolute() for path in arguments.input]
    print(where_and_when())
    print(f"{', '.join(file.name for file in files)}; {arguments.seconds} s; load before {load()}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for runner in arguments.runners.split(","):
            plain_ms, recorded_ms = recording(files, runner, arguments.seconds, arguments.rounds, Path(folder))
            rows.append(
                [runner, f"{plain_ms:.0f}", f"{recorded_ms:.0f}", f"{recorded_ms - plain_ms:+.0f}", f"{recorded_ms / plain_ms:.2f}"]
            )
        print("\n" + markdown(["CPU ms per media s", "not recorded", "recorded", "difference", "ratio"], rows), flush=True)
        session = max(path for path in Path(folder).iterdir() if (path / "manifest.json").is_file())
        print("\n" + markdown(["what", "MB/minute"], sizes(session)), flush=True)
        print("\n" + markdown(["replay", "x real time", "media s per CPU s", "x floor"], speeds(session, files, arguments.rounds)))
    print(f"\nload after {load()}")


def load() -> str:
    return ", ".join(f"{value:.1f}" for value in psutil.getloadavg())


def recording(files: Sequence[Path], runner: str, seconds: int, rounds: int, folder: Path) -> tuple[float, float]:
    """CPU ms per media second, without and with."""
    plain, recorded = [], []
    for _ in range(rounds):
        plain.append(run_ms(files, runner, seconds, folder, []))
        recorded.append(run_ms(files, runner, seconds, folder, ["--record", str(folder)]))
    return min(plain), min(recorded)


def run_ms(files: Sequence[Path], runner: str, seconds: int, folder: Path, words: Sequence[str]) -> float:
    out = folder / "decisions.jsonl"
    out.unlink(missing_ok=True)
    source = {"use": "pipeline.sources.playlist:Playlist", "paths": [str(file) for file in files] * 100}
    words = ["--quiet", "--runner", runner, "--duration", f"{seconds}s", "--out", str(out), *words]
    command = [*SENSORIUM, "run", str(ROOT / "configs" / "file.yaml"), "--set", f"sources.media={json.dumps(source)}", *words]
    samples: list[tuple[int, float]] = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT) as process:
        tree = TreeCpu(process.pid)
        while process.poll() is None:
            samples.append((decided(out), tree.sample()))
            time.sleep(0.05)
    assert process.returncode == 0, command
    return between(samples, out)


def decided(out: Path) -> int:
    return out.read_bytes().count(b"\n") if out.exists() else 0


def between(samples: Sequence[tuple[int, float]], out: Path) -> float:
    """CPU from the first sample with a decision to the first with all, over the session time between."""
    ends_ns = [json.loads(line)["end_ns"] for line in out.read_text("utf-8").splitlines()]
    first = next(sample for sample in samples if sample[0])
    last = next(sample for sample in samples if sample[0] == samples[-1][0])
    media_s = (ends_ns[last[0] - 1] - ends_ns[first[0] - 1]) / 1e9
    return 1000 * (last[1] - first[1]) / media_s


def sizes(folder: Path) -> Iterator[list[str]]:
    minutes = Session.open(folder).end_ns() / 60e9
    found: Counter[str] = Counter()
    for path in (path for path in folder.rglob("*") if path.is_file()):
        place = path.relative_to(folder).parts[0]
        kind = place if place in KINDS else path.suffix if place == "streams" else ""
        found[KINDS.get(kind, "manifest, notes, list of segments")] += path.stat().st_size
    yield from ([kind, f"{size / minutes / 1e6:.2f}"] for kind, size in found.most_common())
    yield ["all", f"{found.total() / minutes / 1e6:.2f}"]


def speeds(folder: Path, files: Sequence[Path], rounds: int) -> Iterator[list[str]]:
    session_s = Session.open(folder).end_ns() / 1e9
    plan, _, clock = replay_plan(Session.open(folder), Asked(session=str(folder), speed="max"))
    ways: dict[str, Callable[[], float]] = {
        "floor": lambda: decode(files, session_s),
        "the recorded events, read and checked": lambda: drain(folder, session_s),
        "replay with the model": lambda: (run_inline(plan, [Count()], clock), session_s)[1],
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            media_s = way()
            found[name].append((media_s / (time.perf_counter() - wall_s), media_s / (time.process_time() - cpu_s)))
    best = {name: [max(factors) for factors in zip(*rounds_of, strict=True)] for name, rounds_of in found.items()}
    floor = best["floor"][1]
    yield from ([name, f"{wall:.0f}", f"{cpu:.0f}", f"{cpu / floor:.2f}"] for name, (wall, cpu) in best.items())


def decode(files: Sequence[Path], seconds: float) -> float:
    """At least so many seconds of media, of whole files; gives how many."""
    done_s = 0.0
    while done_s < seconds:
        for file in files:
            with av.open(str(file)) as container:
                for stream in container.streams.video:
                    stream.codec_context.thread_type, stream.codec_context.thread_count = "NONE", 1
                deque(container.decode(*container.streams.video[:1], *container.streams.audio[:1]), maxlen=1)
                done_s += (container.duration or 0) / 1e6
    return done_s


def drain(folder: Path, session_s: float) -> float:
    deque(replayed(Replay(session=str(folder))), maxlen=1)
    return session_s


if __name__ == "__main__":
    main()
