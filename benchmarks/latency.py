"""True latency: from when a picture was made, or a sound heard, to when the decision about that instant was written, by stage.

    python -m benchmarks.latency [--kinds file rtsp webrtc] [--seconds 60] [--warm 20]

What is sent carries the time of its making, burned in live (benchmarks.stamps); all processes of this machine share that clock, and the
page of the browser is asked for its own. `sensorium run` in real time, on Ray, with the shipped model; transforms before and behind the
model's own, the source and a sink note when each packet came by. Nothing is averaged away: each picture, and each mark in the sound (one
in 100 ms), is followed to the decision whose hop it is in.

capture -> source   encoder, network, the receiver's buffers; a file: when it is due. Of sound: until its block is there
-> transforms       decoding, and the queue between the thread that reads and the loop
transforms          the model's own: the face; of sound, until its 40 ms of log-mel are full
-> window's end     by design: the rest of the hop and the look-ahead, less what the stamp was late
window's end -> run the wait for all promises, or the deadline; transport is in it
written             from the fusion process to the line in the file
by design           hop and look-ahead of just this instant; the total cannot be less, but for a stamp that is wrong
first decision ...  the first whose window has it, which is about an earlier hop: what a model without look-ahead would have
stamp - truth       what the pipeline says when it was, less when it was
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np

from benchmarks.machine import markdown, where_and_when
from benchmarks.notes import NOTES, Decided, Item, Notes, read_notes, run_session
from benchmarks.senders import free_port, last_words, sender
from benchmarks.stamped_media import scene_pictures, write_file
from pipeline.clock import SystemClock

S = 1_000_000_000
TOKEN = "of-a-benchmark-on-this-machine-only"  # noqa: S105
PAGE_S = 10
"""What the browser takes to send."""
INPUTS = {"video": "it.video", "audio": "it.audio"}


def run_file(folder: Path, seconds: float) -> str:
    write_file(folder / "stamped.mp4", round(seconds) + 5)
    run_session(folder, _it(folder, use="benchmarks.burned:NotedFile", path=str(folder / "stamped.mp4")), INPUTS, seconds)
    return "in real time, 640x480 H.264, AAC"


def run_rtsp(folder: Path, seconds: float) -> str:
    port = free_port()
    words = ["/usr/bin/python3", "-m", "benchmarks.stamped_rtsp", str(port), _pictures(folder)]
    with sender(words, folder / "sender-errors"):
        run_session(folder, _it(folder, use="benchmarks.burned:NotedStream", url=f"rtsp://127.0.0.1:{port}/live"), INPUTS, seconds)
    return "GStreamer's RTSP server over TCP, 640x480 H.264 (zerolatency), AAC"


def run_webrtc(folder: Path, seconds: float) -> str:
    port, token = free_port(), folder / "token"
    token.touch(0o600)
    token.write_text(TOKEN)
    address, said = f"http://127.0.0.1:{port}/?token={TOKEN}", list[str]()
    words = [sys.executable, "-m", "benchmarks.stamped_page", address, _pictures(folder)]

    def send(process: subprocess.Popen[bytes]) -> None:
        _wait_for(address)
        with sender(words, folder / "sender-errors") as page:
            process.wait(seconds + 60)
            said.append(last_words(page))

    run_session(folder, _it(folder, use="benchmarks.burned:NotedBrowser", port=port, token_file=str(token)), INPUTS, seconds + PAGE_S, send)
    return f"headless Chromium, 640x480 VP8, Opus; {said[0]}"


KINDS = {"file": run_file, "rtsp": run_rtsp, "webrtc": run_webrtc}


def _it(folder: Path, **source: object) -> dict[str, dict[str, object]]:
    return {"it": {**source, "notes": str(folder / NOTES)}}


def _pictures(folder: Path) -> str:
    np.save(folder / "pictures.npy", scene_pictures())
    return str(folder / "pictures.npy")


def _wait_for(address: str) -> None:
    clock = SystemClock()
    for _ in range(600):
        with suppress(URLError), urlopen(address, timeout=2):  # noqa: S310 - ours
            return
        clock.sleep_until(clock.now_ns() + S // 10)
    raise SystemExit("the session does not listen")


# -- what came of it


def stages(notes: Notes, items: list[Item]) -> dict[str, list[float]]:
    """ms by stage, of the items that went all the way."""
    found: dict[str, list[float]] = {}
    hop_ns = notes.decisions[0].end_ns - notes.decisions[0].start_ns
    about = {decision.start_ns: decision for decision in notes.decisions}
    for item in items:
        hop = item.stamp_ns // hop_ns * hop_ns
        # The first window with it in: its own hop is the window's last, so the decision is about a hop that is lag_ns before.
        first = next((d for d in notes.decisions if item.stamp_ns < d.window_end_ns <= item.stamp_ns + hop_ns), None)
        if hop in about and first is not None and item.out_ns is not None:
            for stage, took_ns in _of(item, item.out_ns, about[hop], first, notes.epoch_ns).items():
                found.setdefault(stage, []).append(took_ns / 1e6)
    return found


def _of(item: Item, out_ns: int, decision: Decided, first: Decided, epoch_ns: int) -> dict[str, int]:
    end_ns = decision.window_end_ns + epoch_ns
    # A file is read ahead of its time: what was done before it was due took none.
    in_ns, out_ns = max(item.in_ns, item.arrived_ns), max(out_ns, item.arrived_ns)
    total_ns, by_design_ns = decision.written_ns - item.made_ns, decision.window_end_ns - item.stamp_ns
    return {
        "capture -> source": item.arrived_ns - item.made_ns,
        "-> transforms": in_ns - item.arrived_ns,
        "transforms": out_ns - in_ns,
        "-> window's end": end_ns - out_ns,
        "window's end -> run": decision.latency_ns["align"],
        "of it transport": decision.latency_ns["transport"],
        "encode": decision.latency_ns["encode"],
        "fuse": decision.latency_ns["fuse"],
        "written": decision.written_ns - end_ns - decision.latency_ns["total"],
        "total": total_ns,
        "by design": by_design_ns,
        "total - by design": total_ns - by_design_ns,
        "first decision with it": first.written_ns - item.made_ns,
        "stamp - truth": item.stamp_ns + epoch_ns - item.made_ns,
    }


ORDER = ["capture -> source", "-> transforms", "transforms", "-> window's end", "window's end -> run", "of it transport", "encode", "fuse"]
ORDER += ["written", "total", "by design", "total - by design", "first decision with it", "stamp - truth"]


def report(notes: Notes, warm_s: float) -> str:
    columns, heads, said = [], [""], list[str]()
    end_ns = max(decision.end_ns for decision in notes.decisions) - 2 * S
    for name in ("video", "audio"):
        # At the end the streams close, and nothing waits for the last windows.
        items = [item for item in notes.items[name] if warm_s * S < item.stamp_ns < end_ns]
        through = sum(item.out_ns is not None for item in items)
        columns.append(stages(notes, items))
        heads += [f"{name} p50", "p99", "mean"]
        error = np.array(columns[-1]["stamp - truth"])
        off = float(np.percentile(np.abs(error - np.median(error)), 99))
        said.append(
            f"{name}: {len(items)} stamps read, {through} through the transforms; stamp off its median: p99 {np.percentile(off, 99):.2f} ms"
        )
    rows = [[stage, *(f"{value:.1f}" for found in columns for value in _figures(found[stage]))] for stage in ORDER]
    seen = Counter(f"{d.presence['video']}/{d.presence['audio']}" for d in notes.decisions if warm_s * S < d.start_ns < end_ns)
    said.append(f"decisions by presence of video/audio: {dict(seen)}")
    last = notes.statuses[-1]
    said.append(f"quality {last['quality']}, missed {last['missed']}, skipped {last['skipped']}, faults {last['faults']}")
    return markdown(heads, rows) + "\n\n" + "\n".join(said)


def _figures(values: list[float]) -> tuple[float, float, float]:
    return float(np.median(values)), float(np.percentile(values, 99)), float(np.mean(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--warm", type=float, default=20.0, help="seconds that are left out at the start")
    options = parser.parse_args()
    for kind in options.kinds:
        with tempfile.TemporaryDirectory(prefix="lat-") as name:
            load = os.getloadavg()[0]
            about = KINDS[kind](Path(name), options.seconds + options.warm)
            notes = read_notes(Path(name) / NOTES, own_time=kind == "file")
            print(f"{where_and_when()}; load {load:.1f} before, {os.getloadavg()[0]:.1f} after\n{kind}: {about}\n")
            print(report(notes, options.warm), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
