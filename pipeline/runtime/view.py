"""The live view: small pictures, sound levels, texts and marks of a session, for whoever watches it just now.

It is made only while somebody subscribes to the session; it never waits, is bounded, and what is not taken is dropped and counted.
Nothing that is decided depends on it. A message has three frames: `topic(session)`, a header in JSON, the body (a JPEG or nothing).

    {"kind": "picture", "source", "stream", "at_ns", "width", "height"}     at most 8 a second of a stream, before any transform
    {"kind": "level", "source", "stream", "at_ns", "rms_db", "peak_db"}     at most 20 a second, of all sound since the last one
    {"kind": "text", "source", "stream", "start_ns", "end_ns", "text"}      at most 20 a second
    {"kind": "marks", "input", "spans", "lost", "dropped"}                  at most 5 a second of an input, of all since the last one

rms_db, peak_db: of full scale. spans: [[start_ns, end_ns], ...] of the packets that went on to the aligner. lost: [[at_ns, reason], ...]
of those that did not, or came late; dropped: {reason: count} of the same, and of those whose time is not known. All times are session time.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.packet import AudioBlock, Dropped, Frame, Packet, StreamEvent, TextSpan
from operators.window import Late
from pipeline.clock import Clock
from pipeline.media.jpeg import small_jpeg
from pipeline.runtime.viewfeed import Feed

LOOK_NS = 100_000_000
"""How often it is looked whether somebody watches."""
PICTURE_NS = 125_000_000
LEVEL_NS = 50_000_000
MARKS_NS = 200_000_000
TEXT_NS = 1_000_000_000
MOST_TEXTS = 20
"""In TEXT_NS, of a stream."""
MOST_MARKS = 256
"""Of one kind in a message."""
MOST_PENDING = 16
MOST_TEXT = 2_000
"""Characters of a text that are shown."""
SILENCE_DB = -120.0


@dataclass(slots=True)
class _Marks:
    spans: list[tuple[int, int]] = field(default_factory=list)
    lost: list[tuple[int, str]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Loudness:
    squares: float = 0.0
    samples: int = 0
    peak: float = 0.0

    def add(self, data: NDArray[np.float32]) -> None:
        flat = data.ravel()
        if flat.size:
            self.squares += float(np.dot(flat, flat))
            self.samples += flat.size
            self.peak = max(self.peak, float(flat.max()), -float(flat.min()))


class View:
    """What one process of a session shows of it. One thread calls it.

    A source's packets go in twice: as the source made them (`note`), and as inputs of the model (`passed`, `lost`). `show` and
    `look_after` send; they are called when what matters has gone.
    """

    def __init__(self, feed: Feed, clock: Clock, source: str = "") -> None:
        self._feed, self._clock, self._source = feed, clock, source
        self._pending: deque[Packet] = deque(maxlen=MOST_PENDING)
        self._due_ns: dict[tuple[str, str], int] = {}
        self._texts: Counter[str] = Counter()
        self._loudness: dict[str, _Loudness] = {}
        self._marks: dict[str, _Marks] = {}
        self._look_due_ns = clock.now_ns()

    @property
    def watched(self) -> bool:
        """As of the last `look_after`."""
        return self._feed.watched

    @property
    def dropped(self) -> int:
        """What a watcher was too slow for, or was too much to be shown."""
        return self._feed.dropped

    # -- in

    def note(self, packet: Packet) -> None:
        """A packet of the source; it is shown by the next `show`."""
        if self._feed.watched:
            self._pending.append(packet)

    def passed(self, event: StreamEvent) -> None:
        """An event of an input, on its way to the aligner."""
        if not self._feed.watched:
            return
        if isinstance(event, Dropped):
            self.lost([event])
        elif isinstance(event, Packet):
            self._keep(self._of(event.stream).spans, (event.start_ns, event.end_ns))

    def lost(self, dropped: Iterable[Dropped]) -> None:
        """Packets of inputs that went no further."""
        if not self._feed.watched:
            return
        for each in dropped:
            marks = self._of(each.stream)
            marks.dropped[each.reason] += each.count
            if each.start_ns is not None:
                self._keep(marks.lost, (each.start_ns, each.reason))

    def late(self, late: Late) -> None:
        """A packet that came after its windows had been decided."""
        self.lost([Dropped(stream=late.packet.stream, reason="late", start_ns=late.packet.start_ns)])

    # -- out

    def show(self) -> None:
        """What was noted."""
        while self._pending:
            packet = self._pending.popleft()
            match packet.payload:
                case Frame() as frame:
                    self._picture(packet, frame)
                case AudioBlock() as block:
                    self._level(packet, block)
                case TextSpan() as span:
                    self._text(packet, span)

    def look_after(self, now_ns: int) -> None:
        """To be called often; does something now and then."""
        if now_ns < self._look_due_ns:
            return
        self._look_due_ns = now_ns + LOOK_NS
        self._feed.look()
        if not self._feed.watched:
            self._forget()
            return
        for name, marks in list(self._marks.items()):
            if self._is_due("marks", name, MARKS_NS):
                self._feed.send({"kind": "marks", "input": name, "spans": marks.spans, "lost": marks.lost, "dropped": dict(marks.dropped)})
                del self._marks[name]

    def close(self) -> None:
        self._feed.close()

    # -- one kind each

    def _picture(self, packet: Packet, frame: Frame) -> None:
        if not self._is_due("picture", packet.stream, PICTURE_NS):
            return
        picture = small_jpeg(frame.data)
        if picture is not None:
            body, width, height = picture
            self._feed.send({**self._about("picture", packet), "at_ns": packet.start_ns, "width": width, "height": height}, body)

    def _level(self, packet: Packet, block: AudioBlock) -> None:
        loudness = self._loudness.setdefault(packet.stream, _Loudness())
        loudness.add(block.data)
        if loudness.samples and self._is_due("level", packet.stream, LEVEL_NS):
            rms_db, peak_db = decibels(math.sqrt(loudness.squares / loudness.samples)), decibels(loudness.peak)
            self._feed.send({**self._about("level", packet), "at_ns": packet.end_ns, "rms_db": rms_db, "peak_db": peak_db})
            del self._loudness[packet.stream]

    def _text(self, packet: Packet, span: TextSpan) -> None:
        if self._is_due("text", packet.stream, TEXT_NS):
            self._texts[packet.stream] = 0
        self._texts[packet.stream] += 1
        if self._texts[packet.stream] > MOST_TEXTS:
            self._feed.dropped += 1
            return
        text = span.text[:MOST_TEXT].encode("utf-8", "replace").decode()
        self._feed.send({**self._about("text", packet), "start_ns": packet.start_ns, "end_ns": packet.end_ns, "text": text})

    def _about(self, kind: str, packet: Packet) -> dict[str, Any]:
        return {"kind": kind, "source": self._source, "stream": packet.stream}

    # -- bounds

    def _is_due(self, kind: str, name: str, every_ns: int) -> bool:
        """By the clock, not by session time: a replay may run at any speed."""
        now_ns = self._clock.now_ns()
        due_ns = self._due_ns.get((kind, name), now_ns)
        if now_ns < due_ns:
            return False
        # From the last due instant, so that 30 pictures a second give 8 and not 7; but nothing is made up for.
        self._due_ns[kind, name] = max(due_ns + every_ns, now_ns + every_ns // 2)
        return True

    def _of(self, name: str) -> _Marks:
        return self._marks.setdefault(name, _Marks())

    def _keep(self, marks: list[Any], mark: object) -> None:
        if len(marks) < MOST_MARKS:
            marks.append(mark)
        else:
            self._feed.dropped += 1

    def _forget(self) -> None:
        self._pending.clear()
        self._marks.clear()
        self._loudness.clear()


def decibels(amplitude: float) -> float:
    """Of full scale (1.0 is 0 dB), with one decimal; silence, and what is no number, is SILENCE_DB."""
    if not 0 < amplitude < math.inf:
        return SILENCE_DB
    return round(max(SILENCE_DB, 20 * math.log10(amplitude)), 1)
