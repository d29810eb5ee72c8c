"""Pictures and sound of a recorded session, by session time, with the stamps that they had when they were recorded."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import av
from av.container import InputContainer

from operators.packet import Frame, Packet
from pipeline.media.audio import AudioTrack
from pipeline.media.container import MAX_PIXELS, first_seq
from pipeline.media.video import Pictures
from pipeline.ports import Wanted
from pipeline.session.layout import SegmentName
from pipeline.session.media import START_TAG
from pipeline.session.read import Session

MS = 1_000_000
BLOCK_NS = 20 * MS
HALF_NS = MS
PREROLL_NS = 200 * MS
"""Lossy sound wants some packets before it is right."""
SLACK_NS = 2_000 * MS
"""A packet may lie this far from the stamps of those around it in the file (pictures are stored out of order)."""


BASE_ERRORS = (av.error.FFmpegError, OSError, ValueError, IndexError)
"""What opening and reading a damaged media file may raise."""


def base_of(container: InputContainer) -> int:
    """Session time of a segment's zero. Raises ValueError where its tag is no number."""
    return int(container.metadata.get(START_TAG, 0))


@dataclass(slots=True, kw_only=True)
class Compressed:
    """A packet of a media segment. start_ns: exact for the first of a file, else to the millisecond. fresh: a new decoder begins."""

    packet: Any
    start_ns: int
    base_ns: int
    first: bool
    fresh: bool


def frames(session: Session, stream: str, start_ns: int = 0, end_ns: int | None = None, wanted: Wanted | None = None) -> Iterator[Packet]:
    """The pictures that start in [start_ns, end_ns), each with its recorded number and interval; Frame payloads.

    One that was recorded but cannot be decoded is left out.
    """
    rows = [row for row in session.stream_rows(stream) if row["kind"] == "packet" and _within(row["start_ns"], start_ns, end_ns)]
    starts = [row["start_ns"] for row in rows]
    pictures, following = Pictures(wanted or Wanted()), 0
    for near_ns, frame in _decoded(session, stream, start_ns, end_ns):
        # The file keeps milliseconds; the log has the exact start.
        index = bisect_left(starts, near_ns - HALF_NS, following)
        if index < len(rows) and starts[index] <= near_ns + HALF_NS:
            following = index + 1
            row = rows[index]
            payload = Frame(data=pictures.array(frame))
            yield Packet(stream=stream, seq=row["seq"], start_ns=row["start_ns"], end_ns=row["end_ns"], payload=payload)


def sound(session: Session, stream: str, start_ns: int = 0, end_ns: int | None = None, wanted: Wanted | None = None) -> Iterator[Packet]:
    """The sound of [start_ns, end_ns) in blocks of 20 ms; AudioBlock payloads. Gaps are gaps: nothing is put in their place."""
    track = AudioTrack(stream, wanted or Wanted(), BLOCK_NS, first_seq(start_ns), start_ns)
    for _, event in track.events(_counted(_decoded(session, stream, start_ns, end_ns), start_ns)):
        if isinstance(event, Packet):
            if end_ns is not None and event.start_ns >= end_ns:
                return
            yield event


def _counted(frames: Iterator[tuple[int, Any]], from_ns: int) -> Iterator[tuple[int, Any]]:
    """Sound frames with stamps counted in samples from the first one, where the file's milliseconds agree; none that ends by from_ns."""
    anchor_ns: int | None = None
    samples = 0
    for near_ns, frame in frames:
        if anchor_ns is None or abs(near_ns - anchor_ns - round(samples * 1e9 / frame.sample_rate)) > 2 * MS:
            anchor_ns, samples = near_ns, 0
        start_ns = anchor_ns + round(samples * 1e9 / frame.sample_rate)
        samples += frame.samples
        if anchor_ns + round(samples * 1e9 / frame.sample_rate) > from_ns:
            yield start_ns, frame


def _within(time_ns: int, start_ns: int, end_ns: int | None) -> bool:
    return time_ns >= start_ns and (end_ns is None or time_ns < end_ns)


def _decoded(session: Session, stream: str, start_ns: int, end_ns: int | None) -> Iterator[tuple[int, Any]]:
    """(start, frame) in order of decoding. One decoder lives on over segments that follow on each other."""
    context: Any = None
    base_ns = 0
    for item in _needed(compressed(session, stream), start_ns - PREROLL_NS):
        if end_ns is not None and item.start_ns > end_ns + SLACK_NS:
            break
        if item.fresh or context is None:
            yield from _stamped(base_ns, _tried(context, None))
            context, base_ns = item.packet.stream.codec_context, item.base_ns
        _move(item.packet, round((item.base_ns - base_ns) / MS))
        yield from _stamped(base_ns, _tried(context, item.packet))
    yield from _stamped(base_ns, _tried(context, None))


def _stamped(base_ns: int, frames: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    yield from ((base_ns + frame.pts * MS, frame) for frame in frames if frame.pts is not None)


def _tried(context: Any, packet: Any) -> Sequence[Any]:  # noqa: ANN401 - av.CodecContext, av.Packet
    """What the decoder makes of it; nothing of what is damaged. packet None: what it still holds."""
    if context is None:
        return []
    try:
        return list(context.decode(packet))
    except (av.error.FFmpegError, EOFError):
        return []


def _move(packet: Any, by_ms: int) -> None:  # noqa: ANN401 - av.Packet
    if by_ms:
        packet.pts = None if packet.pts is None else packet.pts + by_ms
        packet.dts = None if packet.dts is None else packet.dts + by_ms


def _needed(packets: Iterator[Compressed], from_ns: int) -> Iterator[Compressed]:
    """From the last place on at which decoding can begin to be right at from_ns.

    Pictures: a key frame. Sound: the start of a file, since its exact times are counted in samples from there.
    """
    held: list[Compressed] = []
    for item in packets:
        if item.start_ns < from_ns:
            begins = item.first if item.packet.stream.type == "audio" else item.packet.is_keyframe
            held = [item] if begins else [*held, item]
            continue
        held.append(item)
        break
    if held:
        held[0].fresh = True
    yield from held
    yield from packets  # also those that start earlier: pictures are stored out of order


def _check_size(stream: Any) -> None:  # noqa: ANN401 - av.Stream
    """A session may come from anybody: a header of a few bytes must not cost gigabytes. Raises ValueError."""
    width, height = getattr(stream.codec_context, "width", 0) or 0, getattr(stream.codec_context, "height", 0) or 0
    if width * height > MAX_PIXELS:
        raise ValueError(f"pictures of {width}x{height} are not decoded; the limit is {MAX_PIXELS >> 20} megapixels")


def compressed(session: Session, stream: str) -> Iterator[Compressed]:
    """All packets of a stream's media in order of time, up to the damage in each segment."""
    before: SegmentName | None = None
    for segment in session.media_segments(stream):
        fresh = not segment.name.follows(before)
        before = segment.name
        try:
            with av.open(f"file:{segment.path}", options={"protocol_whitelist": "file"}, format="matroska") as container:
                _check_size(container.streams[0])
                base_ns, first = base_of(container), True
                for packet in container.demux(container.streams[0]):
                    if packet.pts is not None and packet.size:
                        start_ns = base_ns + packet.pts * MS
                        yield Compressed(packet=packet, start_ns=start_ns, base_ns=base_ns, first=first, fresh=fresh)
                        first = fresh = False
        except BASE_ERRORS as error:
            session.faults.found.setdefault(str(segment.path), " ".join(str(error).split())[:200])
            before = None
