"""Several media files as one session: each starts where the one before ended."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from heapq import merge
from pathlib import Path
from typing import Any, Literal

from operators.errors import ContractError, DeviceNotFound, SourceError
from operators.packet import Closed, Dropped, Packet, Watermark
from pipeline.media.container import Timed, first_seq
from pipeline.media.text import TextTrack
from pipeline.ports import MediaTap, StreamSpec, Wanted
from pipeline.sources.faults import StreamFaults, check_streams, inject
from pipeline.sources.file import MediaFile

STREAMS = ("video", "audio", "text")
SUFFIXES = frozenset(
    {".3gp", ".aac", ".aiff", ".avi", ".flac", ".flv", ".m2ts", ".m4a", ".m4v", ".mka", ".mkv", ".mov", ".mp3", ".mp4", ".mpeg", ".mpg"}
    | {".mts", ".mxf", ".oga", ".ogg", ".ogv", ".opus", ".ts", ".wav", ".webm", ".wma", ".wmv"}
)
"""What is taken from a folder; a file that is named itself is taken whatever it is called."""
TAIL_NS = 2_000_000_000


class Playlist:
    """Streams "video", "audio", "text", as far as any of the files has them.

    paths    files and folders (their media files, by name), in this order
    gap_ms   of nothing between two files
    The rest as for `pipeline.sources.file.MediaFile`, for every file.

    A file lasts until the last of its streams ends. A stream that a file lacks promises silence for as long. A file that cannot be
    played is left out: Dropped("bad_file"), and a line in `bad_files`. Raises SourceError if none can be played.
    """

    live = False

    def __init__(
        self,
        *,
        paths: list[Path],
        gap_ms: int = 0,
        video_track: int = 0,
        audio_track: int = 0,
        text_track: int = 0,
        threads: Literal["auto", "none"] = "none",
        block_ms: int = 20,
        faults: dict[str, StreamFaults] | None = None,
        fault_seed: int = 0,
    ) -> None:
        if gap_ms < 0:
            raise ContractError(f"gap_ms >= 0 wanted, got {gap_ms}")
        self._paths = [Path(path) for path in paths]
        self._gap_ns = gap_ms * 1_000_000
        self._tracks = (video_track, audio_track, text_track)
        self._threads: Literal["auto", "none"] = threads
        self._block_ms = block_ms
        self._faults, self._fault_seed = check_streams(faults, STREAMS), fault_seed
        self._wanted: Mapping[str, Wanted] = {}
        self._streams: tuple[str, ...] = ()
        self._files: list[Path] = []
        self._lengths_ns: dict[Path, int] = {}
        self._end_ns: int | None = None
        self._running: Generator[Timed, None, None] | None = None
        self._tap: MediaTap | None = None
        self.bad_files: list[str] = []

    def open(self, wanted: Mapping[str, Wanted]) -> Sequence[StreamSpec]:
        self.close()
        self._wanted, self.bad_files = dict(wanted), []
        self._files = _found(self._paths)
        specs: dict[str, StreamSpec] = {}
        ends: list[int | None] = []
        for path in self._files:
            try:
                media = self._media(path)
                found = media.open(wanted)
            except SourceError as error:
                self.bad_files.append(str(error))
                continue
            ends.append(media.end_ns())
            specs |= {spec.name: spec for spec in found if spec.name not in specs}
        if not ends:
            raise SourceError(_name(self._paths), f"none of its {len(self._files)} files can be played; the first: {self.bad_files[0]}")
        known = [end_ns + self._gap_ns for end_ns in ends if end_ns is not None]
        self._end_ns = sum(known) - self._gap_ns if len(known) == len(ends) else None
        self._streams = tuple(name for name in STREAMS if name in specs)
        return [specs[name] for name in self._streams]

    def events(self, from_ns: int = 0) -> Iterator[Timed]:
        self.close()
        self._running = self._events(from_ns)
        if self._faults:
            self._running = inject(self._running, self._faults, seed=self._fault_seed)
        return self._running

    def tap(self, tap: MediaTap) -> Sequence[str]:
        self._tap = tap
        return [name for name in ("video", "audio") if name in self._streams]

    def end_ns(self) -> int | None:
        return self._end_ns

    def close(self) -> None:
        """Also ends the iterator that events() gave."""
        if self._running is not None:
            self._running.close()
            self._running = None

    def _media(self, path: Path) -> MediaFile:
        video, audio, text = self._tracks
        return MediaFile(path=path, video_track=video, audio_track=audio, text_track=text, threads=self._threads, block_ms=self._block_ms)

    def _events(self, from_ns: int) -> Generator[Timed, None, None]:
        seqs = dict.fromkeys(self._streams, first_seq(from_ns))
        end_ns = 0
        for path in self._files:
            begin_ns = end_ns + self._gap_ns if end_ns else 0
            if begin_ns < from_ns and begin_ns + self._length_ns(path) <= from_ns:
                end_ns = max(end_ns, begin_ns + self._length_ns(path))
                continue
            file = _File(self._media(path), begin_ns, self._streams, seqs, self._tap)
            yield from file.events(self._wanted, from_ns=from_ns, former_end_ns=end_ns)
            if file.problem:
                self._note(file.problem)
            self._lengths_ns[path] = file.end_ns - begin_ns
            if file.end_ns > begin_ns:
                end_ns = file.end_ns
        if not end_ns:
            raise SourceError(_name(self._paths), f"none of its {len(self._files)} files could be played; the first: {self.bad_files[0]}")
        for name in self._streams:
            yield max(end_ns, from_ns), Closed(stream=name, time_ns=end_ns)

    def _note(self, problem: str) -> None:
        if problem not in self.bad_files:
            self.bad_files.append(problem)

    def _length_ns(self, path: Path) -> int:
        """How long a file lasts, from its last seconds: for a restart in the middle of the list. 0: it cannot be played."""
        if path not in self._lengths_ns:
            media = self._media(path)
            try:
                media.open(self._wanted)
                tail_ns = max(0, (media.end_ns() or 0) - TAIL_NS)
                self._lengths_ns[path] = max((e.time_ns for _, e in media.events(tail_ns) if isinstance(e, Closed)), default=0)
            except SourceError:
                self._lengths_ns[path] = 0
        return self._lengths_ns[path]


class _File:
    """One file's turn. end_ns: of the session, where the file ended. problem: why it could not be played (to the end)."""

    def __init__(self, media: MediaFile, begin_ns: int, streams: Sequence[str], seqs: dict[str, int], tap: MediaTap | None) -> None:
        self._media, self._begin_ns, self._streams, self._seqs, self._tap = media, begin_ns, streams, seqs, tap
        self.end_ns = begin_ns
        self.problem: str | None = None

    def events(self, wanted: Mapping[str, Wanted], *, from_ns: int, former_end_ns: int) -> Iterator[Timed]:
        local_ns = max(0, from_ns - self._begin_ns)
        try:
            there = {spec.name for spec in self._media.open(wanted)}
            if self._tap is not None:
                self._media.tap(self)
            yield from self._silence(self._streams, max(former_end_ns, from_ns), self._begin_ns)
            quiet = {name: TextTrack(name, iter(()), seq=0, from_ns=local_ns) for name in self._streams if name not in there}
            for due_ns, event in self._media.events(local_ns):
                beats = merge(*(track.before(due_ns) for track in quiet.values()), key=lambda timed: timed[0])
                yield from map(self._moved, beats)
                if isinstance(event, Closed):
                    self.end_ns = max(self.end_ns, self._begin_ns + event.time_ns)
                    quiet[event.stream] = TextTrack(event.stream, iter(()), seq=0, from_ns=due_ns)
                else:
                    yield self._moved((due_ns, event))
        except SourceError as error:
            self.problem = str(error)
            heard_ns = self.end_ns if self.end_ns > self._begin_ns else former_end_ns
            yield max(heard_ns, from_ns), Dropped(stream=self._streams[0], reason="bad_file", start_ns=self._begin_ns)
        finally:
            self._media.close()

    def packet(self, stream: str, packet: Any, template: Any, times_ns: tuple[int, int, int]) -> None:  # noqa: ANN401 - a MediaTap
        """Passes the file's packets on, at their place in the session."""
        start_ns, decode_ns, duration_ns = times_ns
        if self._tap is not None:
            self._tap.packet(stream, packet, template, (start_ns + self._begin_ns, decode_ns + self._begin_ns, duration_ns))

    def _silence(self, names: Sequence[str], start_ns: int, end_ns: int) -> Iterator[Timed]:
        """Promises that nothing happens during [start_ns, end_ns) of the session, and where that ends."""
        tracks = [TextTrack(name, iter(()), seq=0, from_ns=start_ns) for name in names]
        yield from merge(*(track.before(end_ns) for track in tracks), key=lambda timed: timed[0])
        if end_ns >= start_ns:
            yield from ((end_ns, Watermark(stream=name, time_ns=end_ns)) for name in names)

    def _moved(self, timed: Timed) -> Timed:
        due_ns, event = timed
        by_ns = self._begin_ns
        if isinstance(event, Packet):
            seq = self._seqs[event.stream]
            self._seqs[event.stream] = seq + 1
            event = replace(event, seq=seq, start_ns=event.start_ns + by_ns, end_ns=event.end_ns + by_ns)
        elif isinstance(event, Watermark):
            event = replace(event, time_ns=event.time_ns + by_ns)
            self.end_ns = max(self.end_ns, event.time_ns)  # what was promised is kept, even if the file breaks off here
        elif isinstance(event, Dropped) and event.start_ns is not None:
            event = replace(event, start_ns=event.start_ns + by_ns)
        return due_ns + by_ns, event


def _found(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise DeviceNotFound(str(path), "no such file or folder")
        if not path.is_dir():
            files.append(path)
            continue
        try:
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
        except OSError as error:
            raise SourceError(str(path), f"cannot be read ({error.strerror})") from error
        if not inside:
            raise SourceError(str(path), "the folder holds no media file")
        files += inside
    if not files:
        raise SourceError("playlist", "names no file")
    return files


def _name(paths: Sequence[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
