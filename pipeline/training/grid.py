"""Sessions composed of GRID clips: one real person who speaks, keeps still, is dubbed, or is talked over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Literal

import numpy as np

from operators.errors import ContractError
from pipeline.training import acts, captions, pictures, sound
from pipeline.training.clips import load_clips, split_of
from pipeline.training.session import LabelledSession, Split, Timed, Truth
from pipeline.training.sound import RATE_HZ, Sound, Voice
from pipeline.training.timeline import FRAME_S, Timeline

Suite = Literal["plain", "mixed-in", "dubbed"]
SUITES: dict[Suite, tuple[acts.Act, ...]] = {
    "plain": (acts.plain, acts.still, acts.plain, acts.plain),
    "mixed-in": (acts.plain, acts.mixed_in, acts.over, acts.mixed_in),
    "dubbed": (acts.plain, acts.dubbed, acts.dubbed, acts.plain),
}
CLEAN_LEVEL = 1e-4
"""Of the faint hiss that every recording has (-80 dB full scale)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """How a timeline is recorded. tempo: 1.1 plays everything a tenth faster (and the voice higher). offset_s: sound behind picture."""

    camera: pictures.Camera
    tempo: float = 1.0
    offset_s: float = 0.0
    gain: float = 1.0
    room: bool = False
    snr_db: float | None = None
    half_rate: bool = False
    captions: bool = True


