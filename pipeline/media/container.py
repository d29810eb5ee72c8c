"""Opening a media file: its tracks, its timeline, and its packets whatever state they are in.

Every track is read through a container of its own. That costs one more open and a second pass over the file's index, and in return
the memory is bounded and the order exact however badly the file is interleaved: no packet ever waits for another track's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import av
from av.container import InputContainer
from av.stream import Disposition, Stream

from operators.errors import DecodeError, DeviceLost, DeviceNotFound, SourceError
from operators.packet import StreamEvent
from pipeline.ports import MediaTap

Timed = tuple[int, StreamEvent]
"""(due_ns, event), see `pipeline.ports.Source.events`."""

MediaPacket: TypeAlias = "av.Packet[Any]"

MAX_PIXELS = 1 << 26
MAX_READ_FAILURES = 64
NOT_MOVING = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Stamps of one file on the session's timeline: 0 is where the container starts. origin_us: FFmpeg's start_time."""

    origin_us: int

    def to_ns(self, stamp: int, time_base: Fraction) -> int:
        # round(stamp * 1_000_000_000 * time_base), without a fraction made for every packet.
        whole, rest = divmod(stamp * 1_000_000_000 * time_base.numerator, time_base.denominator)
        up = 2 * rest > time_base.denominator or (2 * rest == time_base.denominator and whole % 2 == 1)
        return whole + up - self.origin_us * 1000

    def to_stamp(self, time_ns: int, time_base: Fraction) -> int:
        return int((time_ns + self.origin_us * 1000) / (1_000_000_000 * time_base))


def open_container(path: Path) -> InputContainer:
    """Raises SourceError with one line that says what is wrong with the file. Only the file itself is read: no network, no other file."""
    check_file(path)
    try:
        return av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DecodeError(str(path), f"not a media file that FFmpeg can read ({reason}): truncated, or something else") from error


def check_file(path: Path) -> None:
    """Raises SourceError unless `path` is a readable file with something in it."""
    try:
        if not path.exists():
            raise DeviceNotFound(str(path), "no such file")
        if path.is_dir():
            raise SourceError(str(path), "is a folder; play it with pipeline.sources.playlist:Playlist")
        if not path.is_file():
            raise SourceError(str(path), "is not a regular file")
        with path.open("rb") as file:
            if not file.read(1):
                raise DecodeError(str(path), "the file is empty (0 bytes)")
    except OSError as error:
        raise SourceError(str(path), f"cannot be read ({error.strerror})") from error


def tracks(container: InputContainer, kind: str) -> list[Stream]:
    """The container's tracks of a kind, in file order. Cover art is not video; what FFmpeg has no decoder for is left out."""
    found = [stream for stream in container.streams if stream.type == kind and getattr(stream, "codec_context", None) is not None]
    return [stream for stream in found if not stream.disposition & NOT_MOVING]


def track(container: InputContainer, kind: str, number: int, path: Path) -> Stream | None:
    """Track `number` of a kind; None where the file has none of that kind at all.

    Raises SourceError if other tracks of that kind are there: then the number is a mistake.
    """
    found = tracks(container, kind)
    if not found and number == 0:
        return None
    if number >= len(found):
        raise SourceError(str(path), f"has no {kind} track number {number}; it has {len(found)}, counted from 0")
    return found[number]


def track_end_ns(stream: Stream, timeline: Timeline) -> int | None:
    """Where the container says that a track ends; None if it does not say."""
    if stream.duration is None:
        return None
    return timeline.to_ns((stream.start_time or 0) + stream.duration, unit(stream))


def packets(container: InputContainer, stream: Stream, path: Path) -> Iterator[MediaPacket | None]:
    """The track's packets in file order, the last one empty (it flushes the decoder); None for one that could not be read.

    Raises DeviceLost when the file can no longer be read at all.
    """
    failures = 0
    demuxer = container.demux(stream)
    while failures <= MAX_READ_FAILURES:
        try:
            packet = next(demuxer)
        except StopIteration:
            return
        except av.error.FFmpegError as error:
            if isinstance(error, OSError) and not isinstance(error, ValueError):
                raise DeviceLost(str(path), f"reading failed ({error.strerror})") from error
            failures += 1
            demuxer = container.demux(stream)  # an exception ends the generator, not the file
            yield None
            continue
        failures = 0
        yield packet


