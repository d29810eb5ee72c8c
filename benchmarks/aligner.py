"""What the aligner costs per event, beside the floor: an empty loop over the same events in the same run.

    python -m benchmarks.aligner [--seconds 120] [--repeats 7]

Three streams as in a run: video 30 packets/s, audio 50, a caption every 3.3 s; a watermark after each packet and a text heartbeat
every 100 ms; a tick at every deadline. Window 1.6 s, hop 80 ms. Windows are not counted as events, their cost is in.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median

import numpy as np

from benchmarks.machine import markdown, where_and_when
from operators.align import Aligner
from operators.packet import CoreEvent, Embedding, Packet, TextSpan, Tick, Watermark
from operators.window import AlignConfig, AlignedWindow, StreamRule

MS, S = 10**6, 10**9

CONFIG = AlignConfig(
    streams=(StreamRule(stream="video"), StreamRule(stream="audio"), StreamRule(stream="text", take="state", ttl_ns=10 * S)),
    length_ns=1600 * MS,
    hop_ns=80 * MS,
    start_ns=200 * MS + 80 * MS - 1600 * MS,
    mode="deadline",
    deadline_ns=150 * MS,
    tail_ns=200 * MS,
)


def stream(name: str, period_ns: int, seconds: int, delay_ns: int) -> list[tuple[int, CoreEvent]]:
    """(arrival, event): packets end to end, each followed by the promise of its end."""
    payload = TextSpan(text="hello") if name == "text" else Embedding(data=np.zeros((4, 40), np.float32))
    out: list[tuple[int, CoreEvent]] = []
    for seq in range(seconds * S // period_ns):
        start_ns, end_ns = seq * period_ns, (seq + 1) * period_ns
        if name == "text":
            end_ns = start_ns
        packet = Packet(stream=name, seq=seq, start_ns=start_ns, end_ns=end_ns, payload=payload)
        out += [(end_ns + delay_ns, packet), (end_ns + delay_ns, Watermark(stream=name, time_ns=end_ns))]
    return out


def session(seconds: int, delays_ns: tuple[int, int, int]) -> list[CoreEvent]:
    """Events in order of arrival. A text delayed beyond the deadline makes every window go out by its tick."""
    video, audio, text = delays_ns
    events = stream("video", S // 30, seconds, video) + stream("audio", 20 * MS, seconds, audio) + stream("text", 3300 * MS, seconds, text)
    beats = seconds * 10
    events += [(beat * 100 * MS + text, Watermark(stream="text", time_ns=beat * 100 * MS)) for beat in range(beats)]
    windows = range(seconds * S // CONFIG.hop_ns)
    events += [(CONFIG.window_end_ns(i) + CONFIG.deadline_ns, Tick(now_ns=CONFIG.window_end_ns(i) + CONFIG.deadline_ns)) for i in windows]
    return [event for _, event in sorted(events, key=lambda pair: pair[0])]


def floor(events: Sequence[CoreEvent]) -> int:
    for _event in events:
        pass
    return 0


def aligned(config: AlignConfig) -> Callable[[Sequence[CoreEvent]], int]:
    def run(events: Sequence[CoreEvent]) -> int:
        aligner, windows = Aligner(config), 0
        for event in events:
            for out in aligner.process(event):
                windows += isinstance(out, AlignedWindow)
        return windows

    return run


def per_event_us(job: Callable[[Sequence[CoreEvent]], int], events: Sequence[CoreEvent], repeats: int) -> tuple[float, float, int]:
    """(best, median) process time in microseconds per event, and the windows made."""
    times, windows = [], 0
    for _ in range(repeats):
        started = time.process_time_ns()
        windows = job(events)
        times.append((time.process_time_ns() - started) / 1e3 / len(events))
    return min(times), median(times), windows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    prompt, tardy = session(args.seconds, (30 * MS, 15 * MS, 20 * MS)), session(args.seconds, (30 * MS, 15 * MS, 400 * MS))
    jobs = [
        ("empty loop (floor)", floor, prompt),
        ("deadline, all in time", aligned(CONFIG), prompt),
        ("deadline, text too late", aligned(CONFIG), tardy),
        ("deadline, text too late, revised", aligned(replace(CONFIG, revise_ns=S)), tardy),
        ("wait", aligned(replace(CONFIG, mode="wait")), prompt),
    ]
    print(where_and_when())
    print(f"{args.seconds} s of session, {len(prompt)} events ({len(prompt) / args.seconds:.0f}/s), {args.repeats} repeats\n")
    rows = []
    for name, job, events in jobs:
        best, middle, windows = per_event_us(job, events, args.repeats)
        rows.append([name, str(windows), f"{best:.2f}", f"{middle:.2f}"])
    print(markdown(["job", "windows", "best us/event", "median us/event"], rows))


if __name__ == "__main__":
    main()
