"""Runs one live source in a process of its own and writes what it says as JSON lines: what the tests of real parts look at.

    python watch.py module:Class '{"option": ...}' WHAT     WHAT: burned (a picture's own emission time), beeps (1 kHz at whole seconds) ...
A source that hangs ends the process with code 3, as it ends an ingest actor; with --again it is started again, as its supervisor does.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from importlib import import_module
from typing import Any

import numpy as np

from operators.errors import SourceError
from operators.packet import AudioBlock, Dropped, Frame, Packet
from pipeline.clock import SystemClock
from pipeline.runtime.pace import Pace


def say(**values: Any) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def burned_ms(picture: np.ndarray) -> int:
    """The wall-clock milliseconds (of 2 ** 32) in the 32 cells of the top row."""
    cell = picture.shape[1] / 32
    return sum(int(picture[6, int((bit + 0.5) * cell)] > 128) << bit for bit in range(32))


def main(use: str, options: str, epoch_ns: int) -> None:
    module, _, name = use.partition(":")
    source = getattr(import_module(module), name)(**json.loads(options))
    clock = SystemClock()
    pace = Pace(clock=clock, epoch_ns=epoch_ns)
    wall_ns = wall_at_0(pace)
    source.open({})
    source.begin(pace.now_ns)
    said: dict[str, Any] = {}
    for _, event in source.events(max(0, pace.now_ns())):
        health = {stream: asdict(value) for stream, value in source.health().items()}
        state = {stream: (value["state"], value["faults"], value["detail"]) for stream, value in health.items()}
        if state != said.get("state"):
            said["state"] = state
            say(at_ms=pace.now_ns() / 1e6, health=health)
        for line in source.news():
            say(at_ms=pace.now_ns() / 1e6, news=line)
        if isinstance(event, Packet):
            say(at_ms=pace.now_ns() / 1e6, packet=event.stream, **about(event, wall_ns), **drift(health, event.stream))
        elif isinstance(event, Dropped):
            say(at_ms=pace.now_ns() / 1e6, dropped=event.reason, count=event.count)


def wall_at_0(pace: Pace) -> int:
    """The wall clock at session time 0: the most of several readings, as waiting between the two can only make it less."""
    return max(time.time_ns() - pace.now_ns() for _ in range(20))


def drift(health: dict[str, Any], stream: str) -> dict[str, Any]:
    return {"drift_ppm": health[stream]["drift_ppm"], "quality": health[stream]["quality"]}


def about(packet: Packet, wall_ns: int) -> dict[str, Any]:
    """Times in ms of the session; off_ms: how much the stamp is after the truth that the picture or sound itself carries."""
    times = {"start_ms": packet.start_ns / 1e6, "end_ms": packet.end_ns / 1e6, "seq": packet.seq}
    if isinstance(packet.payload, Frame):
        picture = packet.payload.data if packet.payload.data.ndim == 2 else packet.payload.data[..., 1]
        stamp_ms = (packet.start_ns + wall_ns) // 1_000_000 & 0xFFFFFFFF
        off = (stamp_ms - burned_ms(picture) + (1 << 31)) % (1 << 32) - (1 << 31)
        return {**times, "shape": list(packet.payload.data.shape), "off_ms": off, "bright": int(picture[picture.shape[0] * 3 // 4, 4])}
    if isinstance(packet.payload, AudioBlock):
        data = packet.payload.data[0]
        loud = np.flatnonzero(np.abs(data) > 0.2)
        onset = None if not loud.size else (packet.start_ns + int(loud[0]) * 1e9 / packet.payload.rate_hz) / 1e6
        return {**times, "rate_hz": packet.payload.rate_hz, "samples": data.size, "peak": float(np.abs(data).max()), "onset_ms": onset}
    return times


if __name__ == "__main__":
    start_ns = int(os.environ.get("WATCH_EPOCH_NS", time.monotonic_ns()))
    if "--again" in sys.argv:
        import subprocess

        while True:
            words = [word for word in sys.argv if word != "--again"]
            done = subprocess.run([sys.executable, *words], env={**os.environ, "WATCH_EPOCH_NS": str(start_ns)}, check=False)
            say(at_ms=(time.monotonic_ns() - start_ns) / 1e6, ended=done.returncode)
            time.sleep(0.1)
    try:
        main(sys.argv[1], sys.argv[2], start_ns)
    except SourceError as error:
        say(at_ms=(time.monotonic_ns() - start_ns) / 1e6, hung=str(error))
        os._exit(3)
