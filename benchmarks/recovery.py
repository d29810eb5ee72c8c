"""How long decisions stay away, or masked, when a process of a real-time session is killed with SIGKILL.

    python -m benchmarks.recovery [--kills 4] [--victims ingest,fusion,engine,gcs_server,raylet]

`sensorium run configs/demo.yaml --plain`, in real time on Ray with the shipped model. Times are those at which a line arrives
in the pipe that this program reads. One kill every PAUSE_S seconds of the session, a session after the other.

next decision  from the kill to the next line
unmasked       from the kill to the first line with all streams present (or promised empty) that follows a masked or a missing one
masked         decisions that lack a stream until then
missing        hops of the session without a decision until then: of the dead process, or skipped by its successor
late           decisions until then with a latency over the config's deadline
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.machine import markdown, where_and_when
from pipeline.clock import SystemClock
from pipeline.config import load_config
from pipeline.model import load_model

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "demo.yaml"
VICTIMS = {
    "ingest": "ray::Ingest",
    "fusion": "ray::Fusion",
    "engine": "pipeline.runtime.engine_main",
    "gcs_server": "gcs/gcs_server",
    "raylet": "raylet/raylet",
}
S = 1_000_000_000
FIRST_S, PAUSE_S = 3, 12
CALM = 12
"""An outage is over with the first of so many decisions in a row with nothing missing: a second of them."""
WHOLE = ("present", "empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A decision as it was read: when, about which hop (its start), whether nothing was missing, its latency."""

    at_ns: int
    start_ms: int
    whole: bool
    latency_ms: float


@dataclass(slots=True)
class Session:
    """A run and the lines that came of it so far."""

    process: subprocess.Popen[str]
    lines: list[Line] = field(default_factory=list)

    def read(self) -> None:
        assert self.process.stdout is not None
        clock = SystemClock()
        for text in self.process.stdout:
            if "=" in text and text[:1].isdigit() and text.rstrip().endswith("ms"):
                self.lines.append(parsed(text, clock.now_ns()))


def parsed(text: str, at_ns: int) -> Line:
    """A line of `pipeline.sinks.plain`."""
    words = text.split()
    minutes, _, seconds = words[0].partition(":")
    presence = [word.partition("=")[2] for word in words if "=" in word]
    start_ms = int(minutes) * 60_000 + round(float(seconds) * 1000)
    whole = all(word in WHOLE for word in presence)
    return Line(at_ns=at_ns, start_ms=start_ms, whole=whole, latency_ms=float(words[-1].removesuffix("ms")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """What one kill did; the fields are the columns above. A line that was under way counts as the next decision."""

    next_ms: float
    unmasked_ms: float
    masked: int
    missing: int
    late: int


def outage(lines: list[Line], killed_ns: int, hop_ms: int, deadline_ms: float) -> Outage:
    """Of a kill at killed_ns; `lines` end before the next one."""
    before = [line for line in lines if line.at_ns < killed_ns]
    after = [line for line in lines if line.at_ns >= killed_ns]
    assert after, "no decision came until the next kill"
    last_ms = before[-1].start_ms
    whole = [line.whole and line.start_ms - (after[n - 1].start_ms if n else last_ms) <= hop_ms for n, line in enumerate(after)]
    first = whole.index(False) if False in whole else 0
    # The hop after a gap has all its streams again itself; a masked one is followed by the first that has.
    back = next((n for n in range(first, len(after)) if after[n].whole and all(whole[n + 1 : n + 1 + CALM])), len(after) - 1)
    until = after[: back + 1]
    return Outage(
        next_ms=(after[0].at_ns - killed_ns) / 1e6,
        unmasked_ms=(until[-1].at_ns - killed_ns) / 1e6,
        masked=sum(not line.whole for line in until),
        missing=(until[-1].start_ms - last_ms) // hop_ms - len(until),
        late=sum(line.latency_ms > deadline_ms for line in until),
    )


def kill(session: Session, title: str) -> int:
    """Kills all of that title; gives when."""
    victims = [child for child in psutil.Process(session.process.pid).children(recursive=True) if title in titled(child)]
    assert victims, f"no {title}"
    killed_ns = SystemClock().now_ns()
    for victim in victims:
        victim.kill()
    return killed_ns


def titled(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""  # it has just ended


def outages(victim: str, kills: int) -> Iterator[Outage]:
    """Of as many sessions as it takes."""
    config, clock = load_config(CONFIG), SystemClock()
    hop_ms = load_model(config.model).spec.window.hop_ms
    fit = (39 - FIRST_S) // PAUSE_S
    while kills > 0:
        command = [str(Path(sys.executable).parent / "sensorium"), "run", str(CONFIG), "--plain", "--speed", "1"]
        session = Session(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
        reader = threading.Thread(target=session.read)
        reader.start()
        while not session.lines:
            clock.sleep_until(clock.now_ns() + S // 20)
        begun_ns, killed_at = clock.now_ns(), []
        for number in range(min(fit, kills)):
            clock.sleep_until(begun_ns + (FIRST_S + number * PAUSE_S) * S + number * 37_000_000)  # not always at the same point of a hop
            killed_at.append(kill(session, VICTIMS[victim]))
        reader.join()
        session.process.wait()
        ends = [*killed_at[1:], clock.now_ns()]
        for killed_ns, end_ns in zip(killed_at, ends, strict=True):
            yield outage([line for line in session.lines if line.at_ns < end_ns], killed_ns, hop_ms, config.align.deadline_ms)
        kills -= len(killed_at)


def row(victim: str, found: list[Outage]) -> list[str]:
    cells = [victim, str(len(found))]
    for values in ([one.next_ms for one in found], [one.unmasked_ms for one in found]):
        cells += [f"{statistics.median(values):.0f}", f"{max(values):.0f}"]
    for counts in ([one.masked for one in found], [one.missing for one in found], [one.late for one in found]):
        cells.append(f"{statistics.median(counts):.0f} ({max(counts)})")
    return cells


HEADER = ["killed", "times", "next decision ms, p50", "max", "unmasked ms, p50", "max", "masked, p50 (max)", "missing", "late"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--victims", default=",".join(VICTIMS))
    options = parser.parse_args()
    rows = []
    for victim in options.victims.split(","):
        found = list(outages(victim, options.kills))
        rows.append(row(victim, found))
        print(victim, *found, sep="\n", file=sys.stderr, flush=True)
    print(f"{where_and_when()}\n\n{markdown(HEADER, rows)}")


if __name__ == "__main__":
    main()
