"""A camera or a microphone that pushes MPEG-TS over UDP, live, with a clock of its own and stamps burned in.

    python -m benchmarks.stamped_udp video PORT            H.264 without delay; a flash with every whole second
    python -m benchmarks.stamped_udp audio PORT PPM        AAC; its clock is that much fast, and its stamps count samples as if it were not

What is burned in is the monotonic clock, which both read. A picture is made at a whole 1/30 s of it, so the flash begins with a picture;
a block of sound is sent when its last sample is over.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import av
import numpy as np

from benchmarks.stamped_media import FPS, RATE_HZ, SECOND_NS, grey_frame, scene_pictures, sound_frame
from benchmarks.stamps import burn, marks

BLOCK = 1024
OPTIONS = {"flush_packets": "1", "muxdelay": "0", "muxpreload": "0", "pes_payload_size": "0"}
"""A packet goes out when there is one."""


def wait(until_ns: int) -> None:
    time.sleep(max(0, until_ns - time.monotonic_ns()) / 1e9)


def next_second_ns() -> int:
    return (time.monotonic_ns() // SECOND_NS + 1) * SECOND_NS


def show(container: Any) -> None:  # noqa: ANN401 - PyAV's
    pictures = scene_pictures()
    video = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "tune": "zerolatency", "g": "30", "bf": "0"})
    video.height, video.width, video.pix_fmt = *pictures.shape[1:], "yuv420p"
    begun_ns, index = next_second_ns(), 0
    while True:
        made_ns = begun_ns + index * SECOND_NS // FPS
        wait(made_ns)
        picture = pictures[index % len(pictures)].copy()
        if index % FPS < 2:
            picture[picture.shape[0] // 2 :] = 255
        burn(picture, made_ns)
        container.mux(video.encode(grey_frame(picture, index)))
        index += 1


def play(container: Any, ppm: float) -> None:  # noqa: ANN401
    audio = container.add_stream("aac", rate=RATE_HZ, layout="mono")
    begun_ns, first, sample_ns = next_second_ns(), 0, 1e9 / (RATE_HZ * (1 + ppm * 1e-6))
    while True:
        wait(begun_ns + round((first + BLOCK) * sample_ns))
        sound = marks((first + np.arange(BLOCK)) * sample_ns, begun_ns)
        container.mux(audio.encode(sound_frame(sound, first)))
        first += BLOCK


def main() -> None:
    kind, port = sys.argv[1], int(sys.argv[2])
    with av.open(f"udp://127.0.0.1:{port}?pkt_size=1316", "w", format="mpegts", options=OPTIONS) as container:
        print("ready", flush=True)
        show(container) if kind == "video" else play(container, float(sys.argv[3]))


if __name__ == "__main__":
    main()
