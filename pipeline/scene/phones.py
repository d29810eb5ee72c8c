"""The sounds of speech: how each one sounds and what it does to the mouth.

Vowel formants: averages of men after Peterson and Barney 1952; the rest is set by ear and eye.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Phone:
    """One sound.

    formants_hz        F1, F2, F3 of a vocal tract of scale 1
    voiced, noise      loudness of the voice and of the hiss, 0 to 1
    noise_hz           centre and width of the hiss
    opening, spread    of the mouth: 0 closed to 1 wide open; -1 rounded to 1 spread
    length_s           at normal speed
    """

    formants_hz: tuple[float, float, float]
    voiced: float = 1.0
    noise: float = 0.0
    noise_hz: tuple[float, float] = (1500.0, 2000.0)
    opening: float
    spread: float = 0.0
    length_s: float = 0.12


PHONES: dict[str, Phone] = {
    "aa": Phone(formants_hz=(730, 1090, 2440), opening=1.0, length_s=0.16),
    "ae": Phone(formants_hz=(660, 1720, 2410), opening=0.85, spread=0.4, length_s=0.15),
    "ah": Phone(formants_hz=(640, 1190, 2390), opening=0.7, length_s=0.11),
    "ao": Phone(formants_hz=(570, 840, 2410), opening=0.8, spread=-0.5, length_s=0.15),
    "eh": Phone(formants_hz=(530, 1840, 2480), opening=0.6, spread=0.3, length_s=0.12),
    "er": Phone(formants_hz=(490, 1350, 1690), opening=0.4, spread=-0.3, length_s=0.13),
    "ih": Phone(formants_hz=(390, 1990, 2550), opening=0.4, spread=0.4, length_s=0.09),
    "iy": Phone(formants_hz=(270, 2290, 3010), opening=0.3, spread=0.8, length_s=0.13),
    "ow": Phone(formants_hz=(450, 880, 2300), opening=0.55, spread=-0.8, length_s=0.15),
    "uw": Phone(formants_hz=(300, 870, 2240), opening=0.25, spread=-1.0, length_s=0.13),
    "m": Phone(formants_hz=(250, 1000, 2200), voiced=0.35, opening=0.0, length_s=0.08),
    "n": Phone(formants_hz=(250, 1600, 2600), voiced=0.35, opening=0.22, length_s=0.07),
    "ng": Phone(formants_hz=(250, 2100, 2700), voiced=0.3, opening=0.3, length_s=0.08),
    "b": Phone(formants_hz=(250, 900, 2200), voiced=0.15, noise=0.05, noise_hz=(700, 600), opening=0.0, length_s=0.07),
    "p": Phone(formants_hz=(300, 900, 2200), voiced=0.0, noise=0.15, noise_hz=(900, 900), opening=0.0, length_s=0.09),
    "d": Phone(formants_hz=(300, 1700, 2600), voiced=0.15, noise=0.1, noise_hz=(3800, 1500), opening=0.2, length_s=0.06),
    "t": Phone(formants_hz=(350, 1700, 2600), voiced=0.0, noise=0.25, noise_hz=(4200, 1800), opening=0.18, length_s=0.08),
    "g": Phone(formants_hz=(300, 2000, 2500), voiced=0.15, noise=0.1, noise_hz=(2200, 900), opening=0.3, length_s=0.07),
    "k": Phone(formants_hz=(350, 2000, 2500), voiced=0.0, noise=0.25, noise_hz=(2300, 1000), opening=0.28, length_s=0.09),
    "f": Phone(formants_hz=(350, 1100, 2200), voiced=0.0, noise=0.2, noise_hz=(5500, 4000), opening=0.08, spread=0.1, length_s=0.1),
    "v": Phone(formants_hz=(300, 1100, 2200), voiced=0.3, noise=0.1, noise_hz=(5000, 4000), opening=0.08, spread=0.1, length_s=0.07),
    "s": Phone(formants_hz=(350, 1700, 2600), voiced=0.0, noise=0.45, noise_hz=(5600, 1600), opening=0.14, spread=0.5, length_s=0.11),
    "z": Phone(formants_hz=(300, 1700, 2600), voiced=0.25, noise=0.3, noise_hz=(5400, 1600), opening=0.14, spread=0.5, length_s=0.08),
    "sh": Phone(formants_hz=(350, 1800, 2500), voiced=0.0, noise=0.45, noise_hz=(3000, 1500), opening=0.22, spread=-0.7, length_s=0.11),
    "th": Phone(formants_hz=(350, 1400, 2500), voiced=0.2, noise=0.1, noise_hz=(5000, 4000), opening=0.2, spread=0.2, length_s=0.06),
    "h": Phone(formants_hz=(600, 1400, 2500), voiced=0.0, noise=0.2, noise_hz=(1500, 2500), opening=0.5, length_s=0.06),
    "l": Phone(formants_hz=(360, 1300, 2700), voiced=0.6, opening=0.35, spread=0.1, length_s=0.07),
    "r": Phone(formants_hz=(350, 1200, 1600), voiced=0.6, opening=0.25, spread=-0.5, length_s=0.07),
    "w": Phone(formants_hz=(300, 700, 2200), voiced=0.6, opening=0.12, spread=-1.0, length_s=0.07),
    "y": Phone(formants_hz=(280, 2200, 2900), voiced=0.6, opening=0.25, spread=0.6, length_s=0.06),
    "-": Phone(formants_hz=(500, 1500, 2500), voiced=0.0, opening=0.05, length_s=0.06),
}

WORDS: dict[str, str] = {
    "the": "th ah",
    "a": "ah",
    "we": "w iy",
    "they": "th eh iy",
    "you": "y uw",
    "she": "sh iy",
    "nobody": "n ow b ah d iy",
    "my": "m aa iy",
    "brother": "b r ah th er",
    "mother": "m ah th er",
    "people": "p iy p ah l",
    "boat": "b ow t",
    "moon": "m uw n",
    "river": "r ih v er",
    "window": "w ih n d ow",
    "morning": "m ao r n ih ng",
    "summer": "s ah m er",
    "paper": "p eh iy p er",
    "bread": "b r eh d",
    "water": "w ao t er",
    "money": "m ah n iy",
    "music": "m y uw z ih k",
    "house": "h aa w s",
    "family": "f ae m ah l iy",
    "is": "ih z",
    "was": "w ah z",
    "will": "w ih l",
    "moves": "m uw v z",
    "opens": "ow p ah n z",
    "follows": "f aa l ow z",
    "makes": "m eh iy k s",
    "found": "f aa w n d",
    "saw": "s ao",
    "keeps": "k iy p s",
    "leaves": "l iy v z",
    "brings": "b r ih ng z",
    "warm": "w ao r m",
    "blue": "b l uw",
    "empty": "eh m p t iy",
    "beautiful": "b y uw t ih f ah l",
    "five": "f aa iy v",
    "seven": "s eh v ah n",
    "above": "ah b ah v",
    "before": "b ih f ao r",
    "from": "f r ah m",
    "by": "b aa iy",
    "home": "h ow m",
    "away": "ah w eh iy",
    "today": "t ah d eh iy",
    "now": "n aa w",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """A phone at its time: [start_s, end_s) after the start of what is said. loudness: stress, around 1."""

    phone: str
    start_s: float
    end_s: float
    loudness: float = 1.0


def say(words: list[str], rng: np.random.Generator, *, speed: float = 1.0) -> tuple[Sound, ...]:
    """The sounds of a sentence, one after the other, with the timing and stress of somebody who means it."""
    sounds: list[Sound] = []
    time_s = 0.0
    for word in words:
        stress = rng.uniform(0.75, 1.15)
        for name in [*WORDS[word].split(), *(["-"] if rng.random() < 0.25 else [])]:
            length_s = PHONES[name].length_s * rng.uniform(0.8, 1.3) / speed
            sounds.append(Sound(phone=name, start_s=time_s, end_s=time_s + length_s, loudness=float(stress)))
            time_s += length_s
    return tuple(sounds)


def sentence(rng: np.random.Generator, words: int) -> list[str]:
    """Words drawn at random: the mouth and the ear are to be told apart here, not the meaning."""
    names = list(WORDS)
    return [names[index] for index in rng.integers(0, len(names), words)]
