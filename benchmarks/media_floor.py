"""What reading a media file costs: bare PyAV (decode, resize, resample) beside MediaFile, in one run.

python -m benchmarks.media_floor [FILE] [--repeat N]; without FILE the demo scene. CPU seconds per second of media, the best of N rounds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Literal

import av
from av.video.reformatter import VideoReformatter

from pipeline.ports import Wanted
from pipeline.sources.file import MediaFile

DEMO = Path(__file__).resolve().parents[1] / "configs" / "demo" / "scene.mp4"
Pixels = Literal["gray", "rgb"]
Threads = Literal["none", "auto"]


def bare(path: Path, pixels: Pixels, width: int | None, threads: Threads) -> int:
    """The floor: one container, one pass, arrays thrown away. Returns the number of arrays."""
    made = 0
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        video.thread_type = "AUTO" if threads == "auto" else "NONE"
        video.codec_context.thread_count = 0 if threads == "auto" else 1
        reformatter, resampler = VideoReformatter(), av.AudioResampler(format="fltp", layout="mono", rate=16000)
        size = (width, video.height * width // video.width) if width else (None, None)
        for packet in container.demux(video, audio):
            for frame in packet.decode():
                if isinstance(frame, av.VideoFrame):
                    form = "gray" if pixels == "gray" else "rgb24"
                    reformatter.reformat(frame, *size, format=form, threads=1).to_ndarray()
                    made += 1
                else:
                    made += len([part.to_ndarray() for part in resampler.resample(frame)])
    return made


def media_file(path: Path, pixels: Pixels, width: int | None, threads: Threads) -> int:
    """Everything that MediaFile yields."""
    source = MediaFile(path=path, threads=threads)
    source.open({"video": Wanted(pixels=pixels, max_width=width), "audio": Wanted(rate_hz=16000, channels=1), "text": Wanted()})
    return sum(1 for _ in source.events())


def timed(work: Callable[[], int]) -> tuple[float, float, int]:
    cpu, wall = process_time(), perf_counter()
    count = work()
    return process_time() - cpu, perf_counter() - wall, count


def rows(path: Path, repeat: int, media_s: float) -> Iterator[str]:
    forms: tuple[tuple[Pixels, int | None], ...] = (("gray", None), ("gray", 320), ("rgb", None), ("rgb", 320))
    ways: tuple[Threads, ...] = ("none", "auto")
    for pixels, width in forms:
        for threads in ways:
            bare_work = partial(bare, path, pixels, width, threads)
            our_work = partial(media_file, path, pixels, width, threads)
            # By turns, so that a busy machine is as unfair to one as to the other.
            floors, ours = zip(*((timed(bare_work), timed(our_work)) for _ in range(repeat)), strict=True)
            floor, our = min(floors), min(ours)
            cost = f"{floor[0] / media_s * 1e3:9.1f} {our[0] / media_s * 1e3:10.1f} {our[0] / floor[0]:6.2f}"
            pace = f"{media_s / floor[1]:8.0f}x {media_s / our[1]:8.0f}x {our[2] / our[1]:10.0f}"
            yield f"{pixels:5}{width or 'full':>5} {threads:5} {cost} {pace}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=DEMO)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    source = MediaFile(path=options.file)
    specs = source.open({})
    media_s = (source.end_ns() or 0) / 1e9
    print(f"{options.file.name}, {media_s:.1f} s: " + ", ".join(f"{spec.name} {spec.detail}" for spec in specs))
    print("pixels    threads  bare ms/s  MediaFile  ratio    bare at  ours at   events/s")
    for row in rows(options.file, options.repeat, media_s):
        print(row)


if __name__ == "__main__":
    main()
