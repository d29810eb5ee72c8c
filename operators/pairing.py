"""Each frame with the sound that was heard when it was made: the block whose interval holds the frame's instant.

 sound   |--0--|--1--|--2--|--3--|
 frame            ^                 -> block 1, as soon as both are there, whatever else is still under way

Three answers are possible (as of the interpolators of Microsoft's psi, `Fuse.cs`): the block is there; it is known not to come; not enough
is known yet. An aligner's window waits for promises; this does not, so it is as early as can be and nothing for what must be complete.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass

from operators.errors import ContractError
from operators.packet import Packet, Tick


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """sound None: it was lost, or is later than patience. synchronised False: nobody knows how the two clocks stand to each other."""

    frame: Packet
    sound: Packet | None
    synchronised: bool


class Pairing:
    """Packets of two streams in, in any order; one Pair out for each frame.

    patience_ns: how long after the frame's instant, by the newest time that sound or a Tick has shown, its block may still come.
    synchronised: set by whoever owns the two streams' clocks. counts: paired, without, late (frames older than all sound that is kept).
    """

    def __init__(self, *, video: str, audio: str, patience_ns: int, most_blocks: int = 4096, most_frames: int = 4096) -> None:
        if patience_ns < 0 or most_blocks < 2 or most_frames < 2:
            raise ContractError(f"patience_ns >= 0 and room for 2 or more wanted, got {patience_ns}, {most_blocks}, {most_frames}")
        self._video, self._audio, self._patience_ns = video, audio, patience_ns
        self._most_blocks, self._most_frames = most_blocks, most_frames
        self._starts: list[int] = []
        self._blocks: list[Packet] = []
        self._waiting: deque[Packet] = deque()
        self._now_ns: int | None = None
        self.synchronised = True
        self.counts: Counter[str] = Counter()

    def process(self, event: Packet | Tick) -> Iterator[Pair]:
        if isinstance(event, Tick):
            yield from self._advance(event.now_ns)
        elif event.stream == self._video:
            yield from self._frame(event)
        elif event.stream == self._audio:
            yield from self._sound(event)
        else:
            raise ContractError(f"pairing wants {self._video} and {self._audio}, got {event.stream}")

    def _frame(self, frame: Packet) -> Iterator[Pair]:
        at = bisect_right(self._starts, frame.start_ns) - 1
        if at >= 0 and frame.start_ns < self._blocks[at].end_ns:
            yield self._pair(frame, self._blocks[at])
        elif self._now_ns is not None and self._now_ns - frame.start_ns > self._patience_ns:
            self.counts["late"] += 1
            yield self._pair(frame, self._near(frame))
        else:
            self._waiting.append(frame)
            if len(self._waiting) > self._most_frames:
                yield self._pair(self._waiting.popleft(), None)

    def _sound(self, block: Packet) -> Iterator[Pair]:
        at = bisect_right(self._starts, block.start_ns)
        self._starts.insert(at, block.start_ns)
        self._blocks.insert(at, block)
        if len(self._starts) > self._most_blocks:
            del self._starts[0], self._blocks[0]
        met = [frame for frame in self._waiting if block.start_ns <= frame.start_ns < block.end_ns]
        for frame in met:
            self._waiting.remove(frame)
            yield self._pair(frame, block)
        yield from self._advance(block.start_ns)

    def _advance(self, now_ns: int) -> Iterator[Pair]:
        """Gives up on what is too old, and forgets sound that no frame within patience can want."""
        self._now_ns = now_ns if self._now_ns is None else max(self._now_ns, now_ns)
        given_up = [frame for frame in self._waiting if self._now_ns - frame.start_ns > self._patience_ns]
        for frame in given_up:
            self._waiting.remove(frame)
            yield self._pair(frame, self._near(frame))
        kept = bisect_right(self._starts, self._now_ns - 4 * self._patience_ns - 1_000_000_000)
        if kept > 64:
            del self._starts[:kept], self._blocks[:kept]

    def _near(self, frame: Packet) -> Packet | None:
        """Even blocks may miss each other by some microseconds; a frame in such a crack has a block all the same."""
        at = bisect_right(self._starts, frame.start_ns) - 1
        if at < 0 or frame.start_ns - self._blocks[at].end_ns > (self._blocks[at].end_ns - self._blocks[at].start_ns) // 10:
            return None
        return self._blocks[at]

    def _pair(self, frame: Packet, sound: Packet | None) -> Pair:
        self.counts["without" if sound is None else "paired"] += 1
        return Pair(frame=frame, sound=sound, synchronised=self.synchronised)