class GridScenes:
    """One person of GRID, composed; see `pipeline.training.acts` for what happens and `clips.split_of` for the split, by clip.

    folder    of NAME.mp4 and NAME.align
    voices    recordings of others who are heard off screen, in training only (a validation or test voice is another clip's)
    babble    a recording of many voices: its first two thirds are noise for training and validation, the last third for test
    detector  as `model` of operators.face:FaceCrop
    levels    further validation sessions in babble, at these SNR in dB: offsets are fitted to them too, epochs are not judged by them
    cache     where decoded and cropped clips are kept; none: read anew at every start
    """

    def __init__(
        self,
        *,
        folder: Path,
        babble: Path,
        voices: Sequence[Path] = (),
        detector: str = "auto",
        levels: Sequence[float] = (),
        cache: Path | None = None,
        size: int = 48,
        wide: int = 64,
    ) -> None:
        if wide < size:
            raise ContractError(f"GridScenes wants wide >= size, got {wide} < {size}")
        self._size, self._levels = size, tuple(levels)
        clips = list(load_clips(Path(folder), detector=detector, wide=wide, size=size, cache=cache))
        others = [_voice(Path(path)) for path in voices]
        murmur = sound.read_sound(Path(babble))
        early = murmur.size * 2 // 3
        self._noise: dict[Split, Sound] = {"train": murmur[:early], "validation": murmur[:early], "test": murmur[early:]}
        self.casts: dict[Split, acts.Cast] = {}
        for split in ("train", "validation", "test"):
            chosen = [clip for clip in clips if split_of(clip.name) == split]
            if not chosen:
                raise ContractError(f"GridScenes found no clip of the split {split!r} in {folder}")
            self.casts[split] = acts.Cast(clips=chosen, voices=others if split == "train" else ())

    def sessions(self, split: Split, rng: np.random.Generator) -> Iterator[LabelledSession]:
        if split == "train":
            for number in count():
                yield self._train(number, rng)
        for suite in SUITES:
            yield from self.suite(split, suite, count=8 if split == "validation" else 35)
        for snr_db in self._levels if split == "validation" else ():
            for suite in SUITES:
                yield from (replace(made, level=f"{snr_db:g} dB") for made in self.suite(split, suite, count=24, snr_db=snr_db))

    def suite(self, split: Split, suite: Suite, *, count: int, snr_db: float | None = None) -> Iterator[LabelledSession]:
        """`count` sessions of a kind, about 12 s each, the same at every call; without augmentation, at the given level of babble."""
        for number in range(count):
            lot = np.random.default_rng((list(SUITES).index(suite), 1 if split == "validation" else 2, number))
            line = self._compose(split, [SUITES[suite][index] for index in lot.permutation(len(SUITES[suite]))], lot)
            take = Take(camera=pictures.Camera(), snr_db=snr_db, captions=bool(lot.random() < 0.6))
            yield self._record(f"{split} {suite} {number}", line, take, split, lot, condition=suite)

    def _train(self, number: int, rng: np.random.Generator) -> LabelledSession:
        line = self._compose("train", [acts.draw_act(rng) for _ in range(3)], rng)
        take = Take(
            camera=pictures.draw_camera(rng),
            tempo=float(rng.uniform(0.87, 1.15)) if rng.random() < 0.6 else 1.0,
            offset_s=float(rng.uniform(-0.04, 0.04)),
            gain=float(10 ** (rng.uniform(-14, 6) / 20)),
            room=bool(rng.random() < 0.25),
            snr_db=float(rng.uniform(-6, 20)) if rng.random() < 0.6 else None,
            half_rate=bool(rng.random() < 0.05),
            captions=bool(rng.random() < 0.6),
        )
        return self._record(f"train {number}", line, take, "train", rng)

    def _compose(self, split: Split, chosen: Sequence[acts.Act], rng: np.random.Generator) -> Timeline:
        line = Timeline()
        for act in chosen:
            act(line, self.casts[split], rng)
        return line

    def _record(
        self, name: str, line: Timeline, take: Take, split: Split, rng: np.random.Generator, *, condition: str | None = None
    ) -> LabelledSession:
        """The timeline as events and truth. condition: put in place of the acts' own."""
        heard, truth = self._heard(line, take, split, rng), [_sooner(span, take.tempo, condition) for span in line.truth()]
        end_ns = truth[-1].end_ns
        cues = captions.caption(line.spoken(), line.end_s, rng) if take.captions else []
        told = [captions.Cue(start_s=cue.start_s / take.tempo, end_s=cue.end_s / take.tempo, text=cue.text) for cue in cues]
        events = {"video": self._seen(line, take, end_ns, rng), "audio": sound.blocks(heard), "text": captions.spans(told, end_ns)}
        return LabelledSession(name=name, events=events, truth=truth, prepared=frozenset({"video"}))

    def _seen(self, line: Timeline, take: Take, end_ns: int, rng: np.random.Generator) -> list[Timed]:
        crops = np.stack([clip.crops[index] for clip, index in line.pictures])
        found = [bool(clip.found[index]) for clip, index in line.pictures]
        step = 2 if take.half_rate else 1
        starts = [round(index * FRAME_S * 1e9 / take.tempo) for index in range(0, len(crops), step)]
        shot = pictures.shoot(crops[::step], self._size, take.camera, rng)
        return pictures.frames(shot, starts, end_ns, found[::step])

    def _heard(self, line: Timeline, take: Take, split: Split, rng: np.random.Generator) -> Sound:
        clean = np.roll(line.sound(), round(take.offset_s * RATE_HZ))
        if take.tempo != 1.0:
            places = np.arange(int(clean.size / take.tempo)) * take.tempo
            clean = np.interp(places, np.arange(clean.size), clean).astype(np.float32)
        loud = np.repeat(line.state() > 0, RATE_HZ // 100)
        speech_level = sound.level(line.sound()[loud[: len(line.pictures) * 640]]) or 0.05
        clean = sound.room(clean, rng) if take.room else clean
        hiss = CLEAN_LEVEL * rng.standard_normal(clean.size).astype(np.float32)
        if take.snr_db is not None:
            hiss += sound.with_noise(
                np.zeros_like(clean), self._noise_for(split, clean.size, rng), speech_level=speech_level, snr_db=take.snr_db
            )
        return np.clip((clean + hiss) * np.float32(take.gain), -1, 1)

    def _noise_for(self, split: Split, samples: int, rng: np.random.Generator) -> Sound:
        """Babble; in training sometimes plain noise instead."""
        if split == "train" and rng.random() < 0.25:
            return rng.standard_normal(samples).astype(np.float32)
        return sound.noise_like(self._noise[split], samples, rng)


def _voice(path: Path) -> Voice:
    heard = sound.read_sound(path)
    level = sound.level(heard)
    heard = heard * np.float32(0.05 / level if level else 1.0)
    return Voice(name=path.stem, sound=heard, words=sound.speech_in(heard))


def _sooner(span: Truth, tempo: float, condition: str | None) -> Truth:
    return Truth(
        start_ns=round(span.start_ns / tempo),
        end_ns=round(span.end_ns / tempo),
        label=span.label,
        condition=span.condition if condition is None else condition,
    )
