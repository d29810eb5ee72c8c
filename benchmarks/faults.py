"""The fault script through Sensorium's aligner and through ROS 2's ApproximateTime, in one table. Virtual time.

    python -m benchmarks.faults [--seconds 600] [--seed 1]

Exit 1 if Sensorium misses a tick, is later than a deadline, has one wrong mask or loses a packet without a count.

by the deadline   share of ticks (a window of 200 ms every 100 ms) with an output by window end + 150 ms
late              ticks whose first output came after that
mask              share of windows whose packets, reasons of absence and completeness are exactly those that brute force derives from
                  the script (benchmarks/fault_truth.py). ApproximateTime has no mask
lost unsaid       packets in no output and in no report. ApproximateTime reports nothing; joining one to one it
                  must lose 20 of 50 blocks a second
paired right      share of all frames, if there was sound, that were given out with a block truly starting within 10 ms, by the deadline
A/V error         distance in the world between a frame and the block paired with it, ms; of 20 ms blocks up to 10 ms is right
mic, frozen, stall, text   share of ticks with an output by the deadline while that fault lasts, or with no caption within 1 s of the tick
us/packet         CPU of the join, with promises, ticks and the driving loop, per packet

The computing itself is not charged to virtual time; us/packet says how little that changes.
"""

from __future__ import annotations

import argparse
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable
from itertools import product

from benchmarks.contestants import ALIGN, Run, cached, first_output_ns, joined, key, sensorium
from benchmarks.fault_script import MS, FaultScript, S, fault_script, with_clock_map, with_text_on_arrival
from benchmarks.fault_truth import window_truths, windows_of
from benchmarks.machine import markdown, where_and_when

HEADER = ["", "by the deadline", "late", "mask", "lost unsaid", "paired right", "A/V error p50", "p99", "max"]
HEADER += ["mic", "frozen", "stall", "text", "us/packet"]
SLOPS_NS = (20 * MS, 50 * MS, 100 * MS, 200 * MS, 500 * MS, 1000 * MS)
QUEUES = (10, 50, 100)


def mask_right(script: FaultScript, run: Run) -> float:
    """Share of windows that are exactly as the script says: content, reason, completeness and the moment of emission."""
    made = {window.index: (emitted_ns, window) for emitted_ns, window in run.windows}
    right = total = 0
    for truth in window_truths(script, ALIGN):
        total += 1
        emitted_ns, window = made.get(truth.index, (None, None))
        if window is not None and emitted_ns == truth.emitted_ns:
            slots = {n: (tuple(p.seq for p in s.packets), s.missing, s.complete) for n, s in window.slots.items()}
            right += slots == truth.slots
    return right / total


def av_errors_ms(script: FaultScript, run: Run) -> list[float]:
    """Sorted; one for each pair."""
    truth = script.truth()
    return sorted(abs(truth[key(frame)] - truth[key(block)]) / MS for _, frame, block in run.pairs)


def paired_right(script: FaultScript, run: Run) -> float:
    truth = script.truth()
    sounds = {true_ns for (stream, _), true_ns in truth.items() if stream == "audio"}
    wanted = {seq for (stream, seq), true_ns in truth.items() if stream == "video" and _has_sound(sounds, true_ns, script.seconds)}
    right = set()
    for emitted_ns, frame, block in run.pairs:
        in_time = emitted_ns <= frame.start_ns + ALIGN.length_ns + ALIGN.deadline_ns  # of the last tick that the frame belongs to
        if in_time and abs(truth[key(frame)] - truth[key(block)]) <= 10 * MS:
            right.add(frame.seq)
    return len(right & wanted) / len(wanted)


def _has_sound(sounds: set[int], true_ns: int, seconds: int) -> bool:
    before_ns = true_ns - true_ns % (20 * MS)
    return true_ns < (seconds - 1) * S and before_ns in sounds and before_ns + 20 * MS in sounds


def quantile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def in_time(script: FaultScript, run: Run) -> tuple[list[bool], int]:
    """For each tick whether its output was there by the deadline; how many came only later."""
    ticks = windows_of(script, ALIGN)
    firsts = list(first_output_ns(run, ticks))
    deadlines = [ALIGN.window_end_ns(index) + ALIGN.deadline_ns for index in range(ticks)]
    on_time = [first is not None and first <= deadline for first, deadline in zip(firsts, deadlines, strict=True)]
    return on_time, sum(first is not None for first in firsts) - sum(on_time)


