"""Speech by PocketSphinx (Huggins-Daines et al., ICASSP 2006): offline, US English; its acoustic model comes with it (extra `speech`).

With a grammar it hears only what the grammar allows, and forces what it hears into it: right for commands, wrong for conversation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from operators.errors import ContractError
from operators.speech import Speech, Word

RATE_HZ = 16_000
FRAMES_PER_S = 100


class PocketSphinx:
    """A `Recogniser`. grammar: text of a JSGF grammar; None: any English, by the small language model of the package.

    Raises ContractError where the grammar cannot be read or has a word that is not in the dictionary, ImportError without the package.
    """

    rate_hz = RATE_HZ

    def __init__(self, grammar: str | None = None) -> None:
        from pocketsphinx import Decoder

        self._decoder: Any = Decoder(samprate=RATE_HZ, frate=FRAMES_PER_S, loglevel="FATAL", **({} if grammar is None else {"lm": None}))
        if grammar is not None:
            try:
                self._decoder.add_jsgf_string("grammar", grammar)
                self._decoder.activate_search("grammar")
            except (RuntimeError, ValueError) as error:
                problem = "a JSGF grammar with a public rule, of words that the dictionary has, wanted"
                raise ContractError(f"{problem}, got {grammar[:60]!r} ({error})") from None

    def words(self, samples: NDArray[np.float32]) -> Sequence[Word]:
        decoder = self._decoder
        decoder.start_utt()
        decoder.process_raw((np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        if decoder.hyp() is None:
            return []
        step = RATE_HZ // FRAMES_PER_S
        log = decoder.get_logmath()
        return [
            Word(
                text=segment.word.partition("(")[0],
                start=segment.start_frame * step,
                end=min(samples.size, (segment.end_frame + 1) * step),
                confidence=min(1.0, max(0.0, float(log.exp(segment.prob)))),
            )
            for segment in decoder.seg()
            if not segment.word.startswith(("<", "(", "["))
        ]


class Sphinx(Speech):
    """Words of an audio stream by PocketSphinx, as a transform of a text input.

    grammar: a JSGF file; without it any English is tried. The others: see `operators.speech.Speech`.
    """

    def __init__(
        self,
        *,
        grammar: Path | None = None,
        unit: Literal["word", "phrase"] = "word",
        hold: bool = False,
        pause_ms: int = 400,
        longest_s: float = 10.0,
        least: float = 0.0,
    ) -> None:
        text = None if grammar is None else grammar.read_text("utf-8")
        super().__init__(PocketSphinx(text), unit=unit, hold=hold, pause_ms=pause_ms, longest_s=longest_s, least=least)
