"""The same media packets written in real time by what people use instead, and killed: plain MP4, and MCAP with its writer's defaults.

python -m benchmarks.kill_peers mp4|mcap FILE OUT      (a writer: says when it began, then writes each packet when it is due)
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import takewhile
from pathlib import Path
from typing import Any

import av
from mcap.exceptions import McapError
from mcap.reader import NonSeekingReader
from mcap.writer import Writer

from pipeline.clock import SystemClock

S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A compressed packet: due when it is decoded, ns since the first."""

    due_ns: int
    stream: str
    packet: Any


def timed(file: Path, after_ns: int = 0) -> Iterator[Timed]:
    """The packets of the first video and the first audio track in order of time, again and again, from after_ns on."""
    while True:
        with av.open(str(file)) as container:
            found = list(_once(container, after_ns))
        yield from found
        after_ns = found[-1].due_ns + 30_000_000


def _once(container: Any, after_ns: int) -> Iterator[Timed]:  # noqa: ANN401 - av.container.InputContainer
    streams = [*container.streams.video[:1], *container.streams.audio[:1]]
    read = [packet for packet in container.demux(streams) if packet.dts is not None and packet.size]
    first_s = min(packet.dts * packet.time_base for packet in read)
    for packet in sorted(read, key=lambda one: one.dts * one.time_base):
        due_ns = round((packet.dts * packet.time_base - first_s) * S) + after_ns
        moved = round(Fraction(after_ns, S) / packet.time_base)
        packet.dts, packet.pts = packet.dts + moved, packet.pts + moved
        yield Timed(due_ns=due_ns, stream=packet.stream.type, packet=packet)


def write_mp4(file: Path, out: Path, stack: ExitStack) -> Callable[[Timed], None]:
    container = stack.enter_context(av.open(str(out), "w", format="mp4"))
    like = stack.enter_context(av.open(str(file)))
    made = {stream.type: container.add_stream_from_template(stream) for stream in [*like.streams.video[:1], *like.streams.audio[:1]]}

    def write(one: Timed) -> None:
        one.packet.stream = made[one.stream]
        container.mux(one.packet)

    return write


def write_mcap(file: Path, out: Path, stack: ExitStack) -> Callable[[Timed], None]:
    writer = Writer(str(out))
    writer.start()
    schema = writer.register_schema(name="packet", encoding="", data=b"")
    channels = {name: writer.register_channel(name, "", schema) for name in ("video", "audio")}
    stack.callback(writer.finish)

    def write(one: Timed) -> None:
        writer.add_message(channels[one.stream], log_time=one.due_ns, publish_time=one.due_ns, data=bytes(one.packet))

    return write


WRITERS = {"mp4": write_mp4, "mcap": write_mcap}


def read_back(kind: str, path: Path) -> dict[str, int]:
    """How many packets of each stream can be read."""
    counts: dict[str, int] = {}
    for name in (_mp4_streams if kind == "mp4" else _mcap_streams)(path):
        counts[name] = counts.get(name, 0) + 1
    return counts


def _mp4_streams(path: Path) -> Iterator[str]:
    try:
        with av.open(str(path)) as container:
            yield from (packet.stream.type for packet in container.demux() if packet.size)
    except (av.error.FFmpegError, OSError):
        return


def _mcap_streams(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            yield from (channel.topic for _, channel, _ in NonSeekingReader(file).iter_messages(log_time_order=False))
    except (McapError, OSError):
        return


def losses(kind: str, file: Path, folder: Path, after_ns: Sequence[int]) -> Iterator[tuple[dict[str, int], int]]:
    """Starts as many writers and kills each after its time. (by stream: from the oldest lost packet to the kill; the kill), ns."""
    clock = SystemClock()
    outs = [folder / f"{number}-{file.stem}.{kind}" for number in range(len(after_ns))]
    words = [[sys.executable, "-m", "benchmarks.kill_peers", kind, str(file), str(out)] for out in outs]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in words]
    begun = [int(writer.stdout.readline()) for writer in writers if writer.stdout is not None]
    killed_ns = {}
    for at_ns, number in sorted((begun[number] + after_ns[number], number) for number in range(len(writers))):
        clock.sleep_until(at_ns)
        killed_ns[number] = clock.now_ns() - begun[number]
        writers[number].kill()
    for number, writer in enumerate(writers):
        writer.wait()
        due = list(takewhile(lambda one, end_ns=killed_ns[number]: one.due_ns <= end_ns, timed(file)))
        yield _lost(due, read_back(kind, outs[number]), killed_ns[number]), killed_ns[number]


def _lost(due: Sequence[Timed], there: dict[str, int], killed_ns: int) -> dict[str, int]:
    made = {}
    for stream in ("video", "audio"):
        missing = [one for one in due if one.stream == stream][there.get(stream, 0) :]
        made[stream] = killed_ns - missing[0].due_ns if missing else 0
    return made


def main() -> None:
    kind, file, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    clock = SystemClock()
    with ExitStack() as stack:
        write = WRITERS[kind](file, out, stack)
        begun_ns = clock.now_ns()
        print(begun_ns, flush=True)
        for one in timed(file):
            clock.sleep_until(begun_ns + one.due_ns)
            write(one)


if __name__ == "__main__":
    main()
