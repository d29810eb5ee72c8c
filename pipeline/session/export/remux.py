"""Recorded media in ordinary media files, copied packet by packet: nothing is decoded, nothing encoded again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av

from pipeline.session.export.streams import Coded

MP4_CODECS = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4", "aac", "mp3", "opus", "flac", "ac3", "eac3", "alac"})
"""What players expect in an MP4 file; with anything else it becomes Matroska."""
TICK = Fraction(1, 90_000)
TICKS_PER_S = 90_000
JUMP_NS = 2_000_000
SUFFIX = {"mp4": ".mp4", "matroska": ".mkv"}


def container_for(templates: Mapping[str, Any]) -> str:
    """mp4 or matroska."""
    return "mp4" if all(template.codec_context.name in MP4_CODECS for template in templates.values()) else "matroska"


class Remuxed:
    """One file with a track of every template. zero_ns: the session time that is 0 in it."""

    def __init__(self, target: Path | IO[bytes], templates: Mapping[str, Any], *, format: str, zero_ns: int = 0) -> None:
        self._container: Any = av.open(target if not isinstance(target, Path) else str(target), "w", format=format)
        self._tracks = {name: _Track(self._container.add_stream_from_template(template), zero_ns) for name, template in templates.items()}

    def add(self, name: str, item: Coded) -> bool:
        """False: the format does not take it; it is damaged."""
        try:
            self._container.mux_one(self._tracks[name].stamped(item))
        except (av.error.FFmpegError, ValueError):
            return False
        return True

    def close(self) -> None:
        self._container.close()


class _Track:
    """Stamps as the muxer wants them: decode times that grow, none after its picture is shown, sound counted in samples."""

    def __init__(self, stream: Any, zero_ns: int) -> None:  # noqa: ANN401 - av.Stream
        self._stream, self._zero_ns = stream, zero_ns
        if stream.type == "video":
            stream.time_base = TICK
        self._last: int | None = None
        self._anchor_ns: int | None = None
        self._blocks = 0

    def stamped(self, item: Coded) -> Any:  # noqa: ANN401 - av.Packet
        packet = item.packet
        start_ns = self._counted(item) if self._stream.type == "audio" else item.start_ns
        shown = _ticks(start_ns - self._zero_ns)
        decoded = _ticks((item.base_ns if item.decode_ns is None else item.decode_ns) - self._zero_ns)
        if self._stream.type == "audio" or decoded > shown:
            decoded = shown
        if self._last is not None and decoded <= self._last:
            decoded = self._last + 1
        self._last = decoded
        duration = packet.duration * packet.time_base if packet.duration and packet.time_base else 0
        packet.time_base, packet.stream = TICK, self._stream
        packet.pts, packet.dts, packet.duration = max(shown, decoded), decoded, round(duration / TICK)
        return packet

    def _counted(self, item: Coded) -> int:
        """The file's milliseconds would make every block of sound a little longer or shorter than it is."""
        context = item.template.codec_context
        samples = context.frame_size
        if not samples or not context.rate:
            return item.start_ns
        counted_ns = None if self._anchor_ns is None else self._anchor_ns + round(self._blocks * samples * 1e9 / context.rate)
        if counted_ns is None or abs(counted_ns - item.start_ns) > JUMP_NS:
            self._anchor_ns, self._blocks, counted_ns = item.start_ns, 0, item.start_ns
        self._blocks += 1
        return counted_ns


def _ticks(time_ns: int) -> int:
    return round(time_ns * TICKS_PER_S / 1_000_000_000)


class Rotating:
    """A source's streams in as few files as its media allow: a new one begins where a decoder would have to.

    base: the path without its suffix; the second file is BASE-2. files: packets that were written. refused: those that were not, by stream.
    """

    def __init__(self, base: Path, streams: Mapping[str, Iterator[Coded]]) -> None:
        self._base, self._streams = base, streams
        self.files: dict[Path, int] = {}
        self.refused: Counter[str] = Counter()

    def write(self) -> Iterator[int]:
        """Yields how far it is, in session time."""
        waiting = {name: item for name, items in self._streams.items() if (item := next(items, None)) is not None}
        out: Remuxed | None = None
        shapes: dict[str, tuple[object, ...]] = {}
        try:
            while waiting:
                name = min(waiting, key=lambda name: _order(waiting[name]))
                item = waiting[name]
                if out is None or shapes.get(name) != item.shape:
                    if out is not None:
                        out.close()
                    shapes = {other: next_item.shape for other, next_item in waiting.items()}
                    out, path = self._begin({other: next_item.template for other, next_item in waiting.items()})
                taken = out.add(name, item)
                self.files[path] += taken
                self.refused[name] += not taken
                yield item.start_ns
                following = next(self._streams[name], None)
                if following is None:
                    del waiting[name]
                else:
                    waiting[name] = following
        finally:
            if out is not None:
                out.close()

    def _begin(self, templates: Mapping[str, Any]) -> tuple[Remuxed, Path]:
        format = container_for(templates)
        number = len(self.files) + 1
        path = self._base.with_name(f"{self._base.name}{'' if number == 1 else f'-{number}'}{SUFFIX[format]}")
        self.files[path] = 0
        return Remuxed(path, templates, format=format), path


def _order(item: Coded) -> int:
    return item.base_ns if item.decode_ns is None else item.decode_ns
