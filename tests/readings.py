"""Clips of somebody who reads six words of GRID's grammar aloud: no face, and for each word a noise of its own."""

import numpy as np
from tinymedia import write_media

from pipeline.training.clips import Clip, split_of
from pipeline.training.prompted import GRAMMAR
from pipeline.training.sound import RATE_HZ, Word

SENTENCE = ("bin", "blue", "at", "f", "two", "now")


def clip(name="bbaf2n", words=SENTENCE, frames=75, start_s=0.5):
    """Words of 0.2 s without a pause; each sounds as noise of its own."""
    spoken = tuple(Word(start_s=start_s + 0.2 * n, end_s=start_s + 0.2 * n + 0.2, text=text) for n, text in enumerate(words))
    sound = np.zeros(frames * 640, np.float32)
    for word in spoken:
        span = slice(int(word.start_s * RATE_HZ), int(word.end_s * RATE_HZ))
        sound[span] = 0.1 * np.random.default_rng(list(word.text.encode())).standard_normal(span.stop - span.start)
    return Clip(name=name, crops=np.zeros((frames, 8, 8), np.uint8), found=np.ones(frames, np.bool_), sound=sound, words=spoken)


def sentences():
    """Two for each split."""
    wanted = {"train": 2, "validation": 2, "test": 2}
    for colour, letter, digit in np.ndindex(4, 25, 10):
        words = ("bin", GRAMMAR[1][colour], "at", GRAMMAR[3][letter], GRAMMAR[4][digit], "now")
        name = f"b{words[1][0]}a{words[3]}{digit}n"
        if wanted[split_of(name)]:
            wanted[split_of(name)] -= 1
            yield name, words


def write_readings(folder):
    """folder/clips, two for each split, and folder/babble.wav."""
    (folder / "clips").mkdir()
    for name, sentence in sentences():
        made = clip(name, sentence)
        write_media(folder / "clips" / f"{name}.mp4", stamps_ms=range(0, 3000, 40), sound=made.sound[None], audio_codec="aac")
        lines = [f"{round(word.start_s * 25000)} {round(word.end_s * 25000)} {word.text}" for word in made.words]
        (folder / "clips" / f"{name}.align").write_text("\n".join(["0 12500 sil", *lines, ""]))
    write_media(folder / "babble.wav", stamps_ms=None, sound=clip().sound[None])
