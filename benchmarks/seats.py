"""Many sessions at one fusion process: what a decision costs and how late it is, as their number grows.

    python -m benchmarks.seats [--seats 1,2,4,8,16,32] [--seconds 20] [--backend onnx] [--same-phase]

N sessions of the model `speaking` in real time, each with its own phase within a hop (--same-phase: all with one, the worst case). Their
packets are those of a 640x480 file at 30 fps with 16 kHz sound and captions, made of GRID clips where there are any (benchmarks/media.py),
read and transformed once beforehand; another process sends them over the same edges as ingest actors do, and takes the decisions. What is
measured is the process with the FusionHost.

CPU per decision   user + system of that process, all that it does: receiving, aligning, the model, sending, reports; in ms
x engine           beside the engine's calls for as many packets and windows, one by one in a loop, in the same process just before
p50, p99           of a decision's total latency after its window's end, ms
missed, shed       decisions after their deadline of 150 ms, share; windows given up undecided
windows, encoded   mean of what was begun together, and of the rows in one call of an encoder
The first --settle seconds of every run are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from benchmarks.cost import DATA
from benchmarks.machine import markdown, where_and_when
from benchmarks.media import make_media, pattern, reel
from operators.packet import Dropped, StreamEvent
from operators.tensorize import packet_array
from pipeline.backends import make_backend
from pipeline.clock import SystemClock
from pipeline.config import validate
from pipeline.plan import Plan, build_plan
from pipeline.ports import Backend
from pipeline.runtime import batcher
from pipeline.runtime.bus import EdgeSender, Inbox
from pipeline.runtime.fusion_host import FusionHost
from pipeline.runtime.intake import Intake
from pipeline.runtime.wires import Wires

MS = 1_000_000
HEADER = ["seats, batches", "CPU ms per decision", "x engine", "busy cores", "p50 ms", "p99 ms", "missed", "shed", "windows", "encoded"]


def plan_of(media: Path, session: str, backend: str) -> Plan:
    sources = {"media": {"use": "pipeline.sources.file:MediaFile", "path": str(media)}}
    inputs = {name: f"media.{name}" for name in ("video", "audio", "text")}
    values = {"model": "speaking", "sources": sources, "inputs": inputs, "session": session, "run": {"backend": backend}}
    return build_plan(validate(values, {}, origin=str(media.parent / "seats.yaml")))


def packets_of(plan: Plan) -> list[tuple[int, StreamEvent]]:
    """Everything that the source gives, transformed, with the time at which it is due."""
    intake = Intake(plan, "media")
    intake.open()
    events = [(due_ns, event) for due_ns, event in intake.events() if not isinstance(event, Dropped)]
    intake.close()
    return events


# -- the other process: sources and readers of all sessions


def feed(media: Path) -> None:
    """For every line of its input ({"folders", "epochs_ns", "until_ns"}): sends, reads, and says what was decided."""
    plan = plan_of(media, "feed", "onnx")
    events = packets_of(plan)
    print(json.dumps({"events": len(events)}), flush=True)
    for line in sys.stdin:
        print(json.dumps(_feed_once(plan, events, **json.loads(line))), flush=True)


def _feed_once(
    plan: Plan, events: Sequence[tuple[int, StreamEvent]], folders: list[str], epochs_ns: list[int], from_ns: int, until_ns: int
) -> dict[str, Any]:
    clock, inputs, context = SystemClock(), tuple(plan.model.spec.inputs), zmq.Context()
    wires = [Wires(folder=folder, inputs=inputs) for folder in folders]
    inboxes = [Inbox(context, one.engine) for one in wires]
    edges = [
        {name: EdgeSender(context, one.edge(name), plan.edge(name), clock, stream=n, generation=0) for n, name in enumerate(inputs)}
        for one in wires
    ]
    dues = sorted((epoch_ns + due_ns, number, k) for number, epoch_ns in enumerate(epochs_ns) for k, (due_ns, _) in enumerate(events))
    late_ns: list[int] = []
    counts: dict[int, list[Mapping[str, int]]] = {number: [] for number in range(len(wires))}
    print(json.dumps({"ready": True}), flush=True)
    looked_ns = 0
    for due_ns, number, k in dues:
        if due_ns > until_ns:
            break
        if due_ns - clock.now_ns() > MS // 5:
            clock.sleep_until(due_ns)
        event = events[k][1]
        edges[number][event.stream].put(event)
        if clock.now_ns() - looked_ns > 20 * MS:
            looked_ns = clock.now_ns()
            _read(inboxes, epochs_ns, from_ns, late_ns, counts)
            for edge in (edge for of in edges for edge in of.values()):
                edge.flush()
    _read(inboxes, epochs_ns, from_ns, late_ns, counts)
    shed = sum(of[-1]["overload"] - of[0]["overload"] for of in counts.values() if of)
    for part in (*inboxes, *(edge for of in edges for edge in of.values())):
        part.close()
    context.term()
    return {"late_ns": late_ns, "shed": shed}


def _read(
    inboxes: Sequence[Inbox], epochs_ns: Sequence[int], from_ns: int, late_ns: list[int], counts: Mapping[int, list[Mapping[str, int]]]
) -> None:
    for number, (inbox, epoch_ns) in enumerate(zip(inboxes, epochs_ns, strict=True)):
        for message in inbox.messages(0):
            if "decision" in message and epoch_ns + message["decision"]["end_ns"] >= from_ns:
                late_ns.append(message["decision"]["latency_ns"]["total"])
            elif "counts" in message and epoch_ns + message["now_ns"] >= from_ns:
                counts[number].append({"overload": message["counts"].get("overload", 0)})


class Feeder:
    def __init__(self, media: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.seats", "--feed", str(media)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.hear()

    def say(self, values: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(values) + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        return dict(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate()


# -- the measured process


def engine_ms(plan: Plan, backend: Backend, events: Sequence[tuple[int, StreamEvent]]) -> float:
    """Of CPU a decision, of the bare engine: the packets of a hop of every input, and one window, one by one."""
    spec = plan.model.spec
    hops = max(event.end_ns for _, event in events if hasattr(event, "payload")) / (spec.window.hop_ms * MS)
    rows = {
        name: [packet_array(event)[None] for _, event in events if hasattr(event, "payload") and event.stream == name]
        for name in spec.inputs
    }
    inputs = {name: np.zeros((1, part.steps, part.encoder.dim), np.float32) for name, part in spec.inputs.items()}
    presence = {name: np.ones((1, part.steps), np.float32) for name, part in spec.inputs.items()}
    begun_ns = time.process_time_ns()
    for name, arrays in rows.items():
        for array in arrays:
            backend.encode(name, array)
    for _ in range(round(hops)):
        backend.fuse(inputs, presence)
    return (time.process_time_ns() - begun_ns) / hops / MS


def run(media: Path, feeder: Feeder, seats: int, options: argparse.Namespace) -> dict[str, Any]:
    clock = SystemClock()
    host = FusionHost(clock, lambda: False)
    pool = ThreadPoolExecutor(seats)
    with tempfile.TemporaryDirectory() as scratch:
        plans = [plan_of(media, f"s{number}", options.backend) for number in range(seats)]
        folders = [str(Path(scratch) / str(number)) for number in range(seats)]
        hop_ns = plans[0].align.hop_ns
        for folder, plan in zip(folders, plans, strict=True):
            os.mkdir(folder)
            host.open(plan.config.session or "", plan, Wires(folder=folder, inputs=tuple(plan.model.spec.inputs)), 0)
        begin_ns = clock.now_ns() + 1500 * MS
        shift_ns = 0 if options.same_phase else 7919 * hop_ns // 10007
        epochs_ns = [begin_ns + number * shift_ns % hop_ns for number in range(seats)]
        from_ns = begin_ns + round(options.settle * 1e9)
        until_ns = from_ns + round(options.seconds * 1e9)
        feeder.say({"folders": folders, "epochs_ns": epochs_ns, "from_ns": from_ns, "until_ns": until_ns})
        feeder.hear()
        runs = [
            pool.submit(host.run, plan.config.session or "", epoch_ns=epoch_ns, decided=-1, resumed=False)
            for plan, epoch_ns in zip(plans, epochs_ns, strict=True)
        ]
        clock.sleep_until(from_ns)
        before, cpu_ns = host.counts(), time.process_time_ns()
        clock.sleep_until(until_ns)
        after, spent_ns = host.counts(), time.process_time_ns() - cpu_ns
        heard = feeder.hear()
        host.close()
        for ended in runs:
            ended.result()
        pool.shutdown()
    decided = sum(after["seats"][name]["decisions"] - before["seats"][name]["decisions"] for name in after["seats"])
    return {
        **heard,
        "decided": decided,
        "cpu_ns": spent_ns,
        "rows": {stage: _mean_rows(before, after, stage) for stage in ("window", "encode")},
    }


def _mean_rows(before: Mapping[str, Any], after: Mapping[str, Any], stage: str) -> float:
    sizes = {int(size): count - before["batches"].get(stage, {}).get(size, 0) for size, count in after["batches"][stage].items()}
    return sum(size * count for size, count in sizes.items()) / max(1, sum(sizes.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seats", default="1,2,4,8,16,32")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--settle", type=float, default=4.0)
    parser.add_argument("--backend", default="onnx")
    parser.add_argument("--same-phase", action="store_true")
    parser.add_argument("--feed", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.feed:
        feed(options.feed)
        return
    with tempfile.TemporaryDirectory() as folder:
        media, length = Path(folder) / "seats.mp4", round(options.seconds + options.settle) + 2
        grid = DATA / "grid_s1_dev"
        make_media(media, reel(grid, length) if grid.is_dir() else pattern(length))
        feeder = Feeder(media)
        plan = plan_of(media, "bare", options.backend)
        bare = engine_ms(plan, make_backend(options.backend, plan.model), packets_of(plan))
        print(
            f"{where_and_when()}; {'GRID clips' if grid.is_dir() else 'drawn pattern'}; the bare engine: {bare:.3f} ms of CPU a decision\n"
        )
        rows = []
        for seats in [int(number) for number in options.seats.split(",")]:
            for name, most in (("up to 32", 32), ("of one", 1)):
                batcher.MOST = most
                rows.append(_row(f"{seats}, {name}", run(media, feeder, seats, options), bare, options.seconds))
                print(rows[-1], file=sys.stderr, flush=True)
        feeder.close()
    print(markdown(HEADER, rows))


def _row(name: str, found: Mapping[str, Any], bare: float, seconds: float) -> list[str]:
    per = found["cpu_ns"] / max(1, found["decided"]) / MS
    late = np.array(found["late_ns"] or [0]) / MS
    cells = [f"{per:.2f}", f"{per / bare:.1f}", f"{found['cpu_ns'] / seconds / 1e9:.2f}", f"{np.percentile(late, 50):.1f}"]
    cells += [f"{np.percentile(late, 99):.1f}", f"{np.mean(late > 150):.2%}", str(found["shed"])]
    return [name, *cells, f"{found['rows']['window']:.2f}", f"{found['rows']['encode']:.2f}"]


if __name__ == "__main__":
    main()
