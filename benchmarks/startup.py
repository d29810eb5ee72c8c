"""Where the time goes from `sensorium run` to its first decision, and how fast its help is there.

    python -m benchmarks.startup [--rounds 5]

`sensorium run configs/demo.yaml --plain`, stopped after its first line. config: imports, the plan, a look into the media file;
python, ray, actors: as the engine tells it (its own start and imports; Ray's start; actors made, model loaded and warm, source open);
window: from session time 0 to the first line, of which the model's look-ahead is the least it can take.
"""

from __future__ import annotations

import argparse
import re
import resource
import statistics
import subprocess
import sys
import threading
from pathlib import Path

from benchmarks.machine import markdown, where_and_when
from pipeline.clock import SystemClock

COMMAND = str(Path(sys.executable).parent / "sensorium")
CONFIG = str(Path(__file__).resolve().parents[1] / "configs" / "demo.yaml")
STAGES = ("config", "python", "ray", "actors", "window", "total")
TOOK = re.compile(r"(\w+) ([\d.]+) s")


def first_decision() -> dict[str, float]:
    """Seconds by stage, of one run."""
    clock = SystemClock()
    begun_ns = clock.now_ns()
    process = subprocess.Popen([COMMAND, "run", CONFIG, "--plain"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    heard: dict[str, float] = {}
    reader = threading.Thread(target=_hear, args=(process, heard))
    reader.start()
    assert process.stdout is not None
    process.stdout.readline()
    total_s = (clock.now_ns() - begun_ns) / 1e9
    process.terminate()
    process.stdout.read()
    process.wait()
    reader.join()
    told_at_s = heard.pop("told at") - begun_ns / 1e9
    return {"config": told_at_s - sum(heard.values()), **heard, "window": total_s - told_at_s, "total": total_s}


def _hear(process: subprocess.Popen[str], heard: dict[str, float]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if "started: " in line and not heard:
            heard["told at"] = SystemClock().now_ns() / 1e9
            heard.update({name: float(seconds) for name, seconds in TOOK.findall(line)})


def help_s() -> tuple[float, float]:
    """(wall, CPU) seconds of `sensorium --help`."""
    clock, before = SystemClock(), resource.getrusage(resource.RUSAGE_CHILDREN)
    begun_ns = clock.now_ns()
    subprocess.run([COMMAND, "--help"], stdout=subprocess.DEVNULL, check=True)
    wall_s, after = (clock.now_ns() - begun_ns) / 1e9, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    helps = [help_s() for _ in range(options.rounds)]
    runs = [first_decision() for _ in range(options.rounds)]
    columns = [("help, wall", [wall for wall, _ in helps]), ("help, CPU", [cpu for _, cpu in helps])]
    columns += [(stage, [run[stage] for run in runs]) for stage in STAGES]
    rows = [[name, f"{statistics.median(values):.2f}", f"{max(values):.2f}"] for name, values in columns]
    print(f"{where_and_when()}\n\n{markdown(['seconds', 'p50', 'max'], rows)}")


if __name__ == "__main__":
    main()
