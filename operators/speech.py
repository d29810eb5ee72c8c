r"""Words out of sound, each with its own times: a stream of AudioBlocks in, of TextSpans out.

 sound     ____/~~~~\__/~~~\_______      an utterance: from where it becomes louder than the room until it has been quiet for a while
 words         |bin |   |now|            what a recogniser says of it, when it has ended; stamped by when each was spoken

Any recogniser fits: it takes one utterance and gives its words. So a word comes out up to the utterance's length and `pause_ms` after it
was spoken; while an utterance is open, the promise of the text stream waits at its beginning, and a window that cannot wait says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from operators.errors import ContractError
from operators.operator import run_chain
from operators.packet import AudioBlock, Closed, Dropped, Packet, Payload, StreamEvent, TextSpan, Watermark
from operators.resample import Resample
from operators.sample_clock import GAP_NS, SECOND_NS, samples_in, time_of

FRAME_MS = 10
BEFORE_MS = 250
ONSET_FRAMES = 3
LOUDER_DB = 9.0
QUIETEST_DB = -60.0
ROOM_FRAMES, ROOM_SHARE = 300, 0.4
"""The room's level: below it are so many of the last frames."""
SMOOTH = 0.25
"""Loudness is a mean over some 40 ms: single frames of noise are now and then loud."""
FADED_DB = 20.0
FALL_DB, RISE_DB, RISE_OPEN_DB = 0.6, 0.2, 0.03
"""How far it can move in a frame: hardly up while somebody speaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """start, end: in samples of the utterance. confidence: 0 to 1, as the recogniser says it."""

    text: str
    start: int
    end: int
    confidence: float = 1.0


class Recogniser(Protocol):
    """rate_hz: what it wants."""

    rate_hz: int

    def words(self, samples: NDArray[np.float32]) -> Sequence[Word]:
        """Of one utterance, (n,) in [-1, 1] at rate_hz: its words in order; none where it heard no words. Keeps nothing between calls."""
        ...


class Speech:
    """An operator that turns sound into text. A subclass names a recogniser (`operators.sphinx`).

    unit: a TextSpan for each `word`, or one for each `phrase` (all words of an utterance).
    hold: it holds from its start until the next one (an instant), as captions do; else for as long as it was spoken.
    pause_ms: so much quiet ends an utterance. longest_s: an utterance is cut there, so that what waits is bounded.
    least: words with less confidence are Dropped(unsure). Sound with NaN is Dropped(not_finite), and ends the utterance as a gap does.
    """

    takes: Literal["audio"] = "audio"

    def __init__(
        self,
        recogniser: Recogniser,
        *,
        unit: Literal["word", "phrase"] = "word",
        hold: bool = False,
        pause_ms: int = 400,
        longest_s: float = 10.0,
        least: float = 0.0,
    ) -> None:
        if pause_ms < FRAME_MS or not 1 <= longest_s <= 60 or not 0 <= least <= 1:
            raise ContractError(
                f"pause_ms >= {FRAME_MS}, longest_s of 1 to 60, least of 0 to 1 wanted, got {pause_ms}, {longest_s}, {least}"
            )
        self._recogniser, self._unit, self._hold, self._least = recogniser, unit, hold, least
        self._rate_hz = recogniser.rate_hz
        self._resample = Resample(rate_hz=self._rate_hz)
        self._frame = samples_in(FRAME_MS * 1_000_000, self._rate_hz)
        self._pause, self._longest = pause_ms // FRAME_MS, round(longest_s * 1000 / FRAME_MS)
        self._floor_db: float | None = None
        self._levels: list[float] = []
        self._power = 0.0
        self._peak_db = 0.0
        self._promised_ns: int | None = None
        self._last_start_ns = -1
        self._forget(0)

    def _forget(self, start_ns: int) -> None:
        """Sound begins anew at start_ns."""
        self._start_ns = start_ns  # of the first sample in _sound
        self._sound: NDArray[np.float32] = np.zeros(0, np.float32)
        self._seen = 0  # frames of _sound whose loudness is known
        self._loud = self._quiet = 0  # in a row
        self._open = False

    def process(self, event: StreamEvent) -> Iterator[StreamEvent]:
        for sound in run_chain([self._resample], [event]):
            if isinstance(sound, Packet):
                yield from self._hear(sound.stream, sound.start_ns, sound.payload)
            elif isinstance(sound, Watermark):
                yield from self._promise(sound)
            else:
                if isinstance(sound, Closed) or sound.reason == "not_finite":
                    yield from self._end(sound.stream)
                yield sound

    def _hear(self, stream: str, start_ns: int, block: Payload) -> Iterator[StreamEvent]:
        if not isinstance(block, AudioBlock):
            raise ContractError(f"Speech wants AudioBlock, got {block!r} on {stream}")
        if abs(start_ns - self._head_ns) > GAP_NS:
            yield from self._end(stream)
            self._forget(start_ns)
        self._sound = np.concatenate([self._sound, block.data[0]])
        while (self._seen + 1) * self._frame <= self._sound.size:
            yield from self._listen(stream)

    @property
    def _head_ns(self) -> int:
        return self._start_ns + time_of(self._sound.size, self._rate_hz)

    def _listen(self, stream: str) -> Iterator[StreamEvent]:
        """One frame further."""
        frame = self._sound[self._seen * self._frame : (self._seen + 1) * self._frame]
        self._seen += 1
        loud = self._is_loud(20 * float(np.log10(max(float(np.sqrt(np.mean(np.square(frame, dtype=np.float64)))), 1e-6))))
        self._loud, self._quiet = (self._loud + 1, 0) if loud else (0, self._quiet + 1)
        if self._open:
            if self._quiet >= self._pause or self._seen >= self._longest:
                yield from self._recognise(stream)
        elif self._loud >= ONSET_FRAMES:
            self._open = True
        else:
            self._shorten(BEFORE_MS // FRAME_MS)

    def _is_loud(self, level_db: float) -> bool:
        """Louder than the room, and not far below the loudest of the utterance: what fades into noise has ended."""
        self._power += (10 ** (level_db / 10) - self._power) * SMOOTH
        level_db = 10 * float(np.log10(max(self._power, 1e-12)))
        self._peak_db = max(self._peak_db, level_db) if self._open else level_db
        self._levels = [*self._levels[1 - ROOM_FRAMES :], max(level_db, QUIETEST_DB)]
        room_db = sorted(self._levels)[int(ROOM_SHARE * len(self._levels))]
        rise_db = RISE_OPEN_DB if self._open else RISE_DB
        self._floor_db = room_db if self._floor_db is None else min(max(room_db, self._floor_db - FALL_DB), self._floor_db + rise_db)
        return level_db > max(self._floor_db + LOUDER_DB, self._peak_db - FADED_DB)

    def _shorten(self, frames: int) -> None:
        """Keeps the last so many frames: an utterance begins a little before it is loud."""
        cut = max(0, self._seen - frames)
        if cut:
            self._start_ns += time_of(cut * self._frame, self._rate_hz)
            self._sound = self._sound[cut * self._frame :]
            self._seen -= cut

    def _recognise(self, stream: str) -> Iterator[StreamEvent]:
        words = self._recogniser.words(self._sound[: self._seen * self._frame])
        sure = [word for word in words if word.confidence >= self._least]
        if len(sure) < len(words):
            yield Dropped(stream=stream, reason="unsure", count=len(words) - len(sure), start_ns=self._start_ns)
        if self._unit == "phrase" and sure:
            sure = [Word(text=" ".join(word.text for word in sure), start=sure[0].start, end=sure[-1].end)]
        for word in sure:
            yield self._text(stream, word)
        self._open, self._loud = False, 0
        self._shorten(0)

    def _text(self, stream: str, word: Word) -> Packet:
        """Numbered by its start in milliseconds: the same after a restart."""
        start_ns = max(self._start_ns + time_of(word.start, self._rate_hz), self._last_start_ns + 1_000_000, self._promised_ns or 0)
        end_ns = start_ns if self._hold else max(start_ns, self._start_ns + time_of(word.end, self._rate_hz))
        self._last_start_ns = start_ns
        payload = TextSpan(text=word.text)
        return Packet(stream=stream, seq=start_ns // 1_000_000, start_ns=start_ns, end_ns=end_ns, payload=payload)

    def _end(self, stream: str) -> Iterator[StreamEvent]:
        if self._open:
            yield from self._recognise(stream)
        self._forget(self._head_ns)

    def _promise(self, mark: Watermark) -> Iterator[StreamEvent]:
        """No word starts before the sound that may still be of an utterance."""
        if mark.time_ns - self._head_ns > GAP_NS + SECOND_NS // 10:
            yield from self._end(mark.stream)
            self._forget(mark.time_ns)
        time_ns = min(mark.time_ns, self._start_ns)
        self._promised_ns = time_ns if self._promised_ns is None else max(self._promised_ns, time_ns)
        yield Watermark(stream=mark.stream, time_ns=self._promised_ns)

    def snapshot(self) -> Mapping[str, Any]:
        own = (
            "_floor_db",
            "_levels",
            "_power",
            "_peak_db",
            "_promised_ns",
            "_last_start_ns",
            "_start_ns",
            "_seen",
            "_loud",
            "_quiet",
            "_open",
        )
        state = {name: getattr(self, name) for name in own}
        return {**state, "_sound": self._sound.copy(), "resample": self._resample.snapshot()}

    def restore(self, state: Mapping[str, Any]) -> None:
        vars(self).update({name: value for name, value in state.items() if name != "resample"})
        self._sound = np.array(state["_sound"], np.float32)
        self._resample.restore(state["resample"])
