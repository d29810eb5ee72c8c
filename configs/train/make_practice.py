"""Makes scenes like that of the demo to train on: python configs/train/make_practice.py FOLDER [--scenes 27]

Drawn faces with espeak-ng voices (apt install libespeak-ng1), each NAME.mp4 with its truth as NAME.labels.jsonl, as `LabelledMedia` reads
them. Faces, voices and sentences are none of the demo's: configs/demo/make_scene.py's clip stays held out.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "demo"))

from espeak import Espeak
from make_scene import HEIGHT, SOUND_HZ, VOICES, WIDTH, Line, Voice, Voices, perform, write_media, write_truth

from pipeline.scene.face import Face
from pipeline.scene.look import draw_look
from pipeline.scene.motion import draw_motion
from pipeline.scene.story import Happening, mouth_curves
from pipeline.scene.voice import RATE_HZ, background

FIRST_SEED = 40_000
ACCENTS = ("en-us", "en", "en-gb-x-rp", "en-gb-x-gbclan", "en-us-nyc")
TIMBRES = ("f1", "f2", "f3", "f5", "m1", "m2", "m4", "m5", "m6", "m7")
SHARES: dict[Happening, float] = {"speaking": 0.42, "off_screen": 0.2, "dubbed": 0.26, "chewing": 0.12}
SENTENCES = (
    "The train to the coast leaves at a quarter past nine.", "Can you pass me the salt, please?", "Every evening the old man fed the birds.",
    "She wrote a long letter and never sent it.", "There are seven apples in the basket.", "Wait.", "I do not think so.",
    "Turn left at the church and follow the river.", "My brother plays the piano, badly.", "It rained for three days without a break.",
    "What time does the museum open on Sunday?", "Put the books back on the shelf.", "Yes, of course.", "A small green boat lay on the beach.",
    "He laughed so loudly that the dog woke up.", "Nobody knew where the keys were.", "We will meet again in the spring.",
    "Five times twelve is sixty.", "The soup is too hot to eat.", "Please speak a little more slowly.", "Under the bridge the water was black.",
    "Good morning, everybody.", "They moved the piano up the narrow stairs.", "Who left the window open all night?", "Take your time.",
    "The moon rose over the quiet valley.", "I have never been to Portugal.", "Bring warm clothes and good shoes.", "Thank you very much.",
    "The shop sells paper, paint and string.", "Most of the guests had already gone home.", "How far is it to the next village?",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenes", type=int, default=27)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    espeak = Espeak()
    for number in range(options.first, options.scenes):
        path = options.folder / f"practice-{number:02d}.mp4"
        if not path.with_suffix(".labels.jsonl").exists():
            make(espeak, FIRST_SEED + number, path)
            print(path, flush=True)


def make(espeak: Espeak, seed: int, path: Path) -> None:
    lot = np.random.default_rng(seed)
    look = replace(draw_look(lot), grain=float(lot.uniform(0.3, 1.5)))
    acts, sound, captions = perform(espeak, draw_script(lot), draw_voices(lot))
    motion = draw_motion(
        mouth_curves(acts, lot, effort=lot.uniform(0.8, 1.1)), acts[-1].end_ns / 1e9, lot, liveliness=lot.uniform(0.2, 0.9)
    )
    heard = float(lot.uniform(0.5, 1.5)) * (sound + room(len(sound), lot))
    shown = captions if lot.random() < 0.7 else []
    write_media(path, Face(look, WIDTH, HEIGHT, np.random.default_rng(seed)), motion, heard.astype(np.float32), shown, preset="veryfast")
    write_truth(path.with_suffix(".labels.jsonl"), acts)


def draw_voices(lot: np.random.Generator) -> Voices:
    """Two timbres that differ, neither of them one of the demo's."""
    timbres = lot.permutation(TIMBRES)[:2]
    hers, his = (
        Voice(name=f"{lot.choice(ACCENTS)}+{timbre}", pitch=int(lot.integers(20, 80)), speed=int(lot.integers(125, 190)))
        for timbre in timbres
    )
    assert {hers.name, his.name}.isdisjoint({VOICES.hers.name, VOICES.his.name})  # noqa: S101 - what the card says
    return Voices(hers=hers, his=his)


def draw_script(lot: np.random.Generator) -> list[Line]:
    script = [Line(happening="quiet", pause_s=float(lot.uniform(0.6, 1.8)))]
    for _ in range(11):
        happening: Happening = list(SHARES)[int(lot.choice(len(SHARES), p=list(SHARES.values())))]
        if happening == "chewing":
            script.append(Line(happening=happening, pause_s=float(lot.uniform(1.0, 2.5))))
        else:
            said, other, more = lot.permutation(SENTENCES)[:3].tolist()
            script.append(Line(happening=happening, said=said, mouthed=f"{other} {more}" if happening == "dubbed" else ""))
        if lot.random() < 0.7:
            script.append(Line(happening="quiet", pause_s=float(lot.uniform(0.3, 1.6))))
    return script


def room(samples: int, lot: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The same noise throughout, 5 to 40 dB below the voices."""
    coarse = background(round(samples / SOUND_HZ * RATE_HZ) + 2, lot)
    noise = np.interp(np.arange(samples) / SOUND_HZ, np.arange(len(coarse)) / RATE_HZ, coarse)
    return noise * 0.09 * 10 ** (-lot.uniform(5, 40) / 20) / np.sqrt(np.mean(noise**2))


if __name__ == "__main__":
    main()
