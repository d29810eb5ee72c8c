"""A text track as events: captions at their start, and heartbeats that promise silence in between."""

from __future__ import annotations

from collections.abc import Iterator

import av
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import AssSubtitle

from operators.packet import Closed, Dropped, Packet, TextSpan, Watermark
from pipeline.media.captions import Cue, plain
from pipeline.media.container import MediaPacket, Timed, Timeline, unit

HEARTBEAT_NS = 40_000_000
"""So that a window never waits long for a text stream that has nothing to say."""


class TextTrack:
    """Plays cues up to a time that it is told: it cannot know when the media's other tracks end, and it ends with them.

    cues: in order of start; a string names the reason why one is left out.
    good, bad: see `pipeline.media.video.VideoTrack`.
    """

    def __init__(self, name: str, cues: Iterator[Cue | str], *, seq: int, from_ns: int) -> None:
        self.name, self.good, self.bad = name, 0, 0
        self._cues, self._seq, self._from_ns = cues, seq, from_ns
        self._beat_ns = -(-from_ns // HEARTBEAT_NS) * HEARTBEAT_NS
        self._due_ns = self._end_ns = from_ns
        self._read_ns = self._promised_ns = 0
        self._reasons: dict[str, int] = {}
        self._next = self._read()

    def before(self, due_ns: int) -> Iterator[Timed]:
        """Everything that is due before due_ns."""
        while True:
            yield from self._drops()
            cue = self._next
            if cue is not None and cue.start_ns < due_ns and cue.start_ns <= self._beat_ns:
                self._next = self._read()
                yield from self._packet(cue)
            elif self._beat_ns < due_ns:
                yield from self._promise(self._beat_ns)
                self._beat_ns += HEARTBEAT_NS
            else:
                return

    def close(self, end_ns: int | None) -> Iterator[Timed]:
        """The end, at end_ns or, without one, when the last cue has gone; cues that would start at or after the end are counted."""
        while end_ns is None and self._next is not None:
            yield from self.before(self._next.start_ns + 1)
        end_ns = max(self._due_ns, self._end_ns if end_ns is None else end_ns)
        yield from self.before(end_ns)
        left = 0 if self._next is None else 1 + sum(isinstance(cue, Cue) for cue in self._cues)
        if left:
            yield end_ns, Dropped(stream=self.name, reason="after_end", count=left, start_ns=end_ns)
        yield end_ns, Closed(stream=self.name, time_ns=end_ns)

    def _packet(self, cue: Cue) -> Iterator[Timed]:
        self.good += 1
        if cue.start_ns < self._from_ns:
            return
        self._due_ns, self._end_ns = cue.start_ns, max(self._end_ns, cue.end_ns)
        payload = TextSpan(text=cue.text)
        yield cue.start_ns, Packet(stream=self.name, seq=self._seq, start_ns=cue.start_ns, end_ns=cue.end_ns, payload=payload)
        self._seq += 1
        yield from self._promise(cue.start_ns)

    def _promise(self, time_ns: int) -> Iterator[Timed]:
        if time_ns > self._promised_ns:
            self._due_ns = self._promised_ns = time_ns
            yield time_ns, Watermark(stream=self.name, time_ns=time_ns)

    def _read(self) -> Cue | None:
        """The next cue that can go out; what cannot is kept for `_drops`. A cue behind the last one would break a promise."""
        for cue in self._cues:
            if isinstance(cue, Cue) and cue.start_ns >= self._read_ns:
                self._read_ns = cue.start_ns
                return cue
            reason = cue if isinstance(cue, str) else "before_start" if cue.start_ns < 0 else "out_of_order"
            self._reasons[reason] = self._reasons.get(reason, 0) + 1
        return None

    def _drops(self) -> Iterator[Timed]:
        for reason, count in self._reasons.items():
            self.bad += count
            yield self._due_ns, Dropped(stream=self.name, reason=reason, count=count)
        self._reasons = {}


def subtitle_cues(packets: Iterator[MediaPacket | None], stream: SubtitleStream, timeline: Timeline) -> Iterator[Cue | str]:
    """The cues of a subtitle track, decoded one by one."""
    for packet in packets:
        if packet is None:
            yield "decode_error"
            continue
        if not packet.size:
            continue
        try:
            rects = packet.decode()
        except av.error.FFmpegError:
            yield "decode_error"
            continue
        if packet.pts is None:
            yield "no_stamp"
            continue
        start_ns = timeline.to_ns(packet.pts, unit(stream))
        length_ns = round((packet.duration or 0) * 1_000_000_000 * unit(stream))
        yield from _cues(list(rects), start_ns, start_ns + max(0, length_ns))


def _cues(rects: list[object], start_ns: int, end_ns: int) -> Iterator[Cue | str]:
    for rect in rects:
        if not isinstance(rect, AssSubtitle):
            yield "bitmap_caption"
            continue
        text = plain(_dialogue(rect.ass))
        if text:
            yield Cue(start_ns=start_ns, end_ns=end_ns, text=text)


def _dialogue(ass: bytes) -> str:
    """The text of an ASS event as FFmpeg gives it: ReadOrder, Layer, Style, Name, MarginL, MarginR, MarginV, Effect, Text."""
    parts = ass.decode("utf-8", errors="replace").split(",", 8)
    return parts[-1]


def file_cues(cues: list[Cue], bad: int) -> Iterator[Cue | str]:
    """The cues of a caption file, the bad ones first."""
    for _ in range(bad):
        yield "bad_cue"
    yield from cues
