"""How a head sways and eyes blink: a function of time, so that any frame can be drawn without the ones before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.scene.face import Pose
from pipeline.scene.story import MouthCurves

BLINK_S = 0.16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Motion:
    """sway: (5, 3, 3), for shift across, shift down, turn, size and gaze three waves each of size, frequency in Hz and phase.

    blinks_s: when the eyes shut.
    """

    mouth: MouthCurves
    sway: NDArray[np.float64]
    blinks_s: NDArray[np.float64]

    def pose(self, time_ns: int) -> Pose:
        time_s = time_ns / 1e9
        waves = self.sway[:, :, 0] * np.sin(2 * np.pi * (self.sway[:, :, 1] * time_s + self.sway[:, :, 2]))
        across, down, turn, size, gaze = waves.sum(axis=1).tolist()
        opening, spread = self.mouth.at(time_ns)
        return Pose(
            opening=opening,
            spread=spread,
            lids=self._lids(time_s),
            gaze=float(np.clip(gaze, -1, 1)),
            brows=max(0.0, 12 * down + 0.4 * opening),
            turn_deg=turn,
            shift=(across, down + 0.006 * opening),
            size=1 + size,
        )

    def _lids(self, time_s: float) -> float:
        nearest = np.abs(self.blinks_s - time_s).min(initial=np.inf)
        return float(np.clip((nearest / (BLINK_S / 2)) ** 2, 0, 1))


def draw_motion(mouth: MouthCurves, seconds: float, rng: np.random.Generator, *, liveliness: float) -> Motion:
    """liveliness: 0 a statue, 1 somebody who cannot sit still."""
    sizes = np.array([0.035, 0.02, 3.0, 0.02, 0.5])[:, None] * liveliness * rng.uniform(0.2, 1, (5, 3))
    sway = np.stack([sizes, rng.uniform(0.05, 0.6, (5, 3)), rng.uniform(0, 1, (5, 3))], axis=2)
    pauses_s = rng.uniform(1.5, 6, int(seconds / 1.5) + 2)
    return Motion(mouth=mouth, sway=sway, blinks_s=np.cumsum(pauses_s))
