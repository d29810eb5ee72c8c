"""Speech and the times of its sounds from libespeak-ng (apt install libespeak-ng1), for make_scene.py only."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.scene.phones import Sound

SYNCHRONOUS, PHONEME_EVENTS, PHONEMES_IN_IPA = 2, 1, 2
UTF8, PHONEME, PITCH, SPEED = 1, 7, 3, 1
PHONE_OF = {
    "a": "aa", "ɑ": "aa", "ɐ": "ah", "ʌ": "ah", "ə": "ah", "æ": "ae", "e": "eh", "ɛ": "eh", "i": "iy", "ɪ": "ih", "ᵻ": "ih", "o": "ow",
    "ɔ": "ao", "ɒ": "ao", "u": "uw", "ʊ": "uw", "ɚ": "er", "ɜ": "er", "b": "b", "d": "d", "ɾ": "d", "f": "f", "ɡ": "g", "h": "h", "j": "y",
    "k": "k", "l": "l", "m": "m", "n": "n", "ŋ": "ng", "p": "p", "r": "r", "ɹ": "r", "s": "s", "ʃ": "sh", "t": "t", "ð": "th", "θ": "th",
    "v": "v", "w": "w", "z": "z", "ʒ": "sh", "ʔ": "-",
}  # fmt: skip
MARKS = "ˈˌː̩ "


class _Identifier(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int), ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int), ("sample", ctypes.c_int), ("user_data", ctypes.c_void_p), ("id", _Identifier),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """data: float32 (samples,) at rate_hz. sounds: what is said when, pauses left out."""

    data: NDArray[np.float32]
    rate_hz: int
    sounds: tuple[Sound, ...]


class Espeak:
    """One synthesizer; the library keeps its state in the process."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libespeak-ng.so.1")
        self.rate_hz = self._library.espeak_Initialize(SYNCHRONOUS, 0, None, PHONEME_EVENTS | PHONEMES_IN_IPA)
        self._pieces: list[bytes] = []
        self._marks: list[tuple[int, str]] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
        self._callback = kind(self._heard)
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, text: str, *, voice: str, pitch: int, speed: int) -> Speech:
        """pitch: 0 to 100. speed: words a minute."""
        self._pieces, self._marks = [], []
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice}")
        self._library.espeak_SetParameter(PITCH, pitch, 0)
        self._library.espeak_SetParameter(SPEED, speed, 0)
        data = text.encode()
        self._library.espeak_Synth(data, len(data) + 1, 0, 1, 0, UTF8, None, None)
        self._library.espeak_Synchronize()
        sound = np.frombuffer(b"".join(self._pieces), np.int16).astype(np.float32) / 32768
        return Speech(data=sound, rate_hz=self.rate_hz, sounds=tuple(self._sounds(len(sound))))

    def _heard(self, wave: ctypes._Pointer[ctypes.c_short], samples: int, events: ctypes._Pointer[_Event]) -> int:
        if samples > 0:
            self._pieces.append(ctypes.string_at(wave, 2 * samples))
        index = 0
        while events[index].type:
            if events[index].type == PHONEME:
                self._marks.append((events[index].sample, events[index].id.string.decode(errors="replace")))
            index += 1
        return 0

    def _sounds(self, samples: int) -> list[Sound]:
        ends = [sample for sample, _ in self._marks[1:]] + [samples]
        made: list[Sound] = []
        for (start, name), end in zip(self._marks, ends, strict=True):
            phones = [PHONE_OF[letter] for letter in name if letter not in MARKS]
            step = (end - start) / self.rate_hz / max(1, len(phones))
            first_s = start / self.rate_hz
            made += [
                Sound(phone=phone, start_s=first_s + step * number, end_s=first_s + step * (number + 1))
                for number, phone in enumerate(phones)
            ]
        return made
