"""Makes scene.mp4 and truth.jsonl beside this file: python configs/demo/make_scene.py

A drawn face talks, keeps still, chews, and is talked over; two espeak-ng voices, a noisy stretch, captions. The mouth follows the times of
espeak-ng's sounds, so the truth is known to the millisecond; pauses of PAUSE_S and more within a sentence are silence.
The clip is held out: the shipped model never sees this face's seed or these voices in training.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.subtitles.subtitle import SubtitleSet
from espeak import Espeak, Speech
from numpy.typing import NDArray

from pipeline.scene.face import Face
from pipeline.scene.look import Look, draw_look
from pipeline.scene.motion import Motion, draw_motion
from pipeline.scene.phones import Sound
from pipeline.scene.story import Act, Happening, mouth_curves, truth_of
from pipeline.scene.voice import RATE_HZ as NOISE_HZ
from pipeline.scene.voice import background

HERE = Path(__file__).resolve().parent
WIDTH, HEIGHT, FPS, SOUND_HZ, SEED = 640, 480, 30, 44100, 90210
PAUSE_S = 0.25
NOISY_S = (20.8, 34.6)
NOISE_RMS, QUIET_RMS, SPEECH_RMS = 0.022, 0.0012, 0.09
ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, Bold, Italic, Alignment
Style: Default,Arial,16,&Hffffff,0,0,2

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
"""What FFmpeg's mov_text encoder wants to know of fonts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """Of espeak-ng. pitch: 0 to 100. speed: words a minute."""

    name: str
    pitch: int
    speed: int

    def say(self, espeak: Espeak, text: str, *, faster: float = 1.0) -> Speech:
        return espeak.say(text, voice=self.name, pitch=self.pitch, speed=round(self.speed * faster))


@dataclass(frozen=True, slots=True, kw_only=True)
class Voices:
    """hers: of the person in the picture. his: of somebody beside it."""

    hers: Voice
    his: Voice


