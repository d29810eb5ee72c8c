"""The hop: from a packet stamped in one process to the packet in the aligner of another, beside a bare ZeroMQ floor.

    python -m benchmarks.hop [--seconds 20]

Traffic: 30 pictures a second of 150 KB and 50 sound blocks a second of 20 ms, as one source would send them. The floor is the
same traffic as plain multipart messages, PUSH to PULL, a time stamp and the bytes: no header, no queue, no policy, no aligner.
Floor and edge run in turns, in the same minutes. CPU is that of both processes together, as a share of one core.
"""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import zmq

from benchmarks.machine import where_and_when
from operators.align import Aligner
from operators.packet import AudioBlock, Dropped, Frame, Packet, StreamEvent, Watermark
from operators.window import AlignConfig, StreamRule
from pipeline.clock import Clock, SystemClock
from pipeline.runtime.bus import EdgePolicy, EdgeReceiver, EdgeSender

MS = 1_000_000
STREAMS = ("video", "audio")
PICTURE = (300, 512)  # 153 600 bytes
STEPS_MS = {"video": 1000 / 30, "audio": 20.0}
STAMP = struct.Struct("<qB")


def packets(seconds: float) -> Iterator[tuple[int, Packet]]:
    """(due_ns, packet) of both streams in order; the payloads are made once: this measures the way, not the making."""
    payloads = {"video": Frame(data=np.zeros(PICTURE, np.uint8)), "audio": AudioBlock(data=np.zeros((1, 320), np.float32), rate_hz=16000)}
    times = [(round((seq + 1) * step * MS), name, seq) for name, step in STEPS_MS.items() for seq in range(int(seconds * 1000 / step))]
    for due_ns, name, seq in sorted(times):
        start_ns = round(seq * STEPS_MS[name] * MS)
        yield due_ns, Packet(stream=name, seq=seq, start_ns=start_ns, end_ns=due_ns, payload=payloads[name])


def send(kind: str, folder: str, seconds: float) -> None:
    """The sending process."""
    clock = SystemClock()
    with zmq.Context() as context:
        push, close = _edge_sender(context, folder, clock) if kind == "edge" else _floor_sender(context, folder, clock)
        epoch_ns, cpu_ns = clock.now_ns() + 300 * MS, time.process_time_ns()
        for due_ns, packet in packets(seconds):
            clock.sleep_until(epoch_ns + due_ns)
            push(packet)
        spent_ns = time.process_time_ns() - cpu_ns
        clock.sleep_until(clock.now_ns() + 500 * MS)
        close()
    print(json.dumps({"cpu_ns": spent_ns}))


def _edge_sender(context: zmq.Context[Any], folder: str, clock: Clock) -> tuple[Callable[[Packet], None], Callable[[], None]]:
    edges = {}
    for number, name in enumerate(STREAMS):
        edges[name] = EdgeSender(context, f"ipc://{folder}/{name}", EdgePolicy(), clock, stream=number, generation=0)

    def push(packet: Packet) -> None:
        edges[packet.stream].put(packet)
        edges[packet.stream].put(Watermark(stream=packet.stream, time_ns=packet.end_ns))

    return push, lambda: [edge.close() for edge in edges.values()] and None


def _floor_sender(context: zmq.Context[Any], folder: str, clock: Clock) -> tuple[Callable[[Packet], None], Callable[[], None]]:
    socket = context.socket(zmq.PUSH)
    socket.connect(f"ipc://{folder}/floor")

    def push(packet: Packet) -> None:
        body = packet.payload.data.data  # type: ignore[union-attr]
        socket.send(STAMP.pack(clock.now_ns(), STREAMS.index(packet.stream)), zmq.SNDMORE)
        socket.send(body, copy=packet.stream != "video")

    return push, lambda: socket.close(linger=0)


@dataclass
class Heard:
    """late_ns: by stream, the latency of each packet."""

    late_ns: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in STREAMS})
    cpu_ns: int = 0


def hear_edge(context: zmq.Context[Any], folder: str, clock: Clock, until: Callable[[], bool]) -> Heard:
    heard = Heard()
    edges = [EdgeReceiver(context, f"ipc://{folder}/{name}", STREAMS, replays=False) for name in STREAMS]
    aligner = Aligner(AlignConfig(streams=tuple(StreamRule(stream=name) for name in STREAMS), length_ns=1600 * MS, hop_ns=80 * MS))
    cpu_ns = time.process_time_ns()
    while not until():
        zmq.select([edge.socket for edge in edges], [], [], 0.02)
        for edge in edges:
            for item in edge.receive():
                if not isinstance(item, Dropped):
                    _into(aligner, item.event)
                    if isinstance(item.event, Packet):
                        heard.late_ns[item.event.stream].append(clock.now_ns() - item.sent_ns)
    heard.cpu_ns = time.process_time_ns() - cpu_ns
    for edge in edges:
        edge.close()
    return heard


def _into(aligner: Aligner, event: StreamEvent) -> None:
    for _ in aligner.process(event):  # type: ignore[arg-type]
        pass


def hear_floor(context: zmq.Context[Any], folder: str, clock: Clock, until: Callable[[], bool]) -> Heard:
    heard = Heard()
    socket = context.socket(zmq.PULL)
    socket.bind(f"ipc://{folder}/floor")
    cpu_ns = time.process_time_ns()
    while not until():
        if socket.poll(20):
            stamp, body = socket.recv_multipart(copy=False)
            np.frombuffer(body.buffer, np.uint8)
            sent_ns, number = STAMP.unpack(stamp.buffer)
            heard.late_ns[STREAMS[number]].append(clock.now_ns() - sent_ns)
    heard.cpu_ns = time.process_time_ns() - cpu_ns
    socket.close(linger=0)
    return heard


def measure(kind: str, seconds: float) -> tuple[Heard, float]:
    """What was heard, and the CPU share of both processes."""
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as folder, zmq.Context() as context:
        command = [sys.executable, "-m", "benchmarks.hop", "--seconds", str(seconds), "--send", kind, "--folder", folder]
        sender = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        listen = hear_edge if kind == "edge" else hear_floor
        heard = listen(context, folder, clock, lambda: sender.poll() is not None)
        spent = json.loads(sender.communicate()[0])["cpu_ns"]
    return heard, (heard.cpu_ns + spent) / (seconds * 1e9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--send", choices=["edge", "floor"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        send(options.send, options.folder, options.seconds)
        return
    print(f"{where_and_when()}\n")
    print("| round | way | stream | packets | p50 ms | p99 ms | max ms | CPU of both |\n|---|---|---|---:|---:|---:|---:|---:|")
    for number in range(options.rounds):
        for kind in ("floor", "edge"):
            heard, share = measure(kind, options.seconds)
            for name, late in heard.late_ns.items():
                p50, p99 = np.percentile(late, [50, 99]) / MS
                print(
                    f"| {number} | {kind} | {name} | {len(late)} | {p50:.3f} | {p99:.3f} | {max(late) / MS:.3f} | {share:.1%} |", flush=True
                )


if __name__ == "__main__":
    main()
