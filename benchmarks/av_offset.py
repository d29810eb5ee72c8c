"""How well the content check tells a known offset of sound and picture, and how often it speaks when it should not.

    python -m benchmarks.av_offset FOLDER [--trials 60] [--seed 11]

FOLDER holds GRID clips (NAME.mp4, 3 s each). A trial strings clips together, shifts the sound by one of 11 offsets between -300 and 300 ms
and asks the meter once, at the end. dubbed: each clip has another one's sound. off: measured minus true, with its sign. The drawn scene of
the demo is one speaker of another making, with a voice off screen in it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import markdown, where_and_when
from benchmarks.speech import sound_of
from operators.avoffset import AvOffset, AvOffsetMeter, NoOffset
from operators.face import FaceCrop
from operators.packet import AudioBlock, Dropped, Frame, Packet
from pipeline.ports import Wanted
from pipeline.sources.file import MediaFile

MS = 1_000_000
RATE, BLOCK = 16_000, 320
CLIP_NS = 3_000 * MS
OFFSETS_MS = (-300, -200, -120, -84, -40, 0, 40, 84, 120, 200, 300)
SCENE = Path(__file__).parent.parent / "configs" / "demo" / "scene.mp4"

Clip = tuple[list[Packet | Dropped], NDArray[np.float32]]


def read_clip(path: Path) -> Clip:
    """Its mouths by the default crop, and its sound."""
    crop, mouths = FaceCrop(), []
    with av.open(str(path)) as media:
        for seq, frame in enumerate(media.decode(video=0)):
            payload = Frame(data=frame.to_ndarray(format="gray"))
            packet = Packet(stream="v", seq=seq, start_ns=seq * 40 * MS, end_ns=(seq + 1) * 40 * MS, payload=payload)
            mouths += [each for each in crop.process(packet) if isinstance(each, Packet | Dropped)]
    return mouths, sound_of(path)


def measured(clips: Sequence[Clip], sounds: Sequence[NDArray[np.float32]], shift_ms: int) -> AvOffset | NoOffset:
    meter = AvOffsetMeter(video="v", audio="a", window_s=3.0 * len(clips))
    for number, ((mouths, _), sound) in enumerate(zip(clips, sounds, strict=True)):
        for event in [*_at(mouths, number), *_blocks(sound, number, shift_ms)]:
            meter.process(event)
    return meter.measure()


def _at(mouths: list[Packet | Dropped], number: int) -> Iterator[Packet | Dropped]:
    begin_ns = number * CLIP_NS + 1000 * MS
    for mouth in mouths[:75]:
        yield mouth if isinstance(mouth, Dropped) else replace(mouth, start_ns=mouth.start_ns + begin_ns, end_ns=mouth.end_ns + begin_ns)


def _blocks(sound: NDArray[np.float32], number: int, shift_ms: int) -> Iterator[Packet]:
    whole = np.zeros(RATE * 3, np.float32)
    whole[: min(whole.size, sound.size)] = sound[: whole.size]
    for at in range(0, whole.size, BLOCK):
        start_ns = number * CLIP_NS + 1000 * MS + shift_ms * MS + at * 1_000_000_000 // RATE
        block = AudioBlock(data=whole[None, at : at + BLOCK], rate_hz=RATE)
        yield Packet(stream="a", seq=at // BLOCK, start_ns=start_ns, end_ns=start_ns + 20 * MS, payload=block)


def row(clips: list[Clip], count: int, trials: int, lot: np.random.Generator) -> list[str]:
    off, false = [], 0
    for _ in range(trials):
        chosen = [clips[k] for k in lot.choice(len(clips), count, replace=False)]
        shift_ms = int(lot.choice(OFFSETS_MS))
        found = measured(chosen, [sound for _, sound in chosen], shift_ms)
        off += [found.audio_ms - shift_ms] if isinstance(found, AvOffset) else []
        dubbed = [clips[k][1] for k in lot.choice(len(clips), count, replace=False)]
        false += isinstance(measured(chosen, dubbed, shift_ms), AvOffset)
    size = np.abs(off)
    figures = [
        f"{len(off)} of {trials}",
        f"{np.median(off):+.0f}",
        f"{np.median(size):.0f}",
        f"{np.quantile(size, 0.9):.0f}",
        f"{size.max():.0f}",
    ]
    return [f"GRID, {3 * count} s", *figures, f"{false} of {trials}"]


def scene_row() -> list[str]:
    """The demo's scene by every offset, 30 s of it."""
    off = []
    for shift_ms in OFFSETS_MS:
        meter, crop, source = AvOffsetMeter(video="video", audio="audio"), FaceCrop(), MediaFile(path=SCENE)
        source.open({"video": Wanted(pixels="gray", max_width=640), "audio": Wanted()})
        for due_ns, event in source.events():
            if due_ns > 30_000 * MS:
                break
            if isinstance(event, Packet) and event.stream == "audio":
                at_ns = event.start_ns + (shift_ms + 1000) * MS
                meter.process(replace(event, start_ns=at_ns, end_ns=at_ns + event.end_ns - event.start_ns))
            elif isinstance(event, Packet):
                later = replace(event, start_ns=event.start_ns + 1000 * MS, end_ns=event.end_ns + 1000 * MS)
                for mouth in crop.process(later):
                    if isinstance(mouth, Packet | Dropped):
                        meter.process(mouth)
        source.close()
        found = meter.measure()
        off += [found.audio_ms - shift_ms] if isinstance(found, AvOffset) else []
    size = np.abs(off)
    figures = [f"{len(off)} of {len(OFFSETS_MS)}", f"{np.median(off):+.0f}", f"{np.median(size):.0f}", f"{np.quantile(size, 0.9):.0f}"]
    return ["drawn scene, 30 s", *figures, f"{size.max():.0f}", "-"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seed", type=int, default=11)
    args = parser.parse_args()
    print(f"{where_and_when()}; seed {args.seed}\n")
    clips = [read_clip(path) for path in sorted(args.folder.glob("*.mp4"))[4::11][:80]]
    lot = np.random.default_rng(args.seed)
    rows = [row(clips, count, args.trials, lot) for count in (5, 10)]
    print(markdown(["", "said", "off, p50", "size p50", "p90", "max", "dubbed: said"], [*rows, scene_row()]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
