"""Clips of GRID: the mouth as FaceCrop sees it, with a margin that training moves the crop in; the sound; the words. Read once, cached."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from operators.errors import SourceError
from operators.face import FaceCrop, square
from operators.packet import AudioBlock, Frame, Packet
from operators.video import crop_square
from pipeline.ports import Wanted
from pipeline.sources.file import MediaFile
from pipeline.training.cached import CROPS, code_digest, detector_digest, keep, kept
from pipeline.training.pictures import Crops
from pipeline.training.session import Split
from pipeline.training.sound import RATE_HZ, Sound, Word, assemble

FRAME_NS = 40_000_000
ALIGN_UNITS_PER_S = 25_000
SILENT = ("sil", "sp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One sentence. crops: uint8 (frames, wide, wide) at 25 a second; found: (frames,), False where no face was; words: without silence."""

    name: str
    crops: Crops
    found: NDArray[np.bool_]
    sound: Sound
    words: tuple[Word, ...]

    @property
    def start_s(self) -> float:
        return self.words[0].start_s

    @property
    def end_s(self) -> float:
        return self.words[-1].end_s


def split_of(name: str) -> Split:
    """By a hash of the clip's name, so the split is the same everywhere: 14 in 90 test, 6 in 90 validation, the rest train."""
    number = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 90
    return "test" if number < 14 else "validation" if number < 20 else "train"


def read_words(path: Path) -> tuple[Word, ...]:
    """A GRID .align file: lines of start, end (1/25000 s) and a word. Raises SourceError for a line that is none of that."""
    words = []
    for line in path.read_text("utf-8").splitlines():
        try:
            start, end, text = line.split()
            word = Word(start_s=int(start) / ALIGN_UNITS_PER_S, end_s=int(end) / ALIGN_UNITS_PER_S, text=text)
        except ValueError:
            raise SourceError(str(path), f"lines of 'start end word' wanted, got {line[:80]!r}") from None
        if text not in SILENT:
            words.append(word)
    if not words:
        raise SourceError(str(path), "holds no word")
    return tuple(words)


def load_clips(folder: Path, *, detector: str, wide: int, size: int, cache: Path | None) -> Iterator[Clip]:
    """All clips of the folder that have words, by name.

    detector: as of `operators.face_detect.choose`. Crops are wide pixels square where FaceCrop's would be size. With a cache folder
    they are read once for each combination, and again when the code that crops them has changed.
    """
    paths = sorted(path for path in folder.glob("*.mp4") if path.with_suffix(".align").is_file())
    if not paths:
        raise SourceError(str(folder), "holds no NAME.mp4 beside a NAME.align")
    made_by = (code_digest(*CROPS), detector_digest(detector), wide, size)
    key = hashlib.sha256(repr((made_by, [(path.name, path.stat().st_size) for path in paths])).encode()).hexdigest()[:16]
    store = None if cache is None else cache / f"grid-{key}.npz"
    if store is not None and store.is_file():
        yield from _stored(store, folder)
        return
    clips = []
    for path in paths:
        clip = read_clip(path, detector=detector, wide=wide, size=size)
        clips.append(clip)
        yield clip
    if store is not None:
        _store(store, clips)


def read_clip(path: Path, *, detector: str, wide: int, size: int) -> Clip:
    """One clip, decoded and cropped. Raises SourceError."""
    source = MediaFile(path=path, threads="none")
    source.open({"video": Wanted(pixels="gray", max_width=640), "audio": Wanted(rate_hz=RATE_HZ, channels=1)})
    try:
        packets = [event for _, event in source.events() if isinstance(event, Packet)]
    finally:
        source.close()
    pictures = [packet for packet in packets if isinstance(packet.payload, Frame)]
    crops, found = mouths(pictures, detector=detector, wide=wide, size=size)
    sound = assemble([packet for packet in packets if isinstance(packet.payload, AudioBlock)])
    return Clip(name=path.stem, crops=crops, found=found, sound=_fitted(sound, len(crops)), words=read_words(path.with_suffix(".align")))


def mouths(pictures: Sequence[Packet], *, detector: str, wide: int, size: int) -> tuple[Crops, NDArray[np.bool_]]:
    """What FaceCrop(region="mouth", size=size) does, with a square wide / size times as large: its middle is FaceCrop's picture."""
    face = FaceCrop(region="mouth", size=size, model=detector)
    crops, found = np.zeros((len(pictures), wide, wide), np.uint8), np.zeros(len(pictures), np.bool_)
    for index, packet in enumerate(pictures):
        assert isinstance(packet.payload, Frame)  # noqa: S101 - the caller picked frames
        picture = packet.payload.data
        box = face.follow(picture, packet.start_ns)
        if box is not None:
            x, y, side = square(box, "mouth")
            crops[index], found[index] = crop_square(picture, x, y, side * wide / size, wide), True
    return crops, found


def _fitted(sound: Sound, frames: int) -> Sound:
    """As long as the pictures: a codec's padding cut off, or silence put on."""
    samples = frames * FRAME_NS * RATE_HZ // 1_000_000_000
    return np.pad(sound[:samples], (0, max(0, samples - sound.size)))


def _store(path: Path, clips: Sequence[Clip]) -> None:
    arrays = {
        "names": np.array([clip.name for clip in clips]),
        "frames": np.array([len(clip.crops) for clip in clips]),
        "crops": np.concatenate([clip.crops for clip in clips]),
        "found": np.concatenate([clip.found for clip in clips]),
        "sound": np.concatenate([(clip.sound * 32767).astype(np.int16) for clip in clips]),
    }
    keep(path, arrays)


def _stored(path: Path, folder: Path) -> Iterator[Clip]:
    arrays = kept(path)
    first, heard = 0, 0
    per_frame = FRAME_NS * RATE_HZ // 1_000_000_000
    for name, frames in zip(arrays["names"].tolist(), arrays["frames"].tolist(), strict=True):
        last, end = first + frames, heard + frames * per_frame
        sound = arrays["sound"][heard:end].astype(np.float32) / np.float32(32767)
        words = read_words(folder / f"{name}.align")
        yield Clip(name=name, crops=arrays["crops"][first:last], found=arrays["found"][first:last], sound=sound, words=words)
        first, heard = last, end
