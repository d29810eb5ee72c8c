"""Sessions of GRID clips for naming words whose boundaries are known: a third stream, `cue`, says where in a word every moment lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count

import numpy as np

from operators.packet import Closed, Packet, Series, Watermark
from pipeline.training import pictures
from pipeline.training.clips import Clip
from pipeline.training.grid import Take
from pipeline.training.prompted import PromptedScenes, Said, Script
from pipeline.training.session import LabelledSession, Split, Timed, Truth
from pipeline.training.timeline import Timeline

CUE_NS = 40_000_000
LEVELS = (5.0, 0.0, -5.0)
CLIPS = 3
"""In a session of training."""
JITTER_S = 0.012
"""Of boundaries in training: an aligner's are not exact either."""


class SpokenWords(PromptedScenes):
    """Options and noise as PromptedScenes. Labels are the words; what lies between them has none.

    train       three readings a session
    validation, test   one reading a session: each clip without noise, and in babble of 5, 0 or -5 dB by turns
    """

    def sessions(self, split: Split, rng: np.random.Generator) -> Iterator[LabelledSession]:
        if split == "train":
            for number in count():
                yield self._drawn(number, rng)
        for number, clip in enumerate(self.casts[split].clips):
            yield self.spoken(split, clip)
            yield self.spoken(split, clip, snr_db=LEVELS[number % len(LEVELS)])

    def spoken(self, split: Split, clip: Clip, *, snr_db: float | None = None) -> LabelledSession:
        """One clip, the same at every call, not augmented."""
        lot = np.random.default_rng([*clip.name.encode(), 11])
        script = Script(Timeline(), [], [])
        self._read(script, clip, ())
        take = Take(camera=pictures.Camera(), snr_db=snr_db)
        return self._cued(f"{split} {clip.name} spoken", script, script.said, take, split, lot)

    def _drawn(self, number: int, rng: np.random.Generator) -> LabelledSession:
        script = Script(Timeline(), [], [])
        for _ in range(CLIPS):
            self._read(script, self.casts["train"].clip(rng), ())
        take = replace(self._draw_take(rng), snr_db=float(rng.uniform(-9, 12)) if rng.random() < 0.72 else None)
        said = [replace(word, start_s=word.start_s + _jitter(rng), end_s=word.end_s + _jitter(rng)) for word in script.said]
        return self._cued(f"train {number}", script, said, take, "train", rng)

    def _cued(self, name: str, script: Script, said: Sequence[Said], take: Take, split: Split, rng: np.random.Generator) -> LabelledSession:
        """said: the words as the cue tells of them; the truth is the script's."""
        made = self._shot(name, script, take, split, rng)
        truth = [
            Truth(start_ns=_ns(word.start_s / take.tempo), end_ns=_ns(word.end_s / take.tempo), label=word.text) for word in script.said
        ]
        end_ns = _ns(script.line.end_s / take.tempo)
        spans = [(_ns(word.start_s / take.tempo), _ns(word.end_s / take.tempo)) for word in said]
        events = {**made.events, "cue": cues(spans, end_ns)}
        return replace(made, events={stream: timed for stream, timed in events.items() if stream != "text"}, truth=truth)


def cues(spans: Sequence[tuple[int, int]], end_ns: int, *, stream: str = "cue") -> list[Timed]:
    """Every 40 ms a reading of three numbers: the share of them inside a word (0 to 1), seconds since its start and until its end, or 0.

    spans: (start_ns, end_ns) of each word, in order. Of two words in one step the one that has more of it counts.
    """
    timed: list[Timed] = []
    for seq, start_ns in enumerate(range(0, end_ns, CUE_NS)):
        until_ns = start_ns + CUE_NS
        inside_ns, first_ns, last_ns = max((_within(span, start_ns, until_ns) for span in spans), default=(0, 0, 0))
        middle_ns = start_ns + CUE_NS / 2
        told = (inside_ns / CUE_NS, (middle_ns - first_ns) / 1e9, (last_ns - middle_ns) / 1e9) if inside_ns else (0.0, 0.0, 0.0)
        payload = Series(values=np.array(told))
        timed.append((until_ns, Packet(stream=stream, seq=seq, start_ns=start_ns, end_ns=until_ns, payload=payload)))
        timed.append((until_ns, Watermark(stream=stream, time_ns=until_ns)))
    timed.append((end_ns, Closed(stream=stream, time_ns=max(end_ns, timed[-1][0] if timed else 0))))
    return timed


def _within(span: tuple[int, int], start_ns: int, until_ns: int) -> tuple[int, int, int]:
    return max(0, min(span[1], until_ns) - max(span[0], start_ns)), *span


def _jitter(rng: np.random.Generator) -> float:
    return float(rng.normal(0, JITTER_S))


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