VOICES = Voices(hers=Voice(name="en-us+f4", pitch=55, speed=150), his=Voice(name="en-us+m3", pitch=30, speed=155))


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the script. said: by her in the picture if `speaking`, else by him. mouthed: what her mouth says meanwhile.

    pause_s: of silence, or of chewing, if nothing is said. shown: the caption, if not what is said.
    """

    happening: Happening
    said: str = ""
    mouthed: str = ""
    pause_s: float = 0.0
    shown: str | None = None


SCRIPT = (
    Line(happening="quiet", pause_s=1.6),
    Line(happening="speaking", said="Hello. I am drawn, and my voice is made by a machine."),
    Line(happening="quiet", pause_s=0.5),
    Line(happening="speaking", said="When my mouth and the sound agree, I am speaking."),
    Line(happening="quiet", pause_s=1.3),
    Line(
        happening="off_screen",
        said="Now somebody else talks, and the person in the picture keeps still.",
        shown="MAN: Now somebody else talks.",
    ),
    Line(happening="quiet", pause_s=0.7),
    Line(happening="speaking", said="That was not me."),
    Line(happening="off_screen", said="No, it was me, over here."),
    Line(happening="quiet", pause_s=0.4),
    Line(happening="chewing", pause_s=1.8),
    Line(happening="quiet", pause_s=0.6, shown="[a fan starts]"),
    Line(happening="speaking", said="It is getting loud in here, but you can still hear me."),
    Line(happening="quiet", pause_s=1.2),
    Line(happening="off_screen", said="I have to raise my voice above the noise."),
    Line(happening="quiet", pause_s=0.5),
    Line(happening="speaking", said="So do I."),
    Line(happening="quiet", pause_s=1.0),
    Line(
        happening="dubbed",
        said="This is a dubbed film: her mouth moves, but these are other words.",
        mouthed="Beautiful boats and a warm blue river, we saw them all before the summer was over, all of us.",
    ),
    Line(happening="quiet", pause_s=0.8),
    Line(happening="speaking", said="And these words are mine again. Goodbye."),
    Line(happening="quiet", pause_s=1.5),
)


def main() -> None:
    acts, sound, captions = perform(Espeak(), SCRIPT, VOICES)
    write_truth(HERE / "truth.jsonl", acts)
    seconds = acts[-1].end_ns / 1e9
    lot = np.random.default_rng(SEED)
    motion = draw_motion(mouth_curves(acts, lot), seconds, lot, liveliness=0.5)
    face = Face(cast(), WIDTH, HEIGHT, np.random.default_rng(SEED))
    write_media(HERE / "scene.mp4", face, motion, sound + room(len(sound), lot), captions)
    print(f"{seconds:.2f} s, {(HERE / 'scene.mp4').stat().st_size} bytes, {len(truth_of(acts))} spans of truth")


def cast() -> Look:
    return replace(draw_look(np.random.default_rng(SEED)), grain=0.8, beard=False, hair_style="long", height=0.6, centre=(0.5, 0.46))


def perform(espeak: Espeak, script: Sequence[Line], voices: Voices) -> tuple[list[Act], NDArray[np.float32], list[tuple[int, int, str]]]:
    """The acts, the sound at SOUND_HZ, and the captions (start_ns, end_ns, text)."""
    acts: list[Act] = []
    pieces: list[NDArray[np.float32]] = []
    captions: list[tuple[int, int, str]] = []
    for line in script:
        start_ns = acts[-1].end_ns if acts else 0
        piece = voiced(espeak, line, voices) if line.said else np.zeros(round(line.pause_s * SOUND_HZ), np.float32)
        acts += acts_of(espeak, line, voices, start_ns, len(piece))
        pieces.append(piece)
        caption = line.said if line.shown is None else line.shown
        if caption:
            captions.append((start_ns, acts[-1].end_ns, caption))
    return acts, np.concatenate(pieces), captions


def spoken(espeak: Espeak, line: Line, voices: Voices) -> Speech:
    """What is heard, without the silence before and after it."""
    speech = (voices.hers if line.happening == "speaking" else voices.his).say(espeak, line.said)
    start_s, end_s = speech.sounds[0].start_s, speech.sounds[-1].end_s
    cut = speech.data[round(start_s * speech.rate_hz) : round(end_s * speech.rate_hz)]
    return Speech(data=cut, rate_hz=speech.rate_hz, sounds=moved(speech.sounds, -start_s))


def voiced(espeak: Espeak, line: Line, voices: Voices) -> NDArray[np.float32]:
    speech = spoken(espeak, line, voices)
    at_s = np.arange(round(len(speech.data) / speech.rate_hz * SOUND_HZ)) / SOUND_HZ
    data = np.interp(at_s, np.arange(len(speech.data)) / speech.rate_hz, speech.data)
    data *= SPEECH_RMS / np.sqrt(np.mean(data**2))
    if line.happening != "speaking":  # he stands further from the microphone
        far = 0.75 * data
        for delay_s, level in ((0.013, 0.35), (0.029, -0.25), (0.047, 0.15)):
            delay = round(delay_s * SOUND_HZ)
            far[delay:] += level * data[: len(data) - delay]
        data = far
    return data.astype(np.float32)


def acts_of(espeak: Espeak, line: Line, voices: Voices, start_ns: int, samples: int) -> list[Act]:
    """One act, or several where a sentence has pauses."""
    end_ns = start_ns + round(samples * 1e9 / SOUND_HZ)
    if not line.said:
        seen = chewed(line.pause_s) if line.happening == "chewing" else ()
        return [Act(happening=line.happening, start_ns=start_ns, end_ns=end_ns, seen=seen)]
    heard = spoken(espeak, line, voices).sounds
    mouthed = voices.hers.say(espeak, line.mouthed, faster=1.1).sounds if line.mouthed else ()
    seen = {"speaking": heard, "off_screen": (), "dubbed": mouthed}[line.happening]
    breaks = [(before.end_s, after.start_s) for before, after in pairwise(heard) if after.start_s - before.end_s >= PAUSE_S]
    cuts = [start_ns, *(start_ns + round(time_s * 1e9) for pause in breaks for time_s in pause), end_ns]
    acts: list[Act] = []
    for number, (first_ns, last_ns) in enumerate(pairwise(cuts)):
        happening: Happening = line.happening if number % 2 == 0 else "chewing" if line.happening == "dubbed" else "quiet"
        acts.append(Act(happening=happening, start_ns=first_ns, end_ns=last_ns, seen=within(seen, first_ns - start_ns, last_ns - start_ns)))
    return acts


def within(sounds: Sequence[Sound], start_ns: int, end_ns: int) -> tuple[Sound, ...]:
    """The sounds that begin in [start_ns, end_ns), times relative to its start."""
    kept = [sound for sound in sounds if start_ns <= sound.start_s * 1e9 < end_ns]
    return tuple(
        replace(sound, end_s=min(sound.end_s, end_ns / 1e9)) for sound in moved(kept, -start_ns / 1e9, limit_s=(end_ns - start_ns) / 1e9)
    )


def moved(sounds: Sequence[Sound], by_s: float, limit_s: float = np.inf) -> tuple[Sound, ...]:
    return tuple(replace(sound, start_s=sound.start_s + by_s, end_s=min(sound.end_s + by_s, limit_s)) for sound in sounds)


def chewed(seconds: float) -> tuple[Sound, ...]:
    steps = np.arange(0.1, seconds - 0.3, 0.28)
    return tuple(
        Sound(phone=("ah", "m", "eh", "b")[number % 4], start_s=float(time_s), end_s=float(time_s) + 0.25, loudness=0.6)
        for number, time_s in enumerate(steps)
    )


def room(samples: int, lot: np.random.Generator) -> NDArray[np.float32]:
    """Nearly nothing, and a fan during NOISY_S."""
    times_s = np.arange(samples) / SOUND_HZ
    coarse = background(round(samples / SOUND_HZ * NOISE_HZ) + 2, lot)
    noise = np.interp(times_s, np.arange(len(coarse)) / NOISE_HZ, coarse)
    level = np.interp(times_s, [NOISY_S[0] - 0.5, NOISY_S[0], NOISY_S[1], NOISY_S[1] + 0.5], [QUIET_RMS, NOISE_RMS, NOISE_RMS, QUIET_RMS])
    return np.asarray(noise * level, np.float32)


def write_truth(path: Path, acts: Sequence[Act]) -> None:
    rows = [{"start_ms": span.start_ns // 1_000_000, "end_ms": span.end_ns // 1_000_000, "label": span.label} for span in truth_of(acts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_media(
    path: Path,
    face: Face,
    motion: Motion,
    sound: NDArray[np.float32],
    captions: Sequence[tuple[int, int, str]],
    preset: str = "veryslow",
) -> None:
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        video = container.add_stream("libx264", rate=FPS, options={"crf": "27", "preset": preset, "tune": "animation"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = container.add_stream("aac", rate=SOUND_HZ, layout="mono", bit_rate=64_000)
        text = container.add_stream("mov_text")
        text.time_base = Fraction(1, 1000)
        text.codec_context.subtitle_header = ASS_HEADER
        blocks = iter(range(0, len(sound), 1024))
        for start_ns, end_ns, caption in captions:
            body = f"0,0,Default,,0,0,0,,{caption}".encode()
            packet = text.codec_context.encode_subtitle(SubtitleSet.create(text=body, start=0, end=(end_ns - start_ns) // 1_000_000))
            packet.stream, packet.time_base = text, Fraction(1, 1000)
            packet.pts = packet.dts = start_ns // 1_000_000
            packet.duration = (end_ns - start_ns) // 1_000_000
            container.mux(packet)
        for index in range(len(sound) * FPS // SOUND_HZ):
            picture = av.VideoFrame.from_ndarray(face.draw(motion.pose(index * 1_000_000_000 // FPS), index), format="rgb24")
            picture.pts = index
            container.mux(video.encode(picture))
            while (first := next(blocks, None)) is not None:
                container.mux(audio.encode(audio_frame(sound, first)))
                if first > index * SOUND_HZ // FPS:
                    break
        for first in blocks:
            container.mux(audio.encode(audio_frame(sound, first)))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def audio_frame(sound: NDArray[np.float32], first: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.clip(sound[None, first : first + 1024], -1, 1), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = SOUND_HZ, first, Fraction(1, SOUND_HZ)
    return frame


if __name__ == "__main__":
    main()
