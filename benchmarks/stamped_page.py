"""A browser that burns the time into what it sends: headless Chromium on the pipeline's own page, with a canvas for a camera.

    python -m benchmarks.stamped_page ADDRESS PICTURES.npy      sends until its stdin closes

The page's clock against the monotonic one: the fastest of 300 questions and answers, and again at the end. A picture carries the time at
which it was drawn. A sample of sound counts as made when the audio context can first have had it: the newest sample at that time is then
just made, as with a microphone that hands over blocks when they are full. The last line on stdout says how sure that is.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from typing import Any

import cv2
import numpy as np

from benchmarks.stamps import BAND, BITS, MARK_NS, TONES, marks

FLAGS = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", "--autoplay-policy=no-user-gesture-required"]
FLAGS += ["--no-sandbox", "--disable-gpu"]
RATE_HZ = 48_000
SCRIPT = """
window.lead = async (context, ms) => {  // by how much the context's time, at its most advanced, is ahead of the page's, in ms
  const channel = new MessageChannel(), until = performance.now() + ms;
  let most = -Infinity;
  while (performance.now() < until) {
    most = Math.max(most, context.currentTime * 1e3 - performance.now());
    await new Promise(done => { channel.port1.onmessage = done; channel.port2.postMessage(0); });
  }
  return most;
};
const bytes = text => Uint8Array.from(atob(text), one => one.charCodeAt(0));
navigator.mediaDevices.getUserMedia = async () => {
  const images = await Promise.all(JPEGS.map(text => createImageBitmap(new Blob([bytes(text)], { type: "image/jpeg" }))));
  const canvas = Object.assign(document.createElement("canvas"), { width: images[0].width, height: images[0].height });
  const pen = canvas.getContext("2d", { alpha: false }), row = Math.round(canvas.height * BAND / 2), cell = canvas.width / BITS;
  const context = window.context = new AudioContext({ sampleRate: RATE }), out = context.createMediaStreamDestination();
  await context.resume();
  const sounds = MARKS.map(text => {
    const samples = new Float32Array(bytes(text).buffer), buffer = context.createBuffer(1, samples.length, RATE);
    buffer.copyToChannel(samples, 0);
    return buffer;
  });
  const lead = window.ahead = await window.lead(context, 2000);
  let next = Math.ceil((performance.now() + window.offset) / MARK) + 5;
  setInterval(() => {
    for (; next * MARK < performance.now() + window.offset + 1500; next++) {
      const source = new AudioBufferSourceNode(context, { buffer: sounds[next % sounds.length] });
      source.connect(out);
      source.start((next * MARK - window.offset + lead) / 1e3);
    }
  }, 300);
  const video = canvas.captureStream(0), track = video.getVideoTracks()[0];
  let shown = 0, due = performance.now();
  const show = () => {
    pen.drawImage(images[shown++ % images.length], 0, 0);
    const units = Math.floor((performance.now() + window.offset) * 10);
    for (let bit = 0; bit < BITS; bit++) {
      const one = Math.floor(units / 2 ** bit) % 2;
      pen.fillStyle = one ? "#ebebeb" : "#101010"; pen.fillRect(bit * cell, 0, cell, row);
      pen.fillStyle = one ? "#101010" : "#ebebeb"; pen.fillRect(bit * cell, row, cell, row);
    }
    track.requestFrame();
    due = Math.max(due + 1000 / 30, performance.now());
    setTimeout(show, due - performance.now());
  };
  show();
  return new MediaStream([track, ...out.stream.getTracks()]);
};
"""


def script(pictures: np.ndarray) -> str:
    jpegs = [base64.b64encode(cv2.imencode(".jpg", picture)[1].tobytes()).decode() for picture in pictures]
    count = RATE_HZ * MARK_NS // 1_000_000_000
    sounds = [marks(np.arange(count) * 1e9 / RATE_HZ, index * MARK_NS) for index in range(TONES)]
    values = {
        "JPEGS": jpegs,
        "MARKS": [base64.b64encode(sound.tobytes()).decode() for sound in sounds],
        "MARK": MARK_NS // 1_000_000,
        "RATE": RATE_HZ,
        "BAND": BAND,
        "BITS": BITS,
    }
    return "".join(f"const {name} = {json.dumps(value)};\n" for name, value in values.items()) + SCRIPT


def offset(page: Any) -> tuple[float, float]:  # noqa: ANN401 - playwright's
    """(what the monotonic clock is ahead of the page's, how long the question took), ms."""
    found = []
    for _ in range(300):
        asked_ns = time.monotonic_ns()
        there_ms = page.evaluate("performance.now()")
        took_ns = time.monotonic_ns() - asked_ns
        found.append((took_ns / 1e6, (asked_ns + took_ns / 2) / 1e6 - there_ms))
    took_ms, ahead_ms = min(found)
    return ahead_ms, took_ms


def main() -> None:
    from playwright.sync_api import sync_playwright

    address, pictures = sys.argv[1], np.load(sys.argv[2])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", headless=True, args=FLAGS)
        page = browser.new_page()
        page.add_init_script(script(pictures))
        page.goto(address)
        begun_ms, took_ms = offset(page)
        page.evaluate(f"window.offset = {begun_ms!r}")
        page.click("#start")
        page.wait_for_selector("#state:text-is('Sending.')", timeout=30_000)
        ahead_ms = page.evaluate("window.ahead")
        print("ready", flush=True)
        sys.stdin.read()
        ended_ms, _ = offset(page)
        moved_ms = page.evaluate("window.lead(window.context, 2000)") - ahead_ms
        print(json.dumps({"question_ms": took_ms, "page_moved_ms": ended_ms - begun_ms, "sound_moved_ms": moved_ms}), flush=True)
        browser.close()


if __name__ == "__main__":
    main()
