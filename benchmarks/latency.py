"""From a camera's instant to the decision, by kind of source: a sender burns the time into what it sends, and the pipeline reads it.

    python -m benchmarks.latency [--seconds 60] [--kinds file,rtsp,webrtc]

file     H.264 and AAC that this script made, read in real time: a picture's instant is its place on the file's own timeline
rtsp     tests/real/rtsp_server.py: GStreamer, x264 zerolatency, AAC; a picture's instant is its beginning; it is encoded when it is over
webrtc   headless Chromium: a canvas that shows the time, sent by the page that a person would use (VP8, Opus)

Each is a run of its own of `sensorium run` on Ray with the shipped model. All processes of this machine read the same clock.

arrival    from a picture's instant until its packet is at the first transform: encoder, network, buffers, decoder
stamp      what its packet says when it was, less its instant: how wrong the pipeline is about time, before `sensorium calibrate`
beep       the same for sound: from the instant of the flash that a beep begins with until its block is here; beep less flash by packets
align ...  stages of a decision from its window's end on, as it says itself; total: until it is made
newest     from the instant of the newest picture in the window until the decision is made
about      from the instant that the decision speaks of (the middle of its hop): the model looks 640 ms ahead, so 680 is the floor
"""

from __future__ import annotations

import argparse
import bisect
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import yaml

from benchmarks.burned import burn
from benchmarks.machine import markdown, where_and_when

ROOT = Path(__file__).resolve().parents[1]
FPS, RATE, WARM_UP_S = 30, 48_000, 10.0
LAG_NS, HOP_NS = 640_000_000, 80_000_000
CANVAS = """
navigator.mediaDevices.getUserMedia = async () => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 360 }), pen = canvas.getContext("2d");
  const sound = new AudioContext({ sampleRate: 48000 }), out = sound.createMediaStreamDestination();
  const tone = sound.createOscillator(), loud = sound.createGain();
  await sound.resume();
  tone.frequency.value = 1000; loud.gain.value = 0; tone.connect(loud).connect(out); tone.start();
  for (let at = Math.ceil(sound.currentTime) + 1; at < 600; at++) {
    loud.gain.setValueAtTime(0.6, at); loud.gain.setValueAtTime(0, at + 0.1);
  }
  setInterval(() => {
    pen.fillStyle = sound.currentTime % 1 < 0.1 ? "#fff" : "#505050"; pen.fillRect(0, 0, 640, 360);
    const ms = Date.now() % 4294967296;
    for (let bit = 0; bit < 32; bit++) {
      pen.fillStyle = Math.floor(ms / 2 ** bit) % 2 ? "#ebebeb" : "#101010"; pen.fillRect(bit * 20, 0, 20, 24);
    }
  }, 5);
  return new MediaStream([...canvas.captureStream(30).getTracks(), ...out.stream.getTracks()]);
};
"""
FLAGS = ["--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required", "--no-sandbox", "--disable-gpu"]

Source = dict[str, Any]


@contextmanager
def file_source(folder: Path, seconds: float) -> Iterator[tuple[Source, Callable[[], None]]]:
    """Pictures carry their place on the timeline; a flash and a beep at every second."""
    path = folder / "burned.mp4"
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "g": "30", "bf": "0"})
        video.width, video.height, video.pix_fmt = 640, 360, "yuv420p"
        audio = out.add_stream("aac", rate=RATE, layout="mono")
        count = RATE // FPS
        for index in range(round((seconds + 5) * FPS)):
            picture = np.full((360, 640, 3), 80, np.uint8)
            if index % FPS < 3:
                picture[:] = 255
            burn(picture, round(index * 1000 / FPS))
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            out.mux(video.encode(frame))
            phase = (index * count + np.arange(count)) / RATE % 1.0
            tone = np.where(phase < 0.1, 0.6 * np.sin(2 * np.pi * 1000 * phase), 0).astype(np.float32)[None]
            block = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = RATE, index * count, Fraction(1, RATE)
            out.mux(audio.encode(block))
        out.mux(video.encode(None))
        out.mux(audio.encode(None))
    yield {"use": "pipeline.sources.file:MediaFile", "path": str(path)}, lambda: None