def shares(script: FaultScript, on_time: list[bool]) -> list[float]:
    """Share of ticks in time while the mic is dead, the video frozen, the host stalled, and no caption is near."""
    captions = [packet.start_ns for _, packet in script.packets() if packet.stream == "text"]

    def near_text(end_ns: int) -> bool:
        after = bisect_left(captions, end_ns - 1 * S)
        return after < len(captions) and captions[after] <= end_ns + 1 * S

    faults: list[Callable[[int], bool]] = [
        *(lambda end_ns, f=fault: f[0] < end_ns <= f[1] for fault in (script.mic_dead_ns, script.frozen_ns, script.stall_ns)),
        lambda end_ns: not near_text(end_ns),
    ]
    return [_share(on for i, on in enumerate(on_time) if fault(ALIGN.window_end_ns(i))) for fault in faults]


def _share(values: Iterable[bool]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def row(script: FaultScript, run: Run) -> list[str]:
    on_time, late = in_time(script, run)
    errors = av_errors_ms(script, run)
    mask = f"{mask_right(script, run):.2%}" if run.windows else "none"
    figures = [f"{_share(on_time):.2%}", str(late), mask, str(run.unaccounted(script))]
    figures.append(f"{paired_right(script, run):.2%}")
    figures += [f"{quantile(errors, share):.1f}" for share in (0.5, 0.99, 1.0)]
    return [run.name, *figures, *(f"{share:.1%}" for share in shares(script, on_time)), f"{run.cpu_us:.1f}"]


def failures(script: FaultScript, run: Run) -> list[str]:
    """Sensorium's own claims that this run breaks."""
    on_time, late = in_time(script, run)
    claims = {
        "a decision for every tick": all(on_time),
        "none later than its deadline": late == 0,
        "every mask right": mask_right(script, run) == 1.0,
        "no packet lost without a word": run.unaccounted(script) == 0,
        "every packet counted": run.balanced,
    }
    return [f"{run.name}: {claim}" for claim, held in claims.items() if not held]


def best(script: FaultScript, contestant: Callable[..., Run], slops_ns: Iterable[int] = SLOPS_NS, queues: Iterable[int] = QUEUES) -> Run:
    """The grid's run with the most ticks in time on this very script; of equals the most outputs at all, then the least A/V error."""
    runs = [contestant(script, queue_size=queue, slop_ns=slop) for slop, queue in product(slops_ns, queues)]
    run = max(runs, key=lambda run: _standing(script, run))
    run.name += " (best of grid)"
    return run


def _standing(script: FaultScript, run: Run) -> tuple[int, int, float]:
    on_time, late = in_time(script, run)
    return sum(on_time), late, -quantile(av_errors_ms(script, run), 0.99)


def peers(script: FaultScript) -> list[Run]:
    runs = []
    for contestant in (joined, cached):
        runs += [contestant(script, queue_size=queue, slop_ns=100 * MS) for queue in (10, 50)]
        runs.append(best(script, contestant))
    return runs


def table(script: FaultScript, *, with_peers: bool = True) -> tuple[str, list[str]]:
    """One script's Markdown table, and the claims that were broken."""
    ours = [(script, sensorium(script, "Sensorium, stamps as given" if script.skew_ppm else "Sensorium"))]
    if script.skew_ppm:
        mapped = with_clock_map(script)
        ours.append((mapped, sensorium(mapped, "Sensorium, clock map")))
    else:
        heard = with_text_on_arrival(script)
        ours.append((heard, sensorium(heard, "Sensorium, text counts from when it is heard")))
    for _, run in ours:
        waits = sorted((emitted_ns - window.end_ns) / MS for emitted_ns, window in run.windows)
        print(f"{run.name}: windows go out {quantile(waits, 0.5):.0f} ms (p50), {waits[-1]:.0f} ms (max) after their end  ")
    print()
    rows = [row(as_seen, run) for as_seen, run in ours] + [row(script, run) for run in (peers(script) if with_peers else [])]
    return markdown(HEADER, rows), [failure for as_seen, run in ours for failure in failures(as_seen, run)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print(where_and_when())
    broken = []
    for skew_ppm in (0.0, 100.0):
        script = fault_script(args.seconds, skew_ppm, args.seed)
        print(
            f"\nFault script: {args.seconds} s, seed {args.seed}, microphone {skew_ppm:g} ppm fast, {len(script.arrivals)} events,", end=" "
        )
        print(f"{len(script.packets())} packets, {windows_of(script, ALIGN)} ticks\n")
        markdown_table, failed = table(script)
        print(markdown_table, flush=True)
        broken += failed
    print("\n" + ("\n".join(f"BROKEN {claim}" for claim in broken) or "every claim holds"))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
