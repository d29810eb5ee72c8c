"""Five minutes of a camera and a microphone whose clocks differ by 200 ppm, through real processes: do sound and picture stay together?

    python -m benchmarks.drift_live [--seconds 300] [--ppm 200]

Two senders, each a process of its own, push MPEG-TS over UDP: H.264 pictures that flash at every whole second, and AAC sound that beeps at
the same instants, of a microphone whose clock runs fast: it makes more samples a second and stamps them as if they were 48 000. `sensorium
run` on Ray takes them as two sources; transforms note where on the session's timeline each flash and each beep begins.

error     beep less flash, less what it is in the second minute (the codecs' own delay, which no stamp shows): ms, after the first minute
beside    nominal counting: what the stamps alone would say (arithmetic: the rate's difference, times the time gone by);
          arrival: when the block and the picture were here
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import yaml

from benchmarks.machine import markdown, where_and_when

ROOT = Path(__file__).resolve().parents[1]
FPS, RATE, BLOCK = 30, 48_000, 1024
VIDEO_PORT, AUDIO_PORT = 8575, 8576
WARM_UP_S = 60.0


def send_video(begin_s: float) -> None:
    """begin_s: on the monotonic clock, which both senders read."""
    with av.open(f"udp://127.0.0.1:{VIDEO_PORT}?pkt_size=1316", "w", format="mpegts") as out:
        video = out.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "tune": "zerolatency", "g": "30", "bf": "0"})
        video.width, video.height, video.pix_fmt = 640, 360, "yuv420p"
        index = 0
        while True:
            time.sleep(max(0.0, begin_s + index / FPS - time.monotonic()))
            picture = np.full((360, 640, 3), 255 if index % FPS < 3 else 80, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            out.mux(video.encode(frame))
            index += 1


def send_audio(begin_s: float, ppm: float) -> None:
    """A block when its last sample was heard; stamps count samples as if there were RATE a second."""
    true_rate = RATE * (1 + ppm / 1e6)
    with av.open(f"udp://127.0.0.1:{AUDIO_PORT}?pkt_size=1316", "w", format="mpegts") as out:
        audio = out.add_stream("aac", rate=RATE, layout="mono")
        first = 0
        while True:
            time.sleep(max(0.0, begin_s + (first + BLOCK) / true_rate - time.monotonic()))
            phase = (first + np.arange(BLOCK)) / true_rate % 1.0
            tone = np.where(phase < 0.1, 0.6 * np.sin(2 * np.pi * 1000 * phase), 0).astype(np.float32)[None]
            block = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = RATE, first, Fraction(1, RATE)
            out.mux(audio.encode(block))
            first += BLOCK


def run(folder: Path, seconds: float, ppm: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[float]]:
    """Pictures, beeps, and what the status said of the microphone's drift, ppm."""
    noted = {"video": folder / "pictures.jsonl", "audio": folder / "beeps.jsonl"}
    use = "pipeline.sources.stream:Stream"
    config = {
        "model": "speaking",
        "sources": {
            "cam": {"use": use, "url": f"udp://127.0.0.1:{VIDEO_PORT}"},
            "mic": {"use": use, "url": f"udp://127.0.0.1:{AUDIO_PORT}"},
        },
        "inputs": {"video": "cam.video", "audio": "mic.audio"},
        "transforms": {
            "video": [{"use": "benchmarks.burned:Pictures", "out": str(noted["video"])}],
            "audio": [{"use": "benchmarks.burned:Beeps", "out": str(noted["audio"])}],
        },
        "run": {"duration": seconds},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "run").mkdir()
    own = {"PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": str(folder / "run"), "XDG_STATE_HOME": str(folder / "state")}
    begin = str(time.monotonic() + 2)
    senders = [["video", begin], ["audio", begin, str(ppm)]]
    made = [subprocess.Popen([sys.executable, "-m", "benchmarks.drift_live", "--send", *words], cwd=ROOT) for words in senders]
    words = [sys.executable, "-m", "pipeline.cli", "run", "config.yaml", "--quiet"]
    process = subprocess.Popen(words, cwd=folder, env={**os.environ, **own}, stderr=subprocess.DEVNULL)
    drifts = []
    while process.poll() is None:
        time.sleep(1.0)
        drifts += _drift(folder)
    for sender in made:
        sender.kill()
        sender.wait()
    return _lines(noted["video"]), _lines(noted["audio"]), drifts


def _drift(folder: Path) -> list[float]:
    for path in folder.glob("run/sensorium/*/status.json"):
        try:
            streams = json.loads(path.read_text())["streams"]
        except (OSError, ValueError):
            continue
        return [s["drift_ppm"] for s in streams if s["name"] == "audio" and s["drift_ppm"] is not None]
    return []


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def errors(pictures: Sequence[dict[str, Any]], beeps: Sequence[dict[str, Any]], key: str) -> list[tuple[float, float]]:
    """(seconds since the first, beep less flash in ms)."""
    flashes = [b for a, b in itertools.pairwise(pictures) if b["flash"] and not a["flash"]]
    found = []
    for beep in beeps:
        flash = min(flashes, key=lambda one: abs(one["wall_ns"] - beep["wall_ns"]))
        if abs(flash["wall_ns"] - beep["wall_ns"]) < 500_000_000:
            found.append(((beep["wall_ns"] - beeps[0]["wall_ns"]) / 1e9, (beep[key] - flash[key]) / 1e6))
    return found


def row(name: str, found: Sequence[tuple[float, float]]) -> list[str]:
    settled = [error for at_s, error in found if WARM_UP_S <= at_s < 2 * WARM_UP_S]
    middle = statistics.median(settled)
    late = [abs(error - middle) for at_s, error in found if at_s >= WARM_UP_S]
    return [name, str(len(late)), *(f"{value:.2f}" for value in (statistics.median(late), np.percentile(late, 99), max(late), middle))]


def main() -> None:
    if sys.argv[1:2] == ["--send"]:
        begin_s = float(sys.argv[3])
        send_video(begin_s) if sys.argv[2] == "video" else send_audio(begin_s, float(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--ppm", type=float, default=200.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dr-") as name:
        pictures, beeps, drifts = run(Path(name), asked.seconds, asked.ppm)
    ours = errors(pictures, beeps, "start_ns")
    print(f"{where_and_when()}; load {os.getloadavg()[0]:.1f}; {asked.seconds:g} s, the microphone {asked.ppm:g} ppm fast")
    nominal = [(at_s, at_s * asked.ppm / 1e3) for at_s, _ in ours]
    rows = [row("Sensorium", ours), row("nominal counting", nominal), row("arrival", errors(pictures, beeps, "wall_ns"))]
    print(markdown(["", "beeps", "error p50 ms", "p99", "worst", "constant"], rows))
    print(
        f"drift as the status said it: {drifts[len(drifts) // 2]:.1f} ppm half-way, {drifts[-1]:.1f} at the end"
        if drifts
        else "no drift told"
    )


if __name__ == "__main__":
    main()
