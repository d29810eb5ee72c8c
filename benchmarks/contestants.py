"""Who runs the fault script: Sensorium's aligner in deadline mode, and ROS 2's ApproximateTime in two set-ups.

Each is driven with the script's arrivals in their order, in virtual time, and yields the same record of a run.
CPU is the process time of the whole loop, the loop itself included.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.approximate_time import ApproximateTime, Cache
from benchmarks.fault_script import MS, FaultScript, S
from operators.align import Aligner, Output
from operators.packet import Packet, Tick
from operators.window import AlignConfig, AlignedWindow, Late, StreamRule

TEXT_TTL_NS = 5 * S

ALIGN = AlignConfig(
    streams=(StreamRule(stream="video"), StreamRule(stream="audio"), StreamRule(stream="text", take="state", ttl_ns=TEXT_TTL_NS)),
    length_ns=200 * MS,
    hop_ns=100 * MS,
    mode="deadline",
    deadline_ns=150 * MS,
)

PAIR_NS = 20 * MS

Key = tuple[str, int]


@dataclass(slots=True, kw_only=True)
class Run:
    """What came out of a script.

    pairs           (emitted_ns, frame, block) of sound and picture that were given out as belonging together
    windows         (emitted_ns, window); none for a peer
    used, reported  packets that are in some output; that were said to be late
    cpu_us          process time for each packet of the script
    balanced        the aligner's own counters add up and hold every packet that was fed
    """

    name: str
    pairs: list[tuple[int, Packet, Packet]] = field(default_factory=list)
    windows: list[tuple[int, AlignedWindow]] = field(default_factory=list)
    used: set[Key] = field(default_factory=set)
    reported: set[Key] = field(default_factory=set)
    cpu_us: float = 0.0
    balanced: bool = True

    def unaccounted(self, script: FaultScript) -> int:
        """Packets of the script's time that are in no output and in no report."""
        keys = {key(packet) for _, packet in script.packets() if packet.end_ns <= script.seconds * S - 200 * MS}
        return len(keys - self.used - self.reported)


def key(packet: Packet) -> Key:
    return packet.stream, packet.seq


def sensorium(script: FaultScript, name: str = "Sensorium", config: AlignConfig = ALIGN) -> Run:
    """Ticks exactly at the aligner's deadlines, as a runner in virtual time gives them."""
    run, aligner = Run(name=name), Aligner(config)
    out: list[tuple[int, Output]] = []
    started = time.process_time_ns()
    for arrival in script.arrivals:
        while (deadline_ns := aligner.next_deadline_ns()) is not None and deadline_ns < arrival.arrival_ns:
            out.extend((deadline_ns, output) for output in aligner.process(Tick(now_ns=deadline_ns)))
        out.extend((arrival.arrival_ns, output) for output in aligner.process(arrival.event))
    run.cpu_us = (time.process_time_ns() - started) / 1e3 / len(script.packets())
    counts = aligner.counts().values()
    run.balanced = all(c.entered == c.forgotten + c.late + sum(c.dropped.values()) + c.buffered for c in counts)
    run.balanced &= sum(c.entered for c in counts) == len(script.packets())
    for emitted_ns, output in out:
        _record(run, emitted_ns, output)
    return run


def _record(run: Run, emitted_ns: int, output: Output) -> None:
    if isinstance(output, Late):
        run.reported.add(key(output.packet))
    elif isinstance(output, AlignedWindow):
        run.windows.append((emitted_ns, output))
        run.pairs += [(emitted_ns, *pair) for pair in _pairs(output, run.used)]
        run.used.update(key(packet) for slot in output.slots.values() for packet in slot.packets)


def _pairs(window: AlignedWindow, before: set[Key]) -> Iterator[tuple[Packet, Packet]]:
    """Each frame of the window's middle hop, or that was too late for the middle of the one before, with the block nearest by stamp.

    Within PAIR_NS: a frame with no sound that near is a frame without sound.
    """
    blocks = window.slots["audio"].packets
    middle_ns, late_ns = window.start_ns + (ALIGN.length_ns - ALIGN.hop_ns) // 2, window.end_ns - (ALIGN.length_ns - ALIGN.hop_ns) // 2
    for frame in window.slots["video"].packets:
        if blocks and frame.start_ns < late_ns and (frame.start_ns >= middle_ns or key(frame) not in before):
            block = min(blocks, key=lambda block: abs(block.start_ns - frame.start_ns))
            if abs(block.start_ns - frame.start_ns) <= PAIR_NS:
                yield frame, block


def joined(script: FaultScript, *, queue_size: int, slop_ns: int) -> Run:
    """ApproximateTime over all three streams."""
    join = ApproximateTime(("video", "audio", "text"), queue_size=queue_size, slop_ns=slop_ns)
    run = Run(name=f"ApproximateTime, all joined, slop {slop_ns / S:g} s, queue {queue_size}")
    packets = script.packets()
    matches = []
    started = time.process_time_ns()
    for arrival_ns, packet in packets:
        match = join.add(packet)
        if match is not None:
            matches.append((arrival_ns, match))
    run.cpu_us = (time.process_time_ns() - started) / 1e3 / len(packets)
    _matched(run, matches)
    return run


def cached(script: FaultScript, *, queue_size: int, slop_ns: int) -> Run:
    """The fair variant: ApproximateTime over video and audio, the text looked up in a cache (the newest at or before the frame)."""
    join, cache = ApproximateTime(("video", "audio"), queue_size=queue_size, slop_ns=slop_ns), Cache(10)
    run = Run(name=f"ApproximateTime, text from a cache, slop {slop_ns / S:g} s, queue {queue_size}")
    packets = script.packets()
    matches: list[tuple[int, tuple[Packet, ...]]] = []
    started = time.process_time_ns()
    for arrival_ns, packet in packets:
        if packet.stream == "text":
            cache.add(packet)
            continue
        match = join.add(packet)
        if match is not None:
            text = cache.before(match[0].start_ns)
            matches.append((arrival_ns, (*match, text) if text else match))
    run.cpu_us = (time.process_time_ns() - started) / 1e3 / len(packets)
    _matched(run, matches)
    return run


def _matched(run: Run, matches: Sequence[tuple[int, tuple[Packet, ...]]]) -> None:
    for emitted_ns, match in matches:
        run.used.update(key(packet) for packet in match)
        run.pairs.append((emitted_ns, match[0], match[1]))


def first_output_ns(run: Run, ticks: int, config: AlignConfig = ALIGN) -> Iterator[int | None]:
    """For each tick when its first output came. A match belongs to every window that its frame's stamp lies in: the kindest reading."""
    if run.windows:
        emitted = {window.index: emitted_ns for emitted_ns, window in run.windows}
        yield from (emitted.get(index) for index in range(ticks))
        return
    stamped = sorted((frame.start_ns, emitted_ns) for emitted_ns, frame, _ in run.pairs)
    for index in range(ticks):
        low = bisect_left(stamped, (config.window_start_ns(index), 0))
        high = bisect_left(stamped, (config.window_end_ns(index), 0))
        yield min((emitted_ns for _, emitted_ns in stamped[low:high]), default=None)
