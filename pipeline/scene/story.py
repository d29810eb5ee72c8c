"""What happens in a scene, planned before anything is drawn or heard: so the truth is known exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.scene.phones import PHONES, Sound, say, sentence
from pipeline.scene.voice import smooth

Label = Literal["silent", "speaking", "voice-off"]
Happening = Literal["quiet", "chewing", "speaking", "off_screen", "dubbed"]
LABEL: dict[Happening, Label] = {
    "quiet": "silent",
    "chewing": "silent",
    "speaking": "speaking",
    "off_screen": "voice-off",
    "dubbed": "voice-off",
}
SHARE: dict[Happening, float] = {"quiet": 0.30, "chewing": 0.10, "speaking": 0.30, "off_screen": 0.16, "dubbed": 0.14}
CURVE_HZ = 200
SOUND_TAGS = ("[door closes]", "[music]", "[footsteps]", "[wind]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The truth: `label` holds during [start_ns, end_ns). Spans of a scene tile it."""

    start_ns: int
    end_ns: int
    label: Label


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One thing that happens, [start_ns, end_ns).

    heard   what is said, times relative to the act; empty: nothing
    seen    what the mouth does: the same sounds where the person in the picture speaks, others where it is dubbed
    caption shown from the act's start until its end; empty: none
    """

    happening: Happening
    start_ns: int
    end_ns: int
    heard: tuple[Sound, ...] = ()
    seen: tuple[Sound, ...] = ()
    caption: str = ""

    @property
    def label(self) -> Label:
        return LABEL[self.happening]


def plan_story(seconds: float, rng: np.random.Generator) -> tuple[Act, ...]:
    """Acts that tile [0, seconds). Nothing follows itself, except that two people may talk without a pause between them."""
    end_ns = round(seconds * 1_000_000_000)
    acts: list[Act] = []
    while not acts or acts[-1].end_ns < end_ns:
        start_ns = acts[-1].end_ns if acts else 0
        before = acts[-1].happening if acts else None
        act = _act(_next(before, rng), start_ns, rng)
        acts.append(act if act.end_ns <= end_ns else _cut(act, end_ns))
    return tuple(acts)


def truth_of(acts: Sequence[Act]) -> list[Span]:
    """The labels of the acts, neighbours of the same label joined."""
    spans: list[Span] = []
    for act in acts:
        if spans and spans[-1].label == act.label:
            spans[-1] = replace(spans[-1], end_ns=act.end_ns)
        else:
            spans.append(Span(start_ns=act.start_ns, end_ns=act.end_ns, label=act.label))
    return spans


def _next(before: Happening | None, rng: np.random.Generator) -> Happening:
    if before not in (None, "quiet", "chewing") and rng.random() < 0.5:
        return "quiet"  # most people stop before the next one speaks
    names = [name for name in SHARE if name != before]
    weights = np.array([SHARE[name] for name in names])
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


def _act(happening: Happening, start_ns: int, rng: np.random.Generator) -> Act:
    if happening == "quiet":
        length_s = rng.uniform(0.4, 2.5)
        tag = str(rng.choice(SOUND_TAGS)) if rng.random() < 0.1 else ""
        return Act(happening=happening, start_ns=start_ns, end_ns=start_ns + round(length_s * 1e9), caption=tag)
    if happening == "chewing":
        chewed = _chew(rng)
        return Act(happening=happening, start_ns=start_ns, end_ns=start_ns + _length_ns(chewed), seen=chewed)
    words = sentence(rng, int(rng.integers(2, 9)))
    heard = say(words, rng, speed=rng.uniform(0.85, 1.25))
    length_ns = _length_ns(heard)
    seen = {"speaking": heard, "off_screen": (), "dubbed": _other_words(length_ns, rng)}[happening]
    return Act(
        happening=happening, start_ns=start_ns, end_ns=start_ns + length_ns, heard=heard, seen=seen, caption=_caption(happening, words, rng)
    )


def _length_ns(sounds: Sequence[Sound]) -> int:
    return round(sounds[-1].end_s * 1e9)


def _chew(rng: np.random.Generator) -> tuple[Sound, ...]:
    """A mouth that moves and says nothing: chewing, yawning, licking its lips."""
    names = rng.choice(["ah", "m", "aa", "b", "eh", "uw"], int(rng.integers(4, 14)))
    lengths = rng.uniform(0.1, 0.35, len(names))
    ends = np.cumsum(lengths)
    return tuple(
        Sound(phone=str(name), start_s=float(end - length), end_s=float(end), loudness=0.8)
        for name, length, end in zip(names, lengths, ends, strict=True)
    )


def _other_words(length_ns: int, rng: np.random.Generator) -> tuple[Sound, ...]:
    """Other words than those that are heard, as long as these."""
    sounds = say(sentence(rng, 12), rng, speed=rng.uniform(0.85, 1.25))
    return tuple(sound for sound in sounds if sound.end_s * 1e9 <= length_ns)


def _caption(happening: Happening, words: Sequence[str], rng: np.random.Generator) -> str:
    """What a captioner writes: most lines, and now and then that the speaker is not in the picture."""
    if rng.random() < 0.15:
        return ""
    text = (" ".join(words)).capitalize() + "."
    return f"NARRATOR: {text}" if happening == "off_screen" and rng.random() < 0.4 else text


def _cut(act: Act, end_ns: int) -> Act:
    length_s = (end_ns - act.start_ns) / 1e9

    def clipped(sounds: tuple[Sound, ...]) -> tuple[Sound, ...]:
        return tuple(replace(sound, end_s=min(sound.end_s, length_s)) for sound in sounds if sound.start_s < length_s)

    return replace(act, end_ns=end_ns, heard=clipped(act.heard), seen=clipped(act.seen))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MouthCurves:
    """Opening (0 closed, 1 wide open) and spread (-1 rounded, 1 spread) of the mouth, sampled at CURVE_HZ from time 0."""

    opening: NDArray[np.float64]
    spread: NDArray[np.float64]

    def at(self, time_ns: int) -> tuple[float, float]:
        position = min(time_ns * CURVE_HZ / 1_000_000_000, len(self.opening) - 1.001)
        index, part = int(position), position % 1
        opening = (1 - part) * self.opening[index] + part * self.opening[index + 1]
        return float(opening), float((1 - part) * self.spread[index] + part * self.spread[index + 1])


def mouth_curves(acts: Sequence[Act], rng: np.random.Generator, *, effort: float = 1.0) -> MouthCurves:
    """The mouth over the whole scene. It moves from sound to sound in about 60 ms, as lips do; at rest it is all but closed."""
    samples = round(acts[-1].end_ns * CURVE_HZ / 1e9) + 2
    opening, spread = np.full(samples, 0.02), np.zeros(samples)
    for act in acts:
        for sound in act.seen:
            first, last = (round((act.start_ns / 1e9 + time_s) * CURVE_HZ) for time_s in (sound.start_s, sound.end_s))
            opening[first:last] = PHONES[sound.phone].opening * (0.7 + 0.3 * sound.loudness) * effort
            spread[first:last] = PHONES[sound.phone].spread
    trembling = smooth(rng.standard_normal(samples), 20) * 0.05
    opened = np.clip(smooth(opening, 0.022 * CURVE_HZ) + trembling * (opening > 0.02), 0, 1)
    return MouthCurves(opening=opened, spread=np.clip(smooth(spread, 0.03 * CURVE_HZ), -1, 1))
