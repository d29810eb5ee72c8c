"""What the live view costs the process of a source: 640x480 at 30 pictures/s and 16 kHz in blocks of 20 ms.

    python -m benchmarks.view [--seconds 60] [--rounds 5]

Three ways take turns: no view at all, a view that nobody watches, a view that is watched (by another process, which throws all away).
The source's loop runs in virtual time, some 20 times as fast as the real one (the watcher keeps up: nothing may be dropped), and what is
counted is CPU and nothing else: milliseconds of CPU a second of session, all threads of the process.
The packets are the same arrays again and again, ready-made, and have no transforms: the least that a source's loop can cost.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from time import process_time, sleep

import numpy as np

from benchmarks.machine import markdown, where_and_when
from operators.operator import Operator
from operators.packet import AudioBlock, Closed, Frame, Packet, StreamEvent, Watermark
from pipeline.clock import FakeClock
from pipeline.config import Config, validate
from pipeline.ports import StreamSpec, Wanted
from pipeline.runtime.edge import EdgePolicy
from pipeline.runtime.ingest import IngestLoop
from pipeline.runtime.wires import Wires

FPS, BLOCK_NS, RATE_HZ = 30, 20_000_000, 16_000
SECOND_NS = 1_000_000_000
WATCHER = """
import sys, zmq
socket = zmq.Context().socket(zmq.SUB)
socket.bind(sys.argv[1])
if sys.argv[2] == "watched":
    socket.subscribe(b"")
print("ready", flush=True)
count = 0
while socket.poll(2_000 if count else 600_000):
    socket.recv_multipart()
    count += 1
"""


class Camera:
    """Pictures and sound, ready-made."""

    live = False

    def __init__(self, seconds: int) -> None:
        noise = np.random.default_rng(0)
        self._seconds = seconds
        smooth = noise.integers(0, 255, (12, 16, 3), np.uint8).repeat(40, 0).repeat(40, 1)
        grain = noise.integers(0, 12, (8, 480, 640, 3), np.uint8)  # as a sensor has it: a smooth picture is too cheap a JPEG
        self._frames = [Frame(data=np.clip(smooth + each.astype(np.int16), 0, 255).astype(np.uint8)) for each in grain]
        sound = noise.normal(0, 0.1, (8, 1, RATE_HZ * BLOCK_NS // SECOND_NS)).astype(np.float32)
        self._blocks = [AudioBlock(data=each, rate_hz=RATE_HZ) for each in sound]

    def open(self, wanted: Mapping[str, Wanted]) -> Sequence[StreamSpec]:
        return [StreamSpec(name="video", kind="video", rate_hz=FPS), StreamSpec(name="audio", kind="audio", rate_hz=RATE_HZ)]

    def events(self, from_ns: int = 0) -> Iterator[tuple[int, StreamEvent]]:
        picture = block = 0
        while (at_ns := min(picture * SECOND_NS // FPS, block * BLOCK_NS)) < self._seconds * SECOND_NS:
            if at_ns == block * BLOCK_NS:
                payload = self._blocks[block % len(self._blocks)]
                packet = Packet(stream="audio", seq=block, start_ns=at_ns, end_ns=at_ns + BLOCK_NS, payload=payload)
                block += 1
            else:
                end_ns = (picture + 1) * SECOND_NS // FPS
                frame = self._frames[picture % len(self._frames)]
                packet = Packet(stream="video", seq=picture, start_ns=at_ns, end_ns=end_ns, payload=frame)
                picture += 1
            yield packet.end_ns, packet
            yield packet.end_ns, Watermark(stream=packet.stream, time_ns=packet.end_ns)
        yield from ((self._seconds * SECOND_NS, Closed(stream=name, time_ns=self._seconds * SECOND_NS)) for name in ("video", "audio"))

    def end_ns(self) -> int | None:
        return self._seconds * SECOND_NS

    def close(self) -> None:
        pass


class Hurried(FakeClock):
    """Virtual time that lets others run now and then."""

    def sleep_until(self, time_ns: int) -> None:
        super().sleep_until(time_ns)
        sleep(0.0005)


class Plan:
    """The little of a plan that a source's loop looks at."""

    replay = None

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        values = {
            "model": "none",
            "sources": {"me": {"use": "nowhere:Nothing"}},
            "inputs": {"video": "me.video", "audio": "me.audio"},
            "run": {"speed": 1.0},
        }
        self.config: Config = validate(values, {}, origin="/nowhere/view.yaml")

    def make_source(self, name: str) -> Camera:
        return self._camera

    def source_inputs(self, name: str) -> Mapping[str, str]:
        return {"video": "video", "audio": "audio"}

    def offset_ns(self, name: str) -> int:
        return 0

    def wanted(self, name: str) -> Mapping[str, Wanted]:
        return {}

    def make_transforms(self, name: str) -> list[Operator]:
        return []

    def edge(self, name: str) -> EdgePolicy:
        return EdgePolicy(policy="latest")


def cpu_ms(seconds: int, way: str) -> float:
    """CPU of one run of the loop, in milliseconds a second of session."""
    camera, clock = Camera(seconds), Hurried()
    with tempfile.TemporaryDirectory() as folder:
        address = "" if way == "none" else f"ipc://{folder}/view"
        watcher = subprocess.Popen([sys.executable, "-c", WATCHER, address, way], stdout=subprocess.PIPE) if address else None
        if watcher is not None and watcher.stdout is not None:
            watcher.stdout.readline()
        wires = Wires(folder=folder, inputs=("video", "audio"), view=address)
        loop = IngestLoop(Plan(camera), "me", wires, 0, clock, stop=lambda: clock.now_ns() > (seconds + 1) * SECOND_NS)  # type: ignore[arg-type]
        loop.open()
        sleep(0.3)  # the subscription is under way
        begun = process_time()
        loop.run(0, 0)
        spent = process_time() - begun
        if loop._view.dropped:
            sys.exit("the watcher did not keep up: the figures would leave out what sending costs")
        loop.close()
        if watcher is not None:
            watcher.kill()
            watcher.communicate()
    return spent * 1e3 / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    ways = ("none", "unwatched", "watched")
    found: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(options.rounds):
        for way in ways:  # by turns, so that a busy machine is as unfair to one as to the other
            found[way].append(cpu_ms(options.seconds, way))
    print(where_and_when())
    rows = [[way, f"{median(found[way]):.2f}", f"{min(found[way]):.2f}", f"{max(found[way]):.2f}"] for way in ways]
    print(markdown(["view", "CPU ms a second, median", "least", "most"], rows))


if __name__ == "__main__":
    main()