@contextmanager
def rtsp_source(folder: Path, seconds: float) -> Iterator[tuple[Source, Callable[[], None]]]:
    words = ["/usr/bin/python3", str(ROOT / "tests" / "real" / "rtsp_server.py"), "8574"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        server.stdout.readline()
        yield {"use": "pipeline.sources.stream:Stream", "url": "rtsp://127.0.0.1:8574/live"}, lambda: None
        server.kill()


@contextmanager
def webrtc_source(folder: Path, seconds: float) -> Iterator[tuple[Source, Callable[[], None]]]:
    from playwright.sync_api import sync_playwright

    (folder / "token").touch(mode=0o600)
    (folder / "token").write_text("a-token-for-benchmarks")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", headless=True, args=FLAGS)
        page = browser.new_page()
        page.add_init_script(CANVAS)

        def click() -> None:
            page.goto("http://127.0.0.1:8719/?token=a-token-for-benchmarks")
            page.click("#start")
            page.wait_for_selector("#state:text-is('Sending.')", timeout=30_000)

        yield {"use": "pipeline.sources.webrtc:Browser", "port": 8719, "token_file": str(folder / "token")}, click
        browser.close()


SOURCES = {"file": file_source, "rtsp": rtsp_source, "webrtc": webrtc_source}


def run(kind: str, folder: Path, seconds: float) -> dict[str, Sequence[float]]:
    """Milliseconds by what they are."""
    with ExitStack() as stack:
        source, click = stack.enter_context(SOURCES[kind](folder, seconds))
        noted = {"video": folder / "pictures.jsonl", "audio": folder / "beeps.jsonl"}
        config = {
            "model": "speaking",
            "sources": {"me": source},
            "inputs": {"video": "me.video", "audio": "me.audio"},
            "transforms": {
                "video": [{"use": "benchmarks.burned:Pictures", "out": str(noted["video"])}],
                "audio": [{"use": "benchmarks.burned:Beeps", "out": str(noted["audio"])}],
            },
            "run": {"duration": seconds + WARM_UP_S if kind != "file" else seconds},
            "sinks": [{"use": "pipeline.sinks.jsonl:JsonLines", "path": str(folder / "out.jsonl")}],
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        own = {"PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": str(folder / "run"), "XDG_STATE_HOME": str(folder / "state")}
        (folder / "run").mkdir()
        words = [sys.executable, "-m", "pipeline.cli", "run", "config.yaml", "--quiet"]
        process = subprocess.Popen(words, cwd=folder, env={**os.environ, **own}, stderr=subprocess.DEVNULL)
        epoch_ns = _epoch(folder, process)
        click()
        process.wait()
    offset_ns = time.time_ns() - time.monotonic_ns()
    return _figures(kind, folder, noted, epoch_ns + offset_ns)


def _epoch(folder: Path, process: subprocess.Popen[bytes]) -> int:
    """When session time was 0, on the monotonic clock, as the status says."""
    while process.poll() is None:
        for path in folder.glob("run/sensorium/*/status.json"):
            try:
                status = json.loads(path.read_text())
            except (OSError, ValueError):
                continue
            if status.get("epoch_ns"):
                return int(status["epoch_ns"])
        time.sleep(0.05)
    raise SystemExit("the run ended before it began")


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _figures(kind: str, folder: Path, noted: dict[str, Path], epoch_ns: int) -> dict[str, Sequence[float]]:
    """epoch_ns: wall time of session time 0."""
    pictures = _lines(noted["video"])
    for picture in pictures:
        ms = picture["ms"] if kind == "file" else _whole_ms(picture["ms"], picture["wall_ns"])
        picture["instant_ns"] = ms * 1_000_000 + (epoch_ns if kind == "file" else 0)
    begun_ns = pictures[0]["wall_ns"] + round(WARM_UP_S * 1e9)
    good = [p for p in pictures if p["wall_ns"] >= begun_ns and abs(p["wall_ns"] - p["instant_ns"]) < 5e9]
    found: dict[str, list[float]] = {
        "pictures read, %": [100 * len(good) / max(1, sum(p["wall_ns"] >= begun_ns for p in pictures))],
        "arrival": [(p["wall_ns"] - p["instant_ns"]) / 1e6 for p in good],
        "stamp": [(epoch_ns + p["start_ns"] - p["instant_ns"]) / 1e6 for p in good],
        **{name: [] for name in ("beep arrival", "beep - flash", "transport", "align", "encode", "fuse", "total", "newest", "about")},
    }
    _sound(found, good, [beep for beep in _lines(noted["audio"]) if beep["wall_ns"] >= begun_ns])
    starts = [picture["start_ns"] for picture in good]
    for decision in _lines(folder / "out.jsonl"):
        end_ns = decision["end_ns"] + LAG_NS
        made_ns = epoch_ns + end_ns + decision["latency_ns"]["total"]
        newest, told = _at(good, starts, end_ns), _at(good, starts, decision["end_ns"] - HOP_NS // 2)
        if made_ns < begun_ns or newest is None or told is None:
            continue
        for name in ("transport", "align", "encode", "fuse", "total"):
            found[name].append(decision["latency_ns"][name] / 1e6)
        found["newest"].append((made_ns - newest["instant_ns"]) / 1e6)
        inside_ns = decision["end_ns"] - HOP_NS // 2 - told["start_ns"]
        found["about"].append((made_ns - told["instant_ns"] - inside_ns) / 1e6)
    return found


def _sound(found: dict[str, list[float]], pictures: Sequence[dict[str, Any]], beeps: Sequence[dict[str, Any]]) -> None:
    flashes = [p for before, p in pairwise(pictures) if p["flash"] and not before["flash"]]
    for beep in beeps:
        flash = min(flashes, key=lambda p: abs(p["start_ns"] - beep["start_ns"]), default=None)
        if flash is not None and abs(flash["start_ns"] - beep["start_ns"]) < 400_000_000:
            found["beep arrival"].append((beep["wall_ns"] - flash["instant_ns"]) / 1e6)
            found["beep - flash"].append((beep["start_ns"] - flash["start_ns"]) / 1e6)


def _at(pictures: Sequence[dict[str, Any]], starts: Sequence[int], at_ns: int) -> dict[str, Any] | None:
    """The newest picture that begins before that time of the session."""
    place = bisect.bisect_left(starts, at_ns) - 1
    return pictures[place] if place >= 0 and at_ns - starts[place] < 500_000_000 else None


def _whole_ms(ms: int, wall_ns: int) -> int:
    """What was burned without its highest bits."""
    now_ms = wall_ns // 1_000_000
    return now_ms - ((now_ms - ms) & 0xFFFFFFFF)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--kinds", default="file,rtsp,webrtc")
    asked = parser.parse_args()
    found = {}
    for kind in asked.kinds.split(","):
        with tempfile.TemporaryDirectory(prefix="lt-") as name:
            found[kind] = run(kind, Path(name), asked.seconds)
    print(f"{where_and_when()}; load {os.getloadavg()[0]:.1f}; ms, p50 / p99")
    names = list(next(iter(found.values())))
    print(markdown(["", *found], [[name, *(_cell(figures[name]) for figures in found.values())] for name in names]))


def _cell(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.1f}" if values else "-"
    return f"{statistics.median(values):.1f} / {np.percentile(values, 99):.1f}"


if __name__ == "__main__":
    main()
