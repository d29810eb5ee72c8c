"""Sessions of drawn faces (`pipeline.sources.synthetic`): many faces and voices, if only painted ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.packet import AudioBlock, Frame, Packet, TextSpan
from pipeline.ports import Wanted
from pipeline.sources.synthetic import Scene
from pipeline.training import captions, pictures, sound
from pipeline.training.cached import CROPS, code_digest, detector_digest, keep, kept
from pipeline.training.captions import Cue
from pipeline.training.clips import mouths
from pipeline.training.pictures import Camera
from pipeline.training.session import LabelledSession, Split, Truth

FIRST_SEED: dict[Split, int] = {"train": 10_000, "validation": 20_000, "test": 30_000}
COUNT: dict[Split, int] = {"train": 100, "validation": 8, "test": 40}
SCENES = ("pipeline/scene/*", "pipeline/sources/synthetic.py", "pipeline/training/drawn.py")
"""What draws a scene."""
RATES = (25.0, 30.0, 15.0, 29.97)


class DrawnScenes:
    """Scenes of `seconds` each; the seeds of the splits are far apart, and far from the small numbers that people give by hand.

    detector  as `model` of operators.face:FaceCrop
    cache     where cropped scenes are kept, as long as the code that makes them is the same; drawing one costs about as long as it lasts
    scenes    how many there are to train on
    """

    def __init__(
        self, *, detector: str = "auto", cache: Path | None = None, seconds: float = 12.0, size: int = 48, wide: int = 64, scenes: int = 100
    ) -> None:
        self._detector, self._cache, self._seconds = detector, None if cache is None else Path(cache), seconds
        self._size, self._wide = size, wide
        self._counts = {**COUNT, "train": scenes}
        self._made_by = hashlib.sha256(f"{code_digest(*CROPS, *SCENES)}{detector_digest(detector)}".encode()).hexdigest()[:16]

    def sessions(self, split: Split, rng: np.random.Generator) -> Iterator[LabelledSession]:
        if split != "train":
            for number in range(self._counts[split]):
                yield self._session(FIRST_SEED[split] + number, Camera(), rng)
        while split == "train":
            yield self._session(FIRST_SEED[split] + int(rng.integers(self._counts[split])), pictures.draw_camera(rng), rng)

    def _session(self, seed: int, camera: Camera, rng: np.random.Generator) -> LabelledSession:
        scene = Scene(seconds=self._seconds, seed=seed, width=480, height=360, fps=RATES[seed % len(RATES)])
        arrays = self._arrays(scene, seed)
        end_ns = scene.end_ns() or 0
        shot = pictures.shoot(arrays["crops"], self._size, camera, rng)
        texts = zip(arrays["text"].tolist(), arrays["text_s"].tolist(), strict=True)
        cues = [Cue(start_s=start_s, end_s=end_s, text=text) for text, (start_s, end_s) in texts]
        events = {
            "video": pictures.frames(shot, arrays["starts_ns"].tolist(), end_ns, arrays["found"].tolist()),
            "audio": sound.blocks(arrays["sound"]),
            "text": captions.spans(cues, end_ns),
        }
        truth = [Truth(start_ns=span.start_ns, end_ns=span.end_ns, label=span.label, condition="drawn") for span in scene.truth]
        return LabelledSession(name=f"drawn {seed}", events=events, truth=truth, prepared=frozenset({"video"}))

    def _arrays(self, scene: Scene, seed: int) -> dict[str, NDArray[Any]]:
        """Everything of a scene that costs time: crops, sound and captions; from the cache if it is there."""
        name = f"drawn-{seed}-{self._seconds:g}-{self._wide}-{self._size}-{self._made_by}.npz"
        path = None if self._cache is None else self._cache / name
        if path is not None and path.is_file():
            return kept(path)
        arrays = self._drawn(scene)
        if path is not None:
            keep(path, arrays)
        return arrays

    def _drawn(self, scene: Scene) -> dict[str, NDArray[Any]]:
        scene.open({"video": Wanted(pixels="gray"), "audio": Wanted(), "text": Wanted()})
        packets = [event for _, event in scene.events() if isinstance(event, Packet)]
        shown = [packet for packet in packets if isinstance(packet.payload, Frame)]
        told = [(packet, packet.payload.text) for packet in packets if isinstance(packet.payload, TextSpan)]
        crops, found = mouths(shown, detector=self._detector, wide=self._wide, size=self._size)
        return {
            "crops": crops,
            "found": found,
            "starts_ns": np.array([packet.start_ns for packet in shown], np.int64),
            "sound": sound.assemble([packet for packet in packets if isinstance(packet.payload, AudioBlock)]),
            "text": np.array([text for _, text in told], np.str_),
            "text_s": np.array([(packet.start_ns / 1e9, packet.end_ns / 1e9) for packet, _ in told]).reshape(-1, 2),
        }
