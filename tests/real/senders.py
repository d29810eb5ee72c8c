"""Senders for tests that need no other program: MPEG-TS over UDP, MJPEG over HTTP. Pictures carry the wall time of their making.

python senders.py udp PORT | http PORT
"""

import sys
import time
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import cv2
import numpy as np

FPS, RATE = 30, 48_000


def picture():
    data = np.full((360, 640, 3), 80, np.uint8)
    ms = time.time_ns() // 1_000_000 & 0xFFFFFFFF
    for bit in range(32):
        data[0:24, bit * 20 : bit * 20 + 20] = 235 if (ms >> bit) & 1 else 16
    return data


def paced():
    """The number of the picture that is due, when it is: a sender that was held up leaves some out, as a camera does."""
    begun = time.monotonic()
    index = 0
    while True:
        time.sleep(max(0.0, begun + (index + 1) / FPS - time.monotonic()))
        index = max(index + 1, int((time.monotonic() - begun) * FPS))
        yield index


def udp(port):
    with av.open(f"udp://127.0.0.1:{port}?pkt_size=1316", "w", format="mpegts") as container:
        video = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "tune": "zerolatency", "g": "30", "bf": "0"})
        video.width, video.height, video.pix_fmt = 640, 360, "yuv420p"
        audio = container.add_stream("aac", rate=RATE, layout="mono")
        for index in paced():
            frame = av.VideoFrame.from_ndarray(picture(), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(video.encode(frame))
            count = RATE // FPS
            tone = (0.3 * np.sin(2 * np.pi * 500 * (index * count + np.arange(count)) / RATE)).astype(np.float32)[None]
            block = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = RATE, index * count, Fraction(1, RATE)
            container.mux(audio.encode(block))


class Cam(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        try:
            for _ in paced():
                jpeg = cv2.imencode(".jpg", picture())[1].tobytes()
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(jpeg), jpeg))
        except OSError:
            pass


if __name__ == "__main__":
    kind, port = sys.argv[1], int(sys.argv[2])
    print("ready", flush=True)
    udp(port) if kind == "udp" else ThreadingHTTPServer(("127.0.0.1", port), Cam).serve_forever()
