"""Sessions of GRID clips for `readback`: a prompt is shown, a person reads aloud, and what is read follows it or does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, pairwise
from typing import Literal

import numpy as np

from pipeline.training import acts, captions, pictures, sound
from pipeline.training.clips import Clip
from pipeline.training.grid import GridScenes, Take
from pipeline.training.session import LabelledSession, Split, Truth
from pipeline.training.sound import RATE_HZ, Sound
from pipeline.training.timeline import Timeline

NOTHING = "-"
"""The answer of `word` where nobody speaks."""
LOOK_AHEAD_S = 0.7
"""A prompt that comes sooner after a word would be taken for that word's."""
GRAMMAR = (
    ("bin", "lay", "place", "set"),
    ("blue", "green", "red", "white"),
    ("at", "by", "in", "with"),
    tuple("abcdefghijklmnopqrstuvxyz"),
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    ("again", "now", "please", "soon"),
)
"""A GRID sentence has one word of each."""
VOICES = 4
"""That babble is made of."""

Reading = Literal["kept", "altered", "dubbed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A word that sounds during [start_s, end_s) of the session. own: by the person in the picture. prompt: what was shown then."""

    start_s: float
    end_s: float
    text: str
    own: bool
    prompt: tuple[str, ...]

    @property
    def label(self) -> str:
        if not self.own:
            return "voice-off"
        return "follows" if self.text in self.prompt else "departs"


@dataclass(slots=True)
class Script:
    """A timeline, the prompts that are shown over it (from when, the words), and every word that sounds."""

    line: Timeline
    prompts: list[tuple[float, tuple[str, ...]]]
    said: list[Said]


class PromptedScenes(GridScenes):
    """Options as GridScenes. Noise is babble of four voices of the same split, other clips of the same person; in training also theirs.

    train       two readings a session: the prompt kept, altered or of another sentence, or the voice another's (acts.dubbed, acts.mixed_in)
    validation, test   one reading a session, of every clip with a word altered, and (validation: of every clip; test: of every third)
                kept or dubbed; no noise, 5 dB, 0 dB by turns
    """

    def sessions(self, split: Split, rng: np.random.Generator) -> Iterator[LabelledSession]:
        if split == "train":
            for number in count():
                yield self._drawn(number, rng)
        for number, clip in enumerate(self.casts[split].clips):
            snr_db = (None, 5.0, 0.0)[number % 3]
            yield self.reading(split, clip, "altered", place=number % 6, snr_db=snr_db)
            if split == "validation" or number % 3 == 0:
                yield self.reading(split, clip, "dubbed" if number // 6 % 2 else "kept", snr_db=snr_db)

    def reading(
        self, split: Split, clip: Clip, reading: Reading, *, place: int | None = None, snr_db: float | None = None
    ) -> LabelledSession:
        """One clip read from a prompt, the same at every call, not augmented. place: of the word that is altered; left out: drawn."""
        lot = np.random.default_rng([*clip.name.encode(), 7 if place is None else place])
        script = Script(Timeline(), [], [])
        words = tuple(word.text for word in clip.words)
        if reading == "dubbed":
            self._off(script, acts.dubbed, split, lot, clip)
        else:
            place = int(lot.integers(len(words))) if place is None else place
            self._read(script, clip, words if reading == "kept" else replaced(words, place, lot))
        take = Take(camera=pictures.Camera(), snr_db=snr_db)
        return self._shot(f"{split} {clip.name} {reading}", script, take, split, lot, condition=reading)

    def _drawn(self, number: int, rng: np.random.Generator) -> LabelledSession:
        script = Script(Timeline(), [], [])
        for _ in range(2):
            clip = self.casts["train"].clip(rng)
            if rng.random() < 0.75:
                self._read(script, clip, altered(tuple(word.text for word in clip.words), self.casts["train"], rng))
            else:
                self._off(script, (acts.dubbed, acts.dubbed, acts.mixed_in, acts.mute)[int(rng.integers(4))], "train", rng, clip)
        return self._shot(f"train {number}", script, self._draw_take(rng), "train", rng)

    def _draw_take(self, rng: np.random.Generator) -> Take:
        return Take(
            camera=pictures.draw_camera(rng),
            tempo=float(rng.uniform(0.87, 1.15)) if rng.random() < 0.7 else 1.0,
            offset_s=float(rng.uniform(-0.04, 0.04)),
            gain=float(10 ** (rng.uniform(-10, 6) / 20)),
            room=bool(rng.random() < 0.15),
            snr_db=float(rng.uniform(-8, 15)) if rng.random() < 0.65 else None,
            half_rate=bool(rng.random() < 0.05),
        )

    def _read(self, script: Script, clip: Clip, prompt: tuple[str, ...]) -> None:
        line = script.line
        start_s = line.show(clip, range(len(clip.crops)), "read")
        line.say(clip, start_s, own=True)
        script.prompts.append((start_s, prompt))
        script.said += [
            Said(start_s=start_s + word.start_s, end_s=start_s + word.end_s, text=word.text, own=True, prompt=prompt) for word in clip.words
        ]

    def _off(self, script: Script, act: acts.Act, split: Split, rng: np.random.Generator, clip: Clip) -> None:
        """Somebody else is heard: the prompt is what is heard, what the lips say, or something else, so that it tells nothing."""
        line, cast = script.line, self.casts[split]
        start_s, before = line.end_s, len(line.other)
        act(line, replace(cast, on_screen=clip), rng)
        heard = tuple(" ".join(cue.text for cue in line.other[before:]).split())
        lips = tuple(word.text for word in clip.words)
        other = tuple(word.text for word in cast.clip(rng).words)
        shown = [heard or lips, lips, other][int(rng.integers(3))]
        script.prompts.append((start_s, shown))
        script.said += [Said(start_s=cue.start_s, end_s=cue.end_s, text=cue.text, own=False, prompt=shown) for cue in line.other[before:]]

    def _shot(
        self, name: str, script: Script, take: Take, split: Split, rng: np.random.Generator, *, condition: str = ""
    ) -> LabelledSession:
        line, tempo = script.line, take.tempo
        heard = self._heard(line, take, split, rng)
        truth, end_ns = truths(script, tempo, condition), round(line.end_s * 1e9 / tempo)
        starts = [*(start_s for start_s, _ in script.prompts), line.end_s]
        cues = [
            captions.Cue(start_s=start_s / tempo, end_s=until_s / tempo, text=" ".join(words))
            for (start_s, words), until_s in zip(script.prompts, starts[1:], strict=True)
        ]
        events = {"video": self._seen(line, take, end_ns, rng), "audio": sound.blocks(heard), "text": captions.spans(cues, end_ns)}
        return LabelledSession(name=name, events=events, truth=truth, prepared=frozenset({"video"}))

    def _noise_for(self, split: Split, samples: int, rng: np.random.Generator) -> Sound:
        if split == "train" and rng.random() < 0.4:
            return super()._noise_for(split, samples, rng)
        voices = VOICES if split != "train" else int(rng.integers(2, 7))
        return babble([self.casts[split].clip(rng) for _ in range(3 * voices)], voices, samples, rng)


def babble(clips: Sequence[Clip], voices: int, samples: int, rng: np.random.Generator) -> Sound:
    """So many voices at once, each the words of clips end to end, without the silence around them, from a random place on, equally loud."""
    mix = np.zeros(samples, np.float32)
    for voice in range(voices):
        spoken = [clip.sound[int(clip.start_s * RATE_HZ) : int(clip.end_s * RATE_HZ)] for clip in clips[voice::voices]]
        track = sound.noise_like(np.concatenate(spoken), samples, rng)
        mix += track / np.float32(max(sound.level(track), 1e-6))
    return mix


def replaced(words: tuple[str, ...], place: int, rng: np.random.Generator) -> tuple[str, ...]:
    """The prompt with the word at `place` exchanged for any other that the grammar has there."""
    others = [word for word in GRAMMAR[place] if word != words[place]]
    return (*words[:place], others[int(rng.integers(len(others)))], *words[place + 1 :])


def altered(words: tuple[str, ...], cast: acts.Cast, rng: np.random.Generator) -> tuple[str, ...]:
    """Kept, with one or several words exchanged, with one left out, or another sentence."""
    chance = rng.random()
    if chance < 0.3:
        return words
    if chance < 0.85:
        for place in rng.permutation(len(words))[: 1 if chance < 0.6 else int(rng.integers(2, 5))]:
            words = replaced(words, int(place), rng)
        return words
    if chance < 0.92:
        gone = int(rng.integers(len(words)))
        return (*words[:gone], *words[gone + 1 :])
    return tuple(word.text for word in cast.clip(rng).words)


def truths(script: Script, tempo: float, condition: str) -> list[Truth]:
    """Labels and words for every 10 ms: `silent` and NOTHING outside all words, nothing known in the pauses within a sentence.

    What is said less than LOOK_AHEAD_S before another prompt is not known either. Own words win over others'.
    """
    size = round(script.line.end_s * 100)
    state: list[tuple[str, str | None] | None] = [("silent", NOTHING)] * size
    for said in sorted(script.said, key=lambda said: said.own):
        for at in range(max(0, round(said.start_s * 100)), min(size, round(said.end_s * 100))):
            state[at] = (said.label, said.text if said.own else None)
    own = [said for said in script.said if said.own]
    for before, after in pairwise(own):
        gap = range(round(before.end_s * 100), round(after.start_s * 100))
        for at in gap if len(gap) < 30 else ():
            state[at] = None
    for start_s, _ in script.prompts[1:]:
        for at in range(max(0, round((start_s - LOOK_AHEAD_S * tempo) * 100)), round(start_s * 100)):
            state[at] = state[at] if state[at] in (("silent", NOTHING), ("voice-off", None)) else None
    spans, first = [], 0
    for at in range(1, size + 1):
        if at == size or state[at] != state[first]:
            if (known := state[first]) is not None:
                label, word = known
                start_ns, end_ns = (round(edge * 10_000_000 / tempo) for edge in (first, at))
                also = {} if word is None else {"word": word}
                spans.append(Truth(start_ns=start_ns, end_ns=end_ns, label=label, condition=condition, also=also))
            first = at
    return spans
