"""Random sessions in small integers: aligner configs, what each stream says, and orders in which it may arrive."""

from operators.packet import Closed, Packet, TextSpan, Tick, Watermark
from operators.window import AlignConfig, StreamRule

NAMES = ("cam", "mic", "txt")
TAKES = ("window", "latest", "state", "nearest", "interpolate")


def random_config(rng, *, mode="wait", max_bytes=64 << 20):
    rules = [
        StreamRule(
            stream=name,
            take=rng.choice(TAKES),
            tolerance_ns=rng.choice([0, 1, 2, 3, 5, 9, 30]),
            ttl_ns=rng.choice([None, 1, 4, 10, 25]),
            max_bytes=max_bytes,
        )
        for name in NAMES[: rng.choice([1, 2, 3, 3])]
    ]
    deadline = rng.choice([0, 1, 3, 8])
    return AlignConfig(
        streams=tuple(rules),
        length_ns=rng.choice([1, 2, 5, 8, 10, 16]),
        hop_ns=rng.choice([1, 2, 3, 5, 10, 14]),
        start_ns=rng.choice([0, 0, -7, 4]),
        mode=mode,
        deadline_ns=deadline,
        tail_ns=rng.choice([0, 0, 3, 12]),
        revise_ns=rng.choice([0, 0, deadline + 2, deadline + 20]) if mode == "deadline" else 0,
        catch_up=rng.choice([1, 2, 3, 100]),
    )


def random_packets(rng, name, *, reach=60):
    """In order of start, with jumps of time, overlaps, instants and equal starts."""
    packets, time, count = [], rng.randint(-10, 5), rng.choice([1, 3, 8, 14, 25])
    while len(packets) < count and time < reach:
        time += rng.choice([0, 0, 1, 1, 2, 3, 5, 20 if rng.random() < 0.3 else 4])
        length = rng.choice([0, 0, 1, 2, 3, 3, 8, 25])
        packets.append(Packet(stream=name, seq=len(packets), start_ns=time, end_ns=time + length, payload=TextSpan(text="")))
    return packets


def random_stream(rng, name, *, faults=True):
    """What one stream says: packets in a disorder that its watermarks allow for, some faults, a close."""
    waiting, said, newest = random_packets(rng, name), [], -20
    while waiting:
        packet = waiting.pop(min(len(waiting) - 1, rng.choice([0, 0, 0, 1, 2])))
        newest = max(newest, packet.start_ns)
        said.append(packet)
        if faults and rng.random() < 0.04:
            said.append(packet)
        if rng.random() < 0.6:
            bound = min([p.start_ns for p in waiting], default=newest + rng.choice([0, 1, 5]))
            bold = rng.choice([0, 0, 0, 0, 4]) if faults else 0
            said.append(Watermark(stream=name, time_ns=bound - rng.choice([0, 0, 1, 3]) + bold))
    said.append(Closed(stream=name, time_ns=newest + rng.choice([-3, 0, 0, 1, 6, 30])))
    if faults and rng.random() < 0.1:
        said.append(rng.choice([packet, Watermark(stream=name, time_ns=newest), Closed(stream=name, time_ns=3)]))
    return said


def interleave(rng, streams):
    """One order in which the streams' events may arrive; each stream's own order is kept."""
    streams, events = [list(events) for events in streams], []
    while any(streams):
        stream = rng.choice([s for s in streams if s])
        for _ in range(rng.choice([1, 1, 1, 2, 5, 40])):
            if stream:
                events.append(stream.pop(0))
    return events


def with_ticks(rng, events):
    """Ticks that mostly follow the session, and sometimes jump."""
    now, out = -10, []
    for event in events:
        out.append(event)
        if rng.random() < 0.5:
            now += rng.choice([0, 1, 1, 2, 3, 4, 30 if rng.random() < 0.1 else 2])
            out.append(Tick(now_ns=now))
    return out
