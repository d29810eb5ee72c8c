"""The acts that a session of GRID clips is composed of. Each puts itself at the end of a timeline.

           picture                     sound                                  truth while words sound
plain      a clip                      its own                                speaking
mute       a clip that talks           none                                   (nothing sounds: silent)
dubbed     a clip that talks           another one's, or its own moved        voice-off
still      a silent face, to and fro   none                                   (silent)
mixed_in   a silent face, to and fro   somebody else's                        voice-off
over       a clip, silent at its ends  its own, then somebody else's          speaking, then voice-off
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.training.clips import Clip
from pipeline.training.sound import RATE_HZ, Voice
from pipeline.training.timeline import FRAME_S, Timeline

MARGIN_FRAMES = 4
"""Lips part before a word sounds and close after it."""
SHORTEST_STILL = 8
MOVED_S = 0.4
"""Own sound that is moved by so much is no longer the face's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Who can be seen and who can be heard off screen; of one split only. on_screen: the clip that is seen, where it is not drawn."""

    clips: Sequence[Clip]
    voices: Sequence[Voice]
    other_share: float = 0.1
    on_screen: Clip | None = None

    def clip(self, rng: np.random.Generator) -> Clip:
        return self.clips[int(rng.integers(len(self.clips)))]

    def seen(self, rng: np.random.Generator) -> Clip:
        return self.on_screen or self.clip(rng)

    def stranger(self, rng: np.random.Generator, than: Clip) -> Clip | Voice:
        """A voice that is not the clip's: mostly the same speaker in another clip, so that the voice itself gives nothing away."""
        if self.voices and rng.random() < self.other_share:
            return self.voices[int(rng.integers(len(self.voices)))]
        while (clip := self.clip(rng)).name == than.name and len(self.clips) > 1:
            pass
        return clip


Act = Callable[[Timeline, Cast, np.random.Generator], None]


def plain(line: Timeline, cast: Cast, rng: np.random.Generator) -> None:
    clip = cast.seen(rng)
    line.say(clip, line.show(clip, range(len(clip.crops)), "plain"), own=True)


def mute(line: Timeline, cast: Cast, rng: np.random.Generator) -> None:
    clip = cast.seen(rng)
    line.show(clip, range(len(clip.crops)), "mute")


def dubbed(line: Timeline, cast: Cast, rng: np.random.Generator) -> None:
    clip = cast.seen(rng)
    start_s = line.show(clip, range(len(clip.crops)), "dubbed")
    length_s = len(clip.crops) * FRAME_S
    if rng.random() < 0.15:
        _dub_moved(line, clip, start_s, rng)
        return
    voice = cast.stranger(rng, clip)
    from_s, until_s = _piece(voice, length_s, rng)
    first_s = min((word.start_s for word in voice.words if word.end_s > from_s), default=from_s)
    # Mostly about when the lips move: if voices came at any time, that alone would tell a dub.
    at_s = clip.start_s - (first_s - from_s) + rng.normal(0, 0.3)
    _within(line, voice, start_s, start_s + length_s, start_s + at_s, from_s, until_s)


def _dub_moved(line: Timeline, clip: Clip, start_s: float, rng: np.random.Generator) -> None:
    shift_s = rng.uniform(MOVED_S, 1.0) * (1 if rng.random() < 0.5 else -1)
    _within(line, clip, start_s, start_s + len(clip.crops) * FRAME_S, start_s + shift_s, 0.0, len(clip.sound) / RATE_HZ)


def still(line: Timeline, cast: Cast, rng: np.random.Generator) -> None:
    clip, indices = _silent_face(cast, rng)
    line.show(clip, indices, "still")


def mixed_in(line: Timeline, cast: Cast, rng: np.random.Generator) -> None:
    clip, indices = _silent_face(cast, rng)
    start_s = line.show(clip, indices, "mixed-in")
    length_s = len(indices) * FRAME_S
    voice = cast.stranger(rng, clip)
    from_s, until_s = _piece(voice, length_s, rng)
    at_s = rng.uniform(-0.3, max(0.0, length_s - (until_s - from_s)) + 0.3)
    _within(line, voice, start_s, start_s + length_s, start_s + at_s, from_s, until_s)


def over(line: Timeline, cast: Cast, rng: np.random.Generator) -> None:
    """The person speaks; somebody else is heard before, after, or at the same time."""
    clip = cast.seen(rng)
    start_s = line.show(clip, range(len(clip.crops)), "mixed-in")
    line.say(clip, start_s, own=True)
    voice = cast.stranger(rng, clip)
    length_s = len(clip.crops) * FRAME_S
    from_s, until_s = _piece(voice, length_s, rng)
    place_s = rng.choice([clip.start_s - (until_s - from_s), clip.end_s, rng.uniform(0, length_s)])
    _within(line, voice, start_s, start_s + length_s, start_s + place_s, from_s, until_s, gain=float(rng.uniform(0.3, 0.9)))


def _silent_face(cast: Cast, rng: np.random.Generator) -> tuple[Clip, list[int]]:
    """2 to 5 s of a face that says nothing: a clip's silent head or tail, played to and fro, so that nothing jumps and nothing freezes."""
    while True:
        clip = cast.clip(rng)
        first, last = int(clip.start_s / FRAME_S) - MARGIN_FRAMES, int(np.ceil(clip.end_s / FRAME_S)) + MARGIN_FRAMES
        runs = [run for run in (range(first), range(last, len(clip.crops))) if len(run) >= SHORTEST_STILL]
        if runs:
            break
    run = runs[int(rng.integers(len(runs)))]
    there_and_back = [*run, *reversed(run[1:-1])]
    return clip, np.resize(np.roll(there_and_back, int(rng.integers(len(there_and_back)))), int(rng.integers(50, 125))).tolist()


def _piece(voice: Voice | Clip, length_s: float, rng: np.random.Generator) -> tuple[float, float]:
    """(from_s, until_s) of a recording, at most length_s of it."""
    whole_s = len(voice.sound) / RATE_HZ
    if whole_s <= length_s:
        return 0.0, whole_s
    from_s = float(rng.uniform(0, whole_s - length_s))
    return from_s, from_s + length_s


def _within(
    line: Timeline, voice: Voice | Clip, start_s: float, end_s: float, at_s: float, from_s: float, until_s: float, gain: float = 1.0
) -> None:
    """Says it, but only during [start_s, end_s): another act's scene must not hear it."""
    early_s = max(0.0, start_s - at_s)
    late_s = max(0.0, at_s + until_s - from_s - end_s)
    if from_s + early_s < until_s - late_s:
        line.say(voice, at_s + early_s, own=False, from_s=from_s + early_s, until_s=until_s - late_s, gain=gain)


SHARES: dict[Act, float] = {plain: 0.28, dubbed: 0.46, mixed_in: 0.10, over: 0.06, still: 0.07, mute: 0.06}


def draw_act(rng: np.random.Generator) -> Act:
    acts = list(SHARES)
    return acts[int(rng.choice(len(acts), p=np.array(list(SHARES.values())) / sum(SHARES.values())))]