def tapped(
    source: Iterator[MediaPacket | None], tap: MediaTap, name: str, stream: Stream, timeline: Timeline
) -> Iterator[MediaPacket | None]:
    """The same packets; those with content and a stamp are given to the tap first."""
    template = lasting(stream)
    last: int | None = None
    for packet in source:
        if packet is not None and packet.size and (times_ns := _times_ns(packet, timeline, unit(stream), last)) is not None:
            tap.packet(name, packet, template, times_ns)
            last = packet.dts if packet.dts is not None else packet.pts if last is None else last
        yield packet


def lasting(stream: Stream) -> Stream:
    """A stream with the same codec and parameters, for a `MediaTap`: one of an open container may not be looked at once that is closed."""
    return av.open("template", "w", format="null").add_stream_from_template(stream, opaque=True)


def _times_ns(packet: MediaPacket, timeline: Timeline, seconds: Fraction, last: int | None) -> tuple[int, int, int] | None:
    """last: when the packet before was decoded. Matroska does not say, and FFmpeg cannot tell of the first pictures: right after that."""
    pts, dts = packet.pts, packet.dts
    start = dts if pts is None else pts
    decode = dts if dts is not None else pts if last is None else last
    if start is None or decode is None:
        return None
    return timeline.to_ns(start, seconds), timeline.to_ns(decode, seconds), round((packet.duration or 0) * 1_000_000_000 * seconds)


def read_only(container: InputContainer, stream: Stream) -> None:
    """Lets the demuxer skip all other tracks' bytes, where the format can."""
    for other in container.streams:
        if other.index != stream.index and hasattr(other, "discard"):
            other.discard = av.stream.Discard.all


def decoded(source: Iterator[MediaPacket | None], stream: Stream, timeline: Timeline) -> Iterator[tuple[int | None, Any]]:
    """(start_ns, frame) in order of presentation; frame None for a packet that could not be read or decoded, start_ns None for no stamp."""
    stamps = Stamps()
    for packet in source:
        try:
            frames: list[Any] = [None] if packet is None else packet.decode()
        except av.error.FFmpegError:
            frames = [None]
        for frame in frames:
            stamp = None if frame is None else stamps.best(frame.pts, frame.dts)
            yield None if stamp is None else timeline.to_ns(stamp, frame.time_base or unit(stream)), frame


class Stamps:
    """Which of a frame's two stamps to believe: the one that has gone back less often.

    AVI keeps no presentation stamps, so frames that were stored out of order come with wrong ones (FFmpeg's best_effort_timestamp).
    """

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._wrong = {"pts": 0, "dts": 0}

    def best(self, pts: int | None, dts: int | None) -> int | None:
        known = {name: stamp for name, stamp in (("pts", pts), ("dts", dts)) if stamp is not None}
        for name, stamp in known.items():
            self._wrong[name] += stamp <= self._last.get(name, stamp - 1)
            self._last[name] = stamp
        if pts is None or (dts is not None and self._wrong["pts"] > self._wrong["dts"]):
            return dts if self._wrong["pts"] else None
        return pts


def unit(stream: Stream) -> Fraction:
    """Seconds per stamp."""
    return stream.time_base or Fraction(1, av.time_base)


def seek(container: InputContainer, stream: Stream, timeline: Timeline, time_ns: int) -> None:
    """To the key frame before time_ns; stays at the start where the format cannot seek (then more is decoded and left out)."""
    if time_ns <= 0:
        return
    try:
        container.seek(timeline.to_stamp(time_ns, unit(stream)), stream=stream, backward=True)
    except av.error.FFmpegError:
        container.seek(0)


def first_seq(from_ns: int) -> int:
    """Where a restarted track counts on: above any number that it can have given to packets that start before from_ns.

    One packet a microsecond is more than any track makes, so no two packets of a session ever share a number.
    """
    return from_ns // 1000
