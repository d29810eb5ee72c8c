"""A camera and a microphone with clocks 200 ppm apart, five minutes through real processes: how far are flash and tone apart?

    python -m benchmarks.drift_live [--seconds 300] [--ppm 200]

Two senders, each a process of its own, push MPEG-TS over UDP, live (benchmarks.stamped_udp): pictures that flash with every whole second,
and sound with a tone burst that begins at the same instants, of a microphone whose clock is fast: more samples a second, stamped as if
they were not more. `sensorium run` on Ray takes them as two sources, each with an ingest actor. The flash begins with a picture, made just
then, and the burst's beginning is found between samples, so nothing is rounded to a picture.

Sensorium          the burst's time less the flash's, on the session's timeline, as the packets say
nominal counting   each stream begins when its first packet arrives; then frames and samples are counted
arrival            when picture and block (less what of it is after the burst) came into the source

All three on the same arrivals. raw: |A-V| after the first minute as it is. constant: the median of the first minute, which is taken off in
the columns behind it, for all three: what is left then is drift and jitter alone. Exit 1 if ours is above 5 ms at p99, raw.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.machine import markdown, where_and_when
from benchmarks.notes import NOTES, Item, Notes, read_notes, run_session
from benchmarks.senders import free_port, sender

S = 1_000_000_000
WARM_NS = 60 * S
MOST_MS = 5.0


def run(folder: Path, seconds: float, ppm: float) -> Notes:
    video, audio = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
    words = [sys.executable, "-m", "benchmarks.stamped_udp"]
    noted = {"use": "benchmarks.burned:NotedStream", "notes": str(folder / NOTES)}
    sources = {"cam": {**noted, "url": f"udp://127.0.0.1:{video}"}, "mic": {**noted, "url": f"udp://127.0.0.1:{audio}"}}
    with (
        sender([*words, "video", str(video)], folder / "video-errors"),
        sender([*words, "audio", str(audio), str(ppm)], folder / "audio-errors"),
    ):
        run_session(folder, sources, {"video": "cam.video", "audio": "mic.audio"}, seconds)
    return read_notes(folder / NOTES, own_time=False)


def apart(notes: Notes, when: Callable[[str, Item], int]) -> list[tuple[int, float]]:
    """(session time of the second, tone less flash in ms) of every second in which both were seen."""
    flashes, tones = ({item.made_ns: item for item in notes.items[name] if item.made_ns % S == 0} for name in ("video", "audio"))
    both = sorted(flashes.keys() & tones.keys())
    return [(at_ns - notes.epoch_ns, (when("audio", tones[at_ns]) - when("video", flashes[at_ns])) / 1e6) for at_ns in both]


def row(name: str, found: list[tuple[int, float]]) -> tuple[list[str], float]:
    """And its p99, raw."""
    early = float(np.median([error for at_ns, error in found if at_ns < WARM_NS]))
    late = np.array([error for at_ns, error in found if at_ns >= WARM_NS])
    raw, off = np.abs(late), np.abs(late - early)
    p99 = float(np.percentile(raw, 99))
    values = [np.median(raw), p99, early, np.median(off), np.percentile(off, 99), off.max()]
    return [name, str(len(late)), *(f"{value:.2f}" for value in values)], p99


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--ppm", type=float, default=200.0)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="drift-") as folder:
        notes = run(Path(folder), options.seconds, options.ppm)
    first = {name: items[0].arrived_ns + items[0].within_ns - items[0].counted_ns for name, items in notes.items.items()}
    rows = {
        "Sensorium": apart(notes, lambda _, item: item.stamp_ns),
        "nominal counting": apart(notes, lambda stream, item: first[stream] + item.counted_ns),
        "arrival": apart(notes, lambda _, item: item.arrived_ns + item.within_ns),
    }
    made = {name: row(name, found) for name, found in rows.items()}
    print(f"{where_and_when()}; load {load:.1f} before, {os.getloadavg()[0]:.1f} after; {options.seconds:g} s, {options.ppm:g} ppm\n")
    print(markdown(["ms", "seconds", "raw p50", "raw p99", "constant", "p50", "p99", "max"], [cells for cells, _ in made.values()]))
    last = notes.statuses[-2]
    print(f"\nseen: {notes.count}; the status at the end: drift {last['drift_ppm']} ppm, {last['quality']}, faults {last['faults']}")
    sys.exit(made["Sensorium"][1] > MOST_MS)


if __name__ == "__main__":
    main()
