"""Pictures to burn stamps into, and a file that is stamped with its own time."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks.stamps import burn, marks

SCENE = Path(__file__).resolve().parents[1] / "configs" / "demo" / "scene.mp4"
FPS, RATE_HZ = 30, 48_000
SECOND_NS = 1_000_000_000


def scene_pictures(count: int = 60) -> NDArray[np.uint8]:
    """The drawn face of the demo: uint8 (count, height, width), grey."""
    with av.open(str(SCENE)) as container:
        frames = container.decode(video=0)
        return np.stack([next(frames).to_ndarray(format="gray") for _ in range(count)])


def write_file(path: Path, seconds: int) -> None:
    """H.264 and AAC; picture k carries k / FPS, and the marks stand at whole 100 ms of the file."""
    pictures = scene_pictures()
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "23"})
        video.height, video.width, video.pix_fmt = *pictures.shape[1:], "yuv420p"
        audio = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        for second in range(seconds):
            for index in range(second * FPS, (second + 1) * FPS):
                picture = pictures[index % len(pictures)].copy()
                burn(picture, index * SECOND_NS // FPS)
                container.mux(video.encode(grey_frame(picture, index)))
            sound = marks(np.arange(RATE_HZ) * 1e9 / RATE_HZ, second * SECOND_NS)
            container.mux(audio.encode(sound_frame(sound, second * RATE_HZ)))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def grey_frame(picture: NDArray[np.uint8], index: int) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(picture, format="gray")
    frame.pts, frame.time_base = index, Fraction(1, FPS)
    return frame


def sound_frame(sound: NDArray[np.float32], first: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, first, Fraction(1, RATE_HZ)
    return frame
