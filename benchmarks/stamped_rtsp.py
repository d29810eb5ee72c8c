"""An RTSP camera that burns the time into what it sends, live: H.264 and AAC by GStreamer. For the system's Python, which has gi.

    /usr/bin/python3 -m benchmarks.stamped_rtsp PORT PICTURES.npy      pictures: uint8 (n, h, w), shown by turns

A picture carries the time at which it was made and is given to the encoder at once; sound is given in blocks of 10 ms when they are over.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import gi
import numpy as np
from numpy.typing import NDArray

from benchmarks.stamps import burn, marks

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

FPS, RATE_HZ, BLOCK_NS = 30, 48_000, 10_000_000
LAUNCH = (
    "( appsrc name=video is-live=true format=time caps=video/x-raw,format=GRAY8,width={width},height={height},framerate={fps}/1 "
    "! videoconvert ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max={fps} bitrate=2000 "
    "! video/x-h264,profile=baseline ! rtph264pay name=pay0 pt=96 config-interval=1 "
    "appsrc name=audio is-live=true format=time caps=audio/x-raw,format=S16LE,rate={rate},channels=1,layout=interleaved "
    "! audioconvert ! avenc_aac bitrate=64000 ! rtpmp4gpay name=pay1 pt=97 )"
)


def push(source: Any, data: NDArray[Any], start_ns: int, length_ns: int) -> bool:  # noqa: ANN401 - a GStreamer element
    buffer = Gst.Buffer.new_wrapped(data.tobytes())
    buffer.pts, buffer.duration = start_ns, length_ns
    return bool(source.emit("push-buffer", buffer) == Gst.FlowReturn.OK)


def wait(until_ns: int) -> None:
    time.sleep(max(0, until_ns - time.monotonic_ns()) / 1e9)


def base_of(element: Any, stop: threading.Event) -> int | None:  # noqa: ANN401
    """What the monotonic clock was at the stream's time 0."""
    while not element.get_base_time() or element.get_clock() is None:
        if stop.wait(0.005):
            return None
    if abs(element.get_clock().get_time() - time.monotonic_ns()) > 1_000_000:
        raise SystemExit("GStreamer's clock is not the monotonic one")
    return int(element.get_base_time())


def show(element: Any, pictures: NDArray[np.uint8], stop: threading.Event) -> None:  # noqa: ANN401
    base_ns, source, index = base_of(element, stop), element.get_by_name("video"), 0
    begun_ns = time.monotonic_ns()
    while base_ns is not None and not stop.is_set():
        wait(begun_ns + index * 1_000_000_000 // FPS)
        picture = pictures[index % len(pictures)].copy()
        made_ns = time.monotonic_ns()
        burn(picture, made_ns)
        if not push(source, picture, max(0, made_ns - base_ns), 1_000_000_000 // FPS):
            return
        index += 1


def play(element: Any, stop: threading.Event) -> None:  # noqa: ANN401
    base_ns, source, index = base_of(element, stop), element.get_by_name("audio"), 0
    begun_ns, count = time.monotonic_ns(), RATE_HZ * BLOCK_NS // 1_000_000_000
    while base_ns is not None and not stop.is_set():
        start_ns = begun_ns + index * BLOCK_NS
        wait(start_ns + BLOCK_NS)
        sound = marks(np.arange(count) * 1e9 / RATE_HZ, start_ns)
        if not push(source, (sound * 32767).astype("<i2"), max(0, start_ns - base_ns), BLOCK_NS):
            return
        index += 1


def main() -> None:
    pictures = np.load(sys.argv[2])
    Gst.init(None)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(sys.argv[1])
    factory = GstRtspServer.RTSPMediaFactory.new()
    factory.set_shared(True)
    factory.set_launch(LAUNCH.format(width=pictures.shape[2], height=pictures.shape[1], fps=FPS, rate=RATE_HZ))

    def configure(_factory: Any, media: Any) -> None:  # noqa: ANN401
        stop = threading.Event()
        media.connect("unprepared", lambda _media: stop.set())
        threading.Thread(target=show, args=(media.get_element(), pictures, stop), daemon=True).start()
        threading.Thread(target=play, args=(media.get_element(), stop), daemon=True).start()

    factory.connect("media-configure", configure)
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
