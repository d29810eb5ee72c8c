"""A media file as a source: its video, audio and subtitle tracks on the file's own timeline."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from heapq import merge
from pathlib import Path
from typing import Any, Literal

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from operators.errors import ContractError, DecodeError, DeviceLost, SourceError
from operators.packet import Closed
from pipeline.media.audio import AudioTrack
from pipeline.media.captions import SUFFIXES, Cue, beside, read_captions
from pipeline.media.container import (
    MAX_PIXELS,
    Timed,
    Timeline,
    check_file,
    decoded,
    first_seq,
    open_container,
    packets,
    read_only,
    seek,
    tapped,
    track,
    track_end_ns,
)
from pipeline.media.text import TextTrack, file_cues, subtitle_cues
from pipeline.media.video import Pictures, VideoTrack, usual_frame_ns
from pipeline.ports import MediaTap, StreamSpec, Wanted
from pipeline.sources.faults import StreamFaults, check_streams, inject

TRACK = {"video": "video", "audio": "audio", "text": "subtitle"}
AUDIO_PREROLL_NS = 200_000_000
"""Lossy codecs need some packets before they sound right."""


class MediaFile:
    """Any file that FFmpeg reads, or a caption file alone. Streams "video", "audio", "text", as far as the file has them.

    path                            the file
    video_track, audio_track, text_track  which of several tracks, counted from 0 by kind
    captions                        a WebVTT, SRT or JSON lines file as the text stream, instead of the file's own subtitle track;
                                    without one and without a subtitle track, a caption file of the same stem beside the file
    threads                         none: the video decoder uses one core, for the least CPU; auto: all of them, for the most speed
    block_ms                        length of an audio block
    faults, fault_seed              by stream, see `pipeline.sources.faults`

    The timeline starts at the container's start time, for all tracks. A frame lasts until the next one. Sound that stops or jumps by more
    than 20 ms gets a new anchor, so that picture and sound never drift apart. A text stream ends with the last of video and audio.
    A nonempty `wanted` names the streams to read; the others are not decoded.
    What is damaged is counted (Dropped) and left out. Raises DecodeError at the end if nothing at all could be decoded.
    """

    live = False

    def __init__(
        self,
        *,
        path: Path,
        video_track: int = 0,
        audio_track: int = 0,
        text_track: int = 0,
        captions: Path | None = None,
        threads: Literal["auto", "none"] = "none",
        block_ms: int = 20,
        faults: dict[str, StreamFaults] | None = None,
        fault_seed: int = 0,
    ) -> None:
        if min(video_track, audio_track, text_track) < 0 or not 1 <= block_ms <= 1000:
            raise ContractError("tracks are counted from 0, and 1 <= block_ms <= 1000 is wanted")
        self._path = Path(path)
        self._numbers = {"video": video_track, "audio": audio_track, "text": text_track}
        self._captions = None if captions is None else Path(captions)
        self._threads = threads
        self._block_ns = block_ms * 1_000_000
        self._faults, self._fault_seed = check_streams(faults, tuple(TRACK)), fault_seed
        self._wanted: dict[str, Wanted] = {}
        self._timeline = Timeline(origin_us=0)
        self._cues: tuple[list[Cue], int] | None = None
        self._end_ns: int | None = None
        self._running: Generator[Timed, None, None] | None = None
        self._tap: MediaTap | None = None

    def open(self, wanted: Mapping[str, Wanted]) -> Sequence[StreamSpec]:
        self.close()
        check_file(self._path)
        found = self._captions_alone() if self._path.suffix.lower() in SUFFIXES else self._tracks()
        self._wanted = {spec.name: wanted.get(spec.name, Wanted()) for spec in found if not wanted or spec.name in wanted}
        return [spec for spec in found if spec.name in self._wanted]

    def events(self, from_ns: int = 0) -> Iterator[Timed]:
        self.close()
        self._running = self._events(from_ns)
        if self._faults:
            self._running = inject(self._running, self._faults, seed=self._fault_seed)
        return self._running

    def tap(self, tap: MediaTap) -> Sequence[str]:
        self._tap = tap
        return [name for name in ("video", "audio") if name in self._wanted]

    def end_ns(self) -> int | None:
        return self._end_ns

    def close(self) -> None:
        """Also ends the iterator that events() gave."""
        if self._running is not None:
            self._running.close()
            self._running = None

    def _captions_alone(self) -> list[StreamSpec]:
        self._cues = read_captions(self._path)
        self._end_ns = max((cue.end_ns for cue in self._cues[0]), default=0)
        return [StreamSpec(name="text", kind="text", detail=self._path.suffix[1:])]

    def _tracks(self) -> list[StreamSpec]:
        with open_container(self._path) as container:
            self._timeline = Timeline(origin_us=container.start_time or 0)
            streams = {name: track(container, TRACK[name], number, self._path) for name, number in self._numbers.items()}
            specs = [_spec(name, stream, self._path) for name, stream in streams.items() if stream is not None]
            self._end_ns = _end_ns(container, [streams["video"], streams["audio"]], self._timeline)
        captions = self._captions or (None if streams["text"] is not None else beside(self._path))
        self._cues = None if captions is None else read_captions(captions)
        if captions is not None:
            specs = [spec for spec in specs if spec.name != "text"] + [StreamSpec(name="text", kind="text", detail=captions.name)]
        if not specs:
            raise DecodeError(str(self._path), "holds no video, audio or text track: truncated, or something else")
        return specs

    def _events(self, from_ns: int) -> Generator[Timed, None, None]:
        with ExitStack() as readers:
            media = [make(readers, from_ns) for name, make in (("video", self._video), ("audio", self._audio)) if name in self._wanted]
            text = self._text(readers, from_ns) if "text" in self._wanted else None
            running = [readers.enter_context(closing(events)) for _, events in media]
            end_ns: int | None = None
            for due_ns, event in merge(*running, key=_due):
                if text is not None:
                    yield from text.before(due_ns)
                if isinstance(event, Closed):
                    end_ns = max(end_ns or 0, event.time_ns)
                yield due_ns, event
            self._check_decoded([track for track, _ in media], from_ns)
            if text is not None:
                yield from text.close(end_ns)

    def _check_decoded(self, media: Sequence[VideoTrack | AudioTrack], from_ns: int) -> None:
        if media and from_ns == 0 and not any(track.good for track in media):
            damaged = sum(track.bad for track in media)
            raise DecodeError(str(self._path), f"nothing in it could be decoded ({damaged} damaged or unstamped packets)")

    def _video(self, readers: ExitStack, from_ns: int) -> tuple[VideoTrack, Generator[Timed, None, None]]:
        container, stream = self._reader(readers, "video", from_ns)
        stream.codec_context.thread_type = "AUTO" if self._threads == "auto" else "NONE"
        stream.codec_context.thread_count = 0 if self._threads == "auto" else 1
        pictures = Pictures(self._wanted["video"])
        video = VideoTrack("video", pictures, usual_frame_ns(stream), first_seq(from_ns), from_ns)
        return video, video.events(self._decoded("video", container, stream))

    def _audio(self, readers: ExitStack, from_ns: int) -> tuple[AudioTrack, Generator[Timed, None, None]]:
        container, stream = self._reader(readers, "audio", max(0, from_ns - AUDIO_PREROLL_NS))
        audio = AudioTrack("audio", self._wanted["audio"], self._block_ns, first_seq(from_ns), from_ns)
        return audio, audio.events(self._decoded("audio", container, stream))

    def _text(self, readers: ExitStack, from_ns: int) -> TextTrack:
        if self._cues is not None:
            cues = file_cues(*self._cues)
        else:
            container, stream = self._reader(readers, "text", from_ns)
            cues = subtitle_cues(packets(container, stream, self._path), stream, self._timeline)
        return TextTrack("text", cues, seq=first_seq(from_ns), from_ns=from_ns)

    def _decoded(self, name: str, container: InputContainer, stream: Stream) -> Iterator[tuple[int | None, Any]]:
        read = packets(container, stream, self._path)
        if self._tap is not None:
            read = tapped(read, self._tap, name, stream, self._timeline)
        return decoded(read, stream, self._timeline)

    def _reader(self, readers: ExitStack, name: str, from_ns: int) -> tuple[InputContainer, Any]:
        """A container of its own for one track, see `pipeline.media.container`."""
        container = readers.enter_context(open_container(self._path))
        stream = track(container, TRACK[name], self._numbers[name], self._path)
        if stream is None:
            raise DeviceLost(str(self._path), f"its {name} track is gone: the file changed after it was opened")
        read_only(container, stream)
        seek(container, stream, self._timeline, from_ns)
        return container, stream


def _due(timed: Timed) -> int:
    return timed[0]


def _end_ns(container: InputContainer, streams: Sequence[Stream | None], timeline: Timeline) -> int | None:
    """Where video and audio end by the container's word, else the container itself."""
    ends = [track_end_ns(stream, timeline) for stream in streams if stream is not None]
    known = [end_ns for end_ns in ends if end_ns is not None]
    if known and len(known) == len(ends):
        return max(known)
    return None if container.duration is None else container.duration * 1000


def _spec(name: str, stream: Stream, path: Path) -> StreamSpec:
    if isinstance(stream, VideoStream):
        width, height, rate = stream.width, stream.height, stream.average_rate
        if width * height > MAX_PIXELS:
            raise SourceError(str(path), f"pictures of {width}x{height} are not decoded; the limit is {MAX_PIXELS >> 20} megapixels")
        return StreamSpec(
            name=name, kind="video", rate_hz=float(rate) if rate else None, detail=f"{width}x{height} {stream.codec_context.name}"
        )
    if isinstance(stream, AudioStream):
        return StreamSpec(name=name, kind="audio", rate_hz=float(stream.rate), detail=f"{stream.layout.name} {stream.codec_context.name}")
    return StreamSpec(name=name, kind="text", detail=stream.codec_context.name)
