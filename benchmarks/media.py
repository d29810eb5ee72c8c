"""The file that cost is measured on: 640x480 H.264 at 30 fps, 16 kHz mono AAC, a WebVTT caption every few seconds beside it.

pattern  a colour gradient that slides, moving bars and a running number, in the manner of FFmpeg's testsrc: no recordings needed, no face
reel     GRID clips one after the other, scaled up to 640x480 and brought from 25 to 30 fps by repeating frames: a face all the time

Both are made by this script, with the sound of the clips (reel) or tones under noise (pattern); captions are the words, or numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, FPS, RATE_HZ = 640, 480, 30, 16000

Picture = NDArray[np.uint8]
Sound = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One second or so: pictures (h, w, 3) RGB at FPS, sound (samples,) at RATE_HZ, and its caption."""

    pictures: list[Picture]
    sound: Sound
    caption: str


def make_media(path: Path, clips: Iterable[Clip]) -> float:
    """Writes path (.mp4) and the captions beside it (.vtt); returns its length in seconds."""
    frames = samples = 0
    cues = ["WEBVTT\n"]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "23"})
        video.width, video.height, video.pix_fmt, video.gop_size = WIDTH, HEIGHT, "yuv420p", 60
        audio = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        for clip in clips:
            cues.append(f"{_stamp(frames / FPS)} --> {_stamp((frames + len(clip.pictures)) / FPS)}\n{clip.caption}\n")
            for picture in clip.pictures:
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = frames, Fraction(1, FPS)
                container.mux(video.encode(frame))
                frames += 1
            block = av.AudioFrame.from_ndarray(clip.sound[None], format="fltp", layout="mono")
            block.rate, block.pts, block.time_base = RATE_HZ, samples, Fraction(1, RATE_HZ)
            container.mux(audio.encode(block))
            samples += len(clip.sound)
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    path.with_suffix(".vtt").write_text("\n".join(cues), "utf-8")
    return frames / FPS


def looped(path: Path, scene: Path, times: int) -> float:
    """Writes a file that is `scene` so many times, all its streams, not encoded again; returns its length in seconds."""
    length_s = Fraction(0)
    with av.open(str(path), "w") as out:
        streams: dict[int, Any] = {}
        for _ in range(times):
            begun_s, end_s = length_s, length_s
            with av.open(str(scene)) as one:
                streams = streams or {stream.index: out.add_stream_from_template(stream) for stream in one.streams}
                for packet in one.demux():
                    if packet.dts is None or packet.pts is None:
                        continue  # the end of a stream
                    shift = round(begun_s / packet.time_base)
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, streams[packet.stream.index]
                    end_s = max(end_s, (max(packet.pts, packet.dts) + (packet.duration or 0)) * packet.time_base)
                    out.mux(packet)
            length_s = Fraction(math.ceil(end_s * 10), 10)
    return float(length_s)


def _stamp(seconds: float) -> str:
    return f"{int(seconds // 3600):02d}:{int(seconds // 60 % 60):02d}:{seconds % 60:06.3f}"


def pattern(seconds: int) -> Iterator[Clip]:
    rng = np.random.default_rng(1)
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    for second in range(0, seconds, 3):
        length = min(3, seconds - second)
        pictures = [_pattern_picture(x, y, second * FPS + k) for k in range(length * FPS)]
        t = np.arange(length * RATE_HZ) / RATE_HZ
        sound = 0.2 * np.sin(2 * np.pi * (200 + 40 * (second % 20)) * t) + 0.02 * rng.standard_normal(len(t))
        yield Clip(pictures=pictures, sound=sound.astype(np.float32), caption=f"caption number {second}")


def _pattern_picture(x: NDArray[np.int64], y: NDArray[np.int64], frame: int) -> Picture:
    picture = np.stack([(x + 2 * frame) % 256, (y + frame) % 256, ((x + y) // 2 - frame) % 256], axis=-1).astype(np.uint8)
    bar = frame * 5 % WIDTH
    picture[:, bar : bar + 24] = 255 - picture[:, bar : bar + 24]
    return np.asarray(cv2.putText(picture, str(frame), (40, 440), cv2.FONT_HERSHEY_SIMPLEX, 2.0, (255, 255, 255), 3), np.uint8)


def reel(folder: Path, seconds: int) -> Iterator[Clip]:
    """Clips of a GRID folder in order of name, again and again until there is enough. Raises FileNotFoundError where there are none."""
    clips = sorted(folder.glob("*.mp4"))
    if not clips:
        raise FileNotFoundError(f"no GRID clips in {folder}")
    left = seconds * FPS
    for k in range(1000):
        clip = _grid_clip(clips[k % len(clips)], left)
        yield clip
        left -= len(clip.pictures)
        if left <= 0:
            return


def _grid_clip(path: Path, most: int) -> Clip:
    with av.open(str(path)) as container:
        decoded = (frame.reformat(width=WIDTH, height=HEIGHT, format="rgb24") for frame in container.decode(video=0))
        frames = [np.asarray(frame.to_ndarray(), np.uint8) for frame in decoded]
    rate = Fraction(25)
    pictures = [frames[min(len(frames) - 1, int(k * rate / FPS))] for k in range(min(most, int(len(frames) * FPS / rate)))]
    wanted = len(pictures) * RATE_HZ // FPS
    sound = np.zeros(wanted, np.float32)
    found = _sound(path)[:wanted]
    sound[: len(found)] = found
    return Clip(pictures=pictures, sound=sound, caption=_words(path.with_suffix(".align")))


def _sound(path: Path) -> Sound:
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE_HZ)
    with av.open(str(path)) as container:
        blocks = [block.to_ndarray()[0] for frame in container.decode(audio=0) for block in resampler.resample(frame)]
    return np.concatenate(blocks)


def _words(path: Path) -> str:
    """GRID's word timings: start, end (1/25000 s), word."""
    words = [line.split()[2] for line in path.read_text().splitlines()] if path.exists() else []
    return " ".join(word for word in words if word != "sil") or path.stem
