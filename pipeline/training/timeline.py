"""A timeline on which clips and voices are laid before it becomes a session: pictures in order, two kinds of voice, what was said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.training.captions import Cue
from pipeline.training.clips import Clip
from pipeline.training.session import Truth
from pipeline.training.sound import RATE_HZ, Sound, Voice, Word

FRAME_S = 0.04
PER_FRAME = 640
GRID_HZ = 100
LABELS = ("silent", "speaking", "voice-off")


@dataclass(slots=True)
class Timeline:
    """Laid from left to right: `show` pictures, then say things over them. Times in seconds from the start.

    own, other    who is heard: the person in the picture, or somebody else; (start_s, end_s, text)
    conditions    what kind of scene each stretch is
    """

    pictures: list[tuple[Clip, int]] = field(default_factory=list)
    sounds: list[tuple[float, Sound]] = field(default_factory=list)
    own: list[Cue] = field(default_factory=list)
    other: list[Cue] = field(default_factory=list)
    conditions: list[tuple[float, str]] = field(default_factory=list)

    @property
    def end_s(self) -> float:
        return len(self.pictures) * FRAME_S

    def show(self, clip: Clip, indices: Sequence[int], condition: str) -> float:
        """Puts pictures at the end; gives when they begin."""
        start_s = self.end_s
        self.conditions.append((start_s, condition))
        self.pictures.extend((clip, index) for index in indices)
        return start_s

    def say(
        self, voice: Voice | Clip, at_s: float, *, own: bool, from_s: float = 0.0, until_s: float | None = None, gain: float = 1.0
    ) -> None:
        """Lays [from_s, until_s) of a recording so that its from_s is heard at at_s; what lies outside the timeline is cut off later."""
        until_s = len(voice.sound) / RATE_HZ if until_s is None else until_s
        piece = _faded(voice.sound[int(from_s * RATE_HZ) : int(until_s * RATE_HZ)]) * np.float32(gain)
        self.sounds.append((at_s, piece))
        heard = [word for word in voice.words if word.end_s > from_s and word.start_s < until_s]
        said = self.own if own else self.other
        for words in utterances(heard):
            start_s, end_s = max(words[0].start_s, from_s), min(words[-1].end_s, until_s)
            said.append(Cue(start_s=at_s + start_s - from_s, end_s=at_s + end_s - from_s, text=" ".join(word.text for word in words)))

    def sound(self) -> Sound:
        mix = np.zeros(len(self.pictures) * PER_FRAME, np.float32)
        for at_s, piece in self.sounds:
            first = round(at_s * RATE_HZ)
            lost = max(0, -first)
            room = mix[first + lost : first + piece.size]
            room += piece[lost : lost + room.size]
        return mix

    def state(self) -> NDArray[np.int64]:
        """Index into LABELS for every 10 ms. Own voice wins where both are heard: the visible person speaks."""
        state = np.zeros(round(self.end_s * GRID_HZ), np.int64)
        for label, said in ((2, self.other), (1, self.own)):
            for cue in said:
                state[max(0, round(cue.start_s * GRID_HZ)) : max(0, round(cue.end_s * GRID_HZ))] = label
        return state

    def truth(self) -> list[Truth]:
        state = self.state()
        starts = [round(start_s * GRID_HZ) for start_s, _ in self.conditions]
        edges = np.unique([0, *(np.flatnonzero(np.diff(state)) + 1), *starts, state.size])
        spans = []
        for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            condition = self.conditions[int(np.searchsorted(starts, first, side="right")) - 1][1]
            spans.append(Truth(start_ns=first * 10_000_000, end_ns=last * 10_000_000, label=LABELS[int(state[first])], condition=condition))
        return spans

    def spoken(self) -> list[Cue]:
        """Everything that is heard, whoever says it, in order."""
        return sorted((cue for cue in self.own + self.other if cue.end_s > 0 and cue.start_s < self.end_s), key=lambda cue: cue.start_s)


def utterances(words: Sequence[Word], pause_s: float = 0.3) -> list[list[Word]]:
    """Words without a pause between them belong together."""
    groups: list[list[Word]] = []
    for word in words:
        if groups and word.start_s - groups[-1][-1].end_s < pause_s:
            groups[-1].append(word)
        else:
            groups.append([word])
    return groups


def _faded(sound: Sound) -> Sound:
    """5 ms in and out, so that a cut does not click: a click would give the composition away."""
    ramp = np.minimum(1.0, np.arange(sound.size) / 80).astype(np.float32)
    return sound * ramp * ramp[::-1]
