"""What is left behind by a source that is connected again and again: memory of its own (USS), file descriptors, threads, children.

    python -m benchmarks.reconnects [--times 1000] [--source stream|camera]

stream: an MJPEG camera over HTTP (in a process of its own) that hangs up after three pictures. camera: needs a /dev/video0; it is let go
after three pictures. Pauses between attempts are 1 ms. `per reconnect` is the slope of a line through all readings after the first tenth.
"""

from __future__ import annotations

import argparse
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import psutil

from benchmarks.machine import markdown, where_and_when
from operators.stamps import SourceClock
from pipeline.clock import SystemClock
from pipeline.live.capture import ThreadCapture
from pipeline.live.feed import Feed
from pipeline.live.link import LinkPolicy
from pipeline.live.source import Live
from pipeline.live.stream import LiveStream, StreamRules
from pipeline.ports import Wanted
from pipeline.runtime.pace import Pace
from pipeline.sources.camera import Camera
from pipeline.sources.stream import Stream

PICTURES = 3
POLICY = LinkPolicy(first_ns=1_000_000, most_ns=1_000_000, jitter=0)


class HangsUp(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        jpeg = cv2.imencode(".jpg", np.full((120, 160, 3), 80, np.uint8))[1].tobytes()
        for _ in range(PICTURES):
            self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(jpeg), jpeg))


def reconnected(source: Live, exclusive: bool) -> Iterator[int]:
    """Reads the source, lets go after PICTURES if it does not itself; yields the number of reconnects, whenever it has grown."""
    clock = SystemClock()
    now_ns = Pace(clock=clock, epoch_ns=clock.now_ns()).now_ns
    capture = ThreadCapture(source, {"video": Wanted()}, now_ns, exclusive=exclusive)
    stream = LiveStream("video", StreamRules(kind="video"), seq=0, from_ns=0)
    rng = random.Random(1)
    feed = Feed(source.label, {"video": stream}, capture, POLICY, now_ns, rng, partial(SourceClock))
    said, pictures = 0, 0
    for _, event in feed.events():
        pictures += hasattr(event, "payload")
        if exclusive and pictures >= PICTURES:
            capture.release()
            pictures = 0
        count = feed.health()["video"].faults.get("reconnect", 0)
        feed.news()
        if count > said:
            said = count
            yield count


def reading(me: psutil.Process) -> tuple[int, int, int, int]:
    return me.memory_full_info().uss, me.num_fds(), me.num_threads(), len(me.children(recursive=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=1000)
    parser.add_argument("--source", choices=("stream", "camera"), default="stream")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        ThreadingHTTPServer(("127.0.0.1", arguments.serve), HangsUp).serve_forever()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.reconnects", "--serve", str(port)])
    try:
        if arguments.source == "stream":
            measure(Stream(url=f"http://127.0.0.1:{port}/"), exclusive=False, times=arguments.times)
        else:
            measure(Camera(device=0), exclusive=True, times=arguments.times)
    finally:
        server.kill()


def measure(source: Live, *, exclusive: bool, times: int) -> None:
    me, rows = psutil.Process(), []
    for count in reconnected(source, exclusive):
        rows.append((count, *reading(me)))
        if count >= times:
            break
    print(f"{where_and_when()}\n")
    table = [[str(row[0]), f"{row[1] / 1024:.0f}", *map(str, row[2:5])] for row in rows if row[0] in (1, times // 10, times // 2, times)]
    settled = np.array([row for row in rows if row[0] > times // 10], float)
    slopes = [float(np.polyfit(settled[:, 0], settled[:, column], 1)[0]) for column in range(1, 5)]
    table.append(["per reconnect", f"{slopes[0] / 1024:+.3f}", *(f"{slope:+.4f}" for slope in slopes[1:])])
    print(markdown(["reconnects", "USS, kB", "descriptors", "threads", "children"], table))


if __name__ == "__main__":
    main()
