"""An RTSP camera for tests, on GStreamer: H.264 and AAC whose pictures carry the wall time of their making (milliseconds, 32 cells in the
top row); at each second of the stream a flash and a beep of 1 kHz.    /usr/bin/python3 rtsp_server.py PORT
"""

import sys
import threading
import time

import gi
import numpy as np

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

WIDTH, HEIGHT, FPS, RATE = 640, 360, 30, 48_000
LAUNCH = (
    f"( appsrc name=video is-live=true format=time caps=video/x-raw,format=GRAY8,width={WIDTH},height={HEIGHT},framerate={FPS}/1 "
    f"! videoconvert ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max={FPS} bitrate=1500 "
    "! video/x-h264,profile=baseline ! rtph264pay name=pay0 pt=96 config-interval=1 "
    f"appsrc name=audio is-live=true format=time caps=audio/x-raw,format=S16LE,rate={RATE},channels=1,layout=interleaved "
    "! audioconvert ! avenc_aac bitrate=64000 ! rtpmp4gpay name=pay1 pt=97 )"
)


def picture(wall_s, seconds):
    grey = np.full((HEIGHT, WIDTH), 80, np.uint8)
    ms = int(wall_s * 1000) & 0xFFFFFFFF
    for bit in range(32):
        grey[0:24, bit * 20 : bit * 20 + 20] = 235 if (ms >> bit) & 1 else 16
    if seconds % 1.0 < 2 / FPS:
        grey[180:] = 255
    return grey


def sound(seconds, count):
    phase = (seconds + np.arange(count) / RATE) % 1.0
    return (np.where(phase < 0.04, 0.6 * np.sin(2 * np.pi * 1000 * phase), 0) * 32767).astype("<i2")


def push(source, data, start_ns, length_ns):
    buffer = Gst.Buffer.new_wrapped(data.tobytes())
    buffer.pts, buffer.duration = start_ns, length_ns
    return source.emit("push-buffer", buffer) == Gst.FlowReturn.OK


def feed(element, stop):
    """Picture and sound of 1/30 s at a time, when that time is over."""
    video, audio = element.get_by_name("video"), element.get_by_name("audio")
    clock = None
    while clock is None or not element.get_base_time():
        clock = element.get_clock()
        if stop.wait(0.005):
            return
    base_ns, wall, begun, count = clock.get_time() - element.get_base_time(), time.time(), time.monotonic(), RATE // FPS
    index = 0
    while not stop.is_set():
        time.sleep(max(0.0, begun + (index + 1) / FPS - time.monotonic()))
        start_ns, seconds = base_ns + index * Gst.SECOND // FPS, index / FPS
        good = push(video, picture(wall + seconds, seconds), start_ns, Gst.SECOND // FPS)
        if not (good and push(audio, sound(seconds, count), start_ns, Gst.SECOND // FPS)):
            return
        index += 1


def configure(_factory, media):
    stop = threading.Event()
    media.connect("unprepared", lambda _media: stop.set())
    threading.Thread(target=feed, args=(media.get_element(), stop), daemon=True).start()


def main():
    Gst.init(None)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(sys.argv[1])
    factory = GstRtspServer.RTSPMediaFactory.new()
    factory.set_shared(True)
    factory.set_launch(LAUNCH)
    factory.connect("media-configure", configure)
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)
    print("ready", flush=True)
    GLib.MainLoop().run()


main()
