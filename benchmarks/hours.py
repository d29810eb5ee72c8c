"""Hours of a faulted run through the whole inline runner, in virtual time: a decision at every tick, every packet counted, memory flat.

    python -m benchmarks.hours [--hours 4] [--seed 1]

A camera (20 a second), a microphone (50 a second, its clock 100 ppm fast) and captions go through `pipeline.sources.faults`: log-normal
delays, packets that overtake each other, 1 % lost; every 10 minutes the microphone is dead for 10 s and nothing of the camera arrives for
2 s; every 17 minutes the camera freezes for 5 s. Windows of 200 ms every 100 ms, deadline 150 ms, revisions up to 500 ms. The clock is a
FakeClock: each event comes when it is due, each tick at its deadline; the model is arithmetic, everything else is what a real run has.

Exit 1 if a tick has no decision, or a late one; if a packet that a source made is neither decided upon nor counted; or if the process has
grown by more than 8 MB between the first quarter and the end.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.machine import markdown, where_and_when
from operators.decide import Decider
from operators.decision import Decision
from operators.operator import Operator
from operators.packet import Closed, Dropped, Embedding, Packet, StreamEvent, Watermark
from operators.window import AlignConfig
from pipeline.clock import FakeClock
from pipeline.config import Config, validate
from pipeline.model import Model, parse_spec
from pipeline.ports import Backend, Kind, Source, Status, StreamSpec, Wanted
from pipeline.runtime.edge import EdgePolicy
from pipeline.runtime.inline import run_inline
from pipeline.sources.faults import StreamFaults, inject

MS = 1_000_000
S = 1_000_000_000
STEP_MS = {"cam": 50, "mic": 20, "said": 3000}
GROWTH_BYTES = 8 << 20

_INPUT = {"kind": "series", "shape": [1], "dtype": "float32", "encoder": {"use": "operators.encoders:Any", "dim": 1}}
SPEC = {
    "name": "hours",
    "labels": ["low", "high"],
    "window": {"length_ms": 200, "hop_ms": 100, "lag_ms": 0},
    "inputs": {
        "cam": {**_INPUT, "steps": 4},
        "mic": {**_INPUT, "steps": 10},
        "said": {**_INPUT, "take": "state", "ttl_ms": 5000},
    },
    "head": {"use": "operators.fusion:Any"},
}


class Made:
    """A source of one stream with its faults. made: packets that its device sent."""

    live = False

    def __init__(self, name: str, hours: float, seed: int) -> None:
        self._name, self._end_ms, self._seed = name, round(hours * 3_600_000), seed
        self._faults = faults_of(name, hours)
        self.made = self.lost = 0

    def open(self, wanted: Mapping[str, Wanted]) -> Sequence[StreamSpec]:
        kind: Kind = "series"
        return [StreamSpec(name=self._name, kind=kind)]

    def events(self, from_ns: int = 0) -> Iterator[tuple[int, StreamEvent]]:
        for due_ns, event in inject(self._device(), {self._name: self._faults}, seed=self._seed):
            if isinstance(event, Dropped):
                self.lost += event.count
            yield due_ns, event

    def _device(self) -> Iterator[tuple[int, StreamEvent]]:
        step_ms = STEP_MS[self._name]
        for seq, start_ms in enumerate(range(0, self._end_ms, step_ms)):
            self.made += 1
            start_ns, end_ns = start_ms * MS, (start_ms + (0 if self._name == "said" else step_ms)) * MS
            payload = Embedding(data=np.array([seq % 7 / 7], np.float32))
            yield end_ns, Packet(stream=self._name, seq=seq, start_ns=start_ns, end_ns=end_ns, payload=payload)
            # What is late by up to 200 ms is not promised away.
            yield end_ns, Watermark(stream=self._name, time_ns=max(0, end_ns - 200 * MS))
        yield self._end_ms * MS, Closed(stream=self._name, time_ns=self._end_ms * MS)

    def end_ns(self) -> int | None:
        return self._end_ms * MS

    def close(self) -> None:
        pass


def faults_of(name: str, hours: float) -> StreamFaults:
    def every(minutes: int, at_s: int, length_s: float) -> tuple[tuple[float, float | None], ...]:
        return tuple((begin + at_s, begin + at_s + length_s) for begin in range(0, round(hours * 3600), minutes * 60))

    if name == "cam":
        stalls, freezes = every(10, 300, 2), every(17, 500, 5)
        return StreamFaults(delay_ms=30, jitter=0.6, reorder=True, drop=0.01, stalls=stalls, freezes=freezes)
    if name == "mic":
        return StreamFaults(delay_ms=12, jitter=0.3, drop=0.01, drift_ppm=100, dead=every(10, 120, 10))
    return StreamFaults(delay_ms=60, jitter=0.5)


class Arithmetic:
    """encode: the value itself; fuse: the mean of what is there."""

    name = "arithmetic"

    def encode(self, stream: str, batch: NDArray[Any]) -> NDArray[np.float32]:
        return batch.astype(np.float32)

    def fuse(self, inputs: Mapping[str, NDArray[np.float32]], presence: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        total = sum((inputs[name][..., 0] * presence[name]).sum(axis=1) for name in inputs)
        mean = total / np.maximum(sum(there.sum(axis=1) for there in presence.values()), 1.0)
        return np.stack([0.5 - mean, mean - 0.5], axis=1).astype(np.float32)


class HoursPlan:
    """What `pipeline.runtime.parts.RunPlan` wants, without files."""

    def __init__(self, hours: float, seed: int) -> None:
        self.sources = {name: Made(name, hours, seed) for name in STEP_MS}
        self.model = Model(Path("."), parse_spec(SPEC, "hours"), "f" * 64)
        self.digest = "d" * 64
        self.replay = None
        self.align: AlignConfig = self.model.align_config(mode="deadline", deadline_ns=150 * MS, revise_ns=500 * MS)
        uses = {name: {"use": "nowhere:Nothing"} for name in STEP_MS}
        inputs = {name: f"{name}.{name}" for name in STEP_MS}
        values: dict[str, Any] = {"model": "hours", "sources": uses, "inputs": inputs, "run": {"speed": 1.0}}
        self.config: Config = validate(values, {}, origin="/nowhere/hours.yaml")

    def make_source(self, name: str) -> Source:
        return self.sources[name]

    def source_inputs(self, name: str) -> dict[str, str]:
        return {name: name}

    def offset_ns(self, name: str) -> int:
        return 0

    def wanted(self, name: str) -> dict[str, Wanted]:
        return {name: Wanted()}

    def make_transforms(self, name: str) -> list[Operator]:
        return []

    def edge(self, name: str) -> EdgePolicy:
        return EdgePolicy()

    def make_backend(self) -> Backend:
        return Arithmetic()

    def make_decider(self) -> Decider:
        return Decider(self.model.spec.labels)


class Watch:
    """A sink: which windows came, how late, and how big the process is meanwhile."""

    def __init__(self, ticks: int) -> None:
        self.next = self.missing = self.late = self.revised = 0
        self.worst_ns = 0
        self.presence: Counter[str] = Counter()
        self.sizes: list[int] = []
        self.last: Status | None = None
        self._every, self._process = max(1, ticks // 16), psutil.Process()

    def decision(self, decision: Decision) -> None:
        if decision.revision:
            self.revised += 1
            return
        self.missing += decision.window != self.next
        self.next = decision.window + 1
        waited_ns = decision.latency_ns["total"]
        self.worst_ns = max(self.worst_ns, waited_ns)
        self.late += waited_ns > 150 * MS
        self.presence.update(f"{name} {what}" for name, what in decision.presence.items())
        if self.next % self._every == 0:
            self.sizes.append(self._process.memory_info().rss)

    def status(self, status: Status) -> None:
        self.last = status

    def close(self) -> None:
        pass


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--hours", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print(f"{where_and_when()}; {args.hours:g} h, seed {args.seed}\n")
    plan = HoursPlan(args.hours, args.seed)
    ticks = round(args.hours * 36_000) - 1
    watch, begun_s = Watch(ticks), time.process_time()
    final = run_inline(plan, [watch], FakeClock())
    cpu_s = time.process_time() - begun_s
    counted = {stream.name: (stream.packets, sum((stream.dropped or {}).values())) for stream in final.streams}
    growth = watch.sizes[-1] - watch.sizes[len(watch.sizes) // 4]
    claims = {
        f"a decision at every one of {ticks} ticks": watch.next >= ticks and not watch.missing and not final.skipped,
        "none after its deadline": not watch.late and not final.missed_deadlines,
        "every packet in a decision's window, late, or dropped for a reason": all(
            source.made == counted[name][0] + source.lost for name, source in plan.sources.items()
        ),
        f"grown by less than {GROWTH_BYTES >> 20} MB": growth < GROWTH_BYTES,
    }
    rows = [[name, str(source.made), *(str(each) for each in counted[name]), str(source.lost)] for name, source in plan.sources.items()]
    print(markdown(["stream", "made", "into the aligner", "dropped, by reason", "of them by its faults"], rows))
    worst_ms = watch.worst_ns / MS
    print(f"\n{watch.next} decisions, {watch.revised} revised, worst {worst_ms:.0f} ms after its window; {final.skipped} skipped")
    print(
        f"size {watch.sizes[len(watch.sizes) // 4] / 2**20:.1f} MB after a quarter, {watch.sizes[-1] / 2**20:.1f} MB at the end;", end=" "
    )
    print(f"CPU {cpu_s:.0f} s, {cpu_s / watch.next * 1e6:.0f} us a decision")
    print("presence: " + ", ".join(f"{what} {count / watch.next:.2%}" for what, count in sorted(watch.presence.items())))
    broken = [claim for claim, held in claims.items() if not held]
    print("\n" + ("\n".join(f"BROKEN {claim}" for claim in broken) or "every claim holds: " + "; ".join(claims)))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
