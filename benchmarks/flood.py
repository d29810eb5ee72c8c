"""Does it matter to decisions that the API is attacked?

    python -m benchmarks.flood [--seconds 30] [--rounds 3]

One session plays the demo scene with the shipped model in a daemon. By turns, from one other process of the lowest priority:

calm       nobody
slowloris  200 connections that say half a request and then a byte a second
flood      requests without a token, one after the other on four connections, as fast as they are answered
sockets    WebSocket handshakes without a token, the same
floor      the same process, as busy, with nobody to talk to: what any program beside it costs on so few cores

p50, p99   of a decision's time from its window's end until it was made, ms, over all rounds
answered   requests a second, and whether somebody with the token was answered meanwhile
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import socket
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.daemon_run import DaemonRun, daemon_run, pause
from benchmarks.machine import markdown, where_and_when
from benchmarks.media import looped
from pipeline.api.client import ApiError
from pipeline.clock import SystemClock

SCENE = Path(__file__).resolve().parents[1] / "configs" / "demo" / "scene.mp4"
S = 1_000_000_000
HALF = b"GET /api/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
WHOLE = b"GET /api/sessions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n"
HANDSHAKE = (
    b"GET /api/live HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def attack(kind: str, port: int, seconds: float, answered: Any) -> None:  # noqa: ANN401 - a shared integer
    """In a process of its own."""
    os.nice(19)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("19")
    clock = SystemClock()
    end_ns = clock.now_ns() + round(seconds * S)
    if kind == "slowloris":
        _slowly(port, end_ns, clock)
    while kind == "floor" and clock.now_ns() < end_ns:
        sum(range(1000))
    while kind in ("flood", "sockets") and clock.now_ns() < end_ns:
        answered.value += _round(port, (WHOLE if kind == "flood" else HANDSHAKE) % port)


def _slowly(port: int, end_ns: int, clock: SystemClock) -> None:
    held: list[socket.socket] = []
    while clock.now_ns() < end_ns:
        while len(held) < 200:
            with contextlib.suppress(OSError):
                held.append(socket.create_connection(("127.0.0.1", port), timeout=1))
                held[-1].send(HALF)
        for one in list(held):
            try:
                one.send(b"x")
            except OSError:
                held.remove(one)
        pause(1.0)


def _round(port: int, request: bytes) -> int:
    """Four at a time; how many were answered."""
    held = []
    for _ in range(4):
        with contextlib.suppress(OSError):
            held.append(socket.create_connection(("127.0.0.1", port), timeout=2))
            held[-1].sendall(request)
    count = 0
    for one in held:
        with contextlib.suppress(OSError):
            count += bool(one.recv(65_536))
        one.close()
    return count


def phase(run: DaemonRun, kind: str, seconds: float) -> tuple[list[float], float, bool]:
    """The latencies of its decisions, ms; answers a second; whether a client with the token was heard."""
    session, port = run.sessions["scene"], urlsplit(run.api().address).port or 0
    answered = multiprocessing.get_context("spawn").Value("q", 0)
    attacker = multiprocessing.get_context("spawn").Process(target=attack, args=(kind, port, seconds, answered))
    if kind != "calm":
        attacker.start()
        pause(2.0)
    begun = len(session.lines)
    pause(seconds / 2)
    heard = True
    try:
        run.api().sessions()
    except ApiError:
        heard = False
    pause(seconds / 2 - 2.0)
    took = [line.decision["latency_ns"]["total"] / 1e6 for line in session.lines[begun:]]
    if kind != "calm":
        attacker.join()
    return took, answered.value / seconds, heard


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    kinds = ("calm", "slowloris", "flood", "sockets", "floor")
    took: dict[str, list[float]] = defaultdict(list)
    rates: dict[str, list[float]] = defaultdict(list)
    heard: dict[str, list[bool]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name, daemon_run(Path(name), limits={"per_minute": 600}) as run:
        media = Path(name) / "long.mp4"
        looped(media, SCENE, 60)
        use = {"use": "pipeline.sources.file:MediaFile", "path": str(media)}
        inputs = {"video": "media.video", "audio": "media.audio", "text": "media.text"}
        run.start("scene", {"model": "speaking", "sources": {"media": use}, "inputs": inputs})
        pause(10.0)
        for _ in range(asked.rounds):
            for kind in kinds:
                found, rate, was_heard = phase(run, kind, asked.seconds)
                took[kind] += found
                rates[kind].append(rate)
                heard[kind].append(was_heard)
        status = run.status("scene")
    print(where_and_when())
    rows = []
    for kind in kinds:
        cuts = statistics.quantiles(took[kind], n=100)
        rate = f"{statistics.mean(rates[kind]):.0f}" if kind in ("flood", "sockets") else "-"
        rows.append([kind, str(len(took[kind])), f"{cuts[49]:.1f}", f"{cuts[98]:.1f}", rate, f"{sum(heard[kind])} of {len(heard[kind])}"])
    print(markdown(["", "decisions", "p50 ms", "p99 ms", "answered/s", "client with token heard"], rows))
    print(f"missed deadlines {status['missed_deadlines']}, skipped {status['skipped']}")


if __name__ == "__main__":
    main()
