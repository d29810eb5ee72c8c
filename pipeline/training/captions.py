"""Captions for composed sessions: loose, often absent, sometimes early or late, and the same for every voice that is heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from operators.packet import Closed, Packet, TextSpan, Watermark
from pipeline.training.session import Timed

TAGS = ("[music]", "[door closes]", "[footsteps]", "[wind]", "[applause]", "(laughs)")
BEAT_NS = 40_000_000
COMMON = (
    "the of and to in is you that it he was for on are as with his they I at be this have from or one had by word but not what all were we "
    "when your can said there use an each which she do how their if will up other about out many then them these so some her would make "
    "like him into time has look two more write go see number no way could people my than first water been call who oil its now find long "
    "down day did get come made may part over new sound take only little work know place year live me back give most very after thing our "
    "just name good sentence man think say great where help through much before line right too mean old any same tell boy follow came want "
    "show also around form three small set put end does another well large must big even such because turn here why ask went men read need "
    "land different home us move try kind hand picture again change off play spell air away animal house point page letter mother answer"
)
"""So that captions are not all in the words of one corpus."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """One caption, shown during [start_s, end_s)."""

    start_s: float
    end_s: float
    text: str


def caption(spoken: Sequence[Cue], end_s: float, rng: np.random.Generator) -> list[Cue]:
    """Cues for utterances (when they are said, whoever says them): with slack, some missing, some shifted by up to 1 s, tags in silence.

    Nothing here knows who speaks: text tells that there is speech, never whose.
    """
    cues: list[Cue] = []
    for words in spoken:
        if rng.random() < 0.1:
            continue
        shift = rng.uniform(-1.0, 1.0) if rng.random() < 0.15 else 0.0
        start_s = words.start_s - rng.uniform(0.0, 0.3) + shift
        until_s = words.end_s + rng.uniform(0.0, 0.7) + shift
        known = words.text and rng.random() < 0.6
        text = words.text if known else " ".join(rng.choice(COMMON.split(), int(rng.integers(2, 11))))
        cues.append(Cue(start_s=max(0.0, start_s), end_s=until_s, text=text))
    quiet = zip([0.0, *(cue.end_s for cue in spoken)], [*(cue.start_s for cue in spoken), end_s], strict=True)
    for start_s, until_s in quiet:
        if until_s - start_s > 0.8 and rng.random() < 0.15:
            cues.append(Cue(start_s=start_s + 0.2, end_s=until_s, text=str(rng.choice(TAGS))))
    return _in_order(cues, end_s)


def _in_order(cues: list[Cue], end_s: float) -> list[Cue]:
    """Sorted, each cut where the next begins."""
    cues = sorted((cue for cue in cues if cue.start_s < end_s), key=lambda cue: cue.start_s)
    ends = [min(a.end_s, b.start_s) for a, b in pairwise(cues)] + [cue.end_s for cue in cues[-1:]]
    return [Cue(start_s=cue.start_s, end_s=end, text=cue.text) for cue, end in zip(cues, ends, strict=True) if end > cue.start_s]


def spans(cues: Sequence[Cue], end_ns: int, *, stream: str = "text") -> list[Timed]:
    """The cues as a source gives them: each at its start, and a promise every 40 ms of silence."""
    timed: list[Timed] = []
    beats = iter(range(0, end_ns, BEAT_NS))
    beat_ns = next(beats, end_ns)
    for seq, cue in enumerate(cues):
        start_ns, until_ns = round(cue.start_s * 1e9), round(cue.end_s * 1e9)
        while beat_ns < min(start_ns, end_ns):
            timed.append((beat_ns, Watermark(stream=stream, time_ns=beat_ns)))
            beat_ns = next(beats, end_ns)
        if start_ns < end_ns:
            payload = TextSpan(text=cue.text)
            timed.append((start_ns, Packet(stream=stream, seq=seq, start_ns=start_ns, end_ns=until_ns, payload=payload)))
    while beat_ns < end_ns:
        timed.append((beat_ns, Watermark(stream=stream, time_ns=beat_ns)))
        beat_ns = next(beats, end_ns)
    timed.append((end_ns, Closed(stream=stream, time_ns=end_ns)))
    return timed
