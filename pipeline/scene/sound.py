"""What a scene sounds like: each act's voice over the noise of the room, made act by act."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.scene.story import Act
from pipeline.scene.voice import RATE_HZ, Voice, background, synthesize

NOISE_CHUNK = RATE_HZ * 4
ACT, NOISE = 1, 2
"""Which lot is drawn: every act and every chunk of noise has its own, so that a scene can be started anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sounds:
    """person: the voice of the one in the picture. others: off screen, by turns.

    noise: RMS of the room; speech has about 0.1 * loudness.
    """

    seed: int
    acts: Sequence[Act]
    person: Voice
    others: tuple[Voice, ...]
    noise: float
    loudness: float

    def between(self, first: int, last: int) -> NDArray[np.float32]:
        """Samples [first, last) of the scene at RATE_HZ: float32 (samples,)."""
        mixed = self._noise(first, last)
        for index, act in enumerate(self.acts):
            start = act.start_ns * RATE_HZ // 1_000_000_000
            if act.heard and start < last and act.end_ns * RATE_HZ // 1_000_000_000 > first:
                _add(mixed, self._voice(index, act), start - first)
        return np.clip(mixed, -1, 1)

    def _voice(self, index: int, act: Act) -> NDArray[np.float32]:
        rng = np.random.default_rng((self.seed, ACT, index))
        voice = self.person if act.happening == "speaking" else self.others[index % len(self.others)]
        level = self.loudness * rng.uniform(0.7, 1.3)
        return synthesize(act.heard, voice, rng) * np.float32(level)

    def _noise(self, first: int, last: int) -> NDArray[np.float32]:
        begin = first // NOISE_CHUNK
        chunks = [
            background(NOISE_CHUNK, np.random.default_rng((self.seed, NOISE, number))) for number in range(begin, -(-last // NOISE_CHUNK))
        ]
        whole = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
        return whole[first - begin * NOISE_CHUNK : last - begin * NOISE_CHUNK] * np.float32(self.noise)


def _add(mixed: NDArray[np.float32], voice: NDArray[np.float32], offset: int) -> None:
    """Adds `voice` from `offset` on, which may lie before the start, in place."""
    first, last = max(0, offset), min(len(mixed), offset + len(voice))
    mixed[first:last] += voice[first - offset : last - offset]
