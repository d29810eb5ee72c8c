"""A recorded session as a source: its media decoded again, with the stamps and the lateness that they had.

For whoever wants other preparation than was recorded: another model, training, a player. What the recorded model saw, to the bit, is
`sensorium replay`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterator, Mapping, Sequence
from heapq import merge
from pathlib import Path

from operators.errors import ContractError, SourceError
from operators.packet import Closed, Dropped, Packet, StreamEvent, Watermark
from pipeline.media.container import Timed
from pipeline.ports import Kind, StreamSpec, Wanted
from pipeline.session.frames import frames, sound
from pipeline.session.read import Session
from pipeline.session.rows import MEDIA, Row, event_of


class Recorded:
    """Streams named as the recorded model's inputs ("video", "audio", "text" ...), each with what fed that input.

    folder            of the session
    start_ns, end_ns  replay only [start_ns, end_ns) of session time, which stays what it was; end_ns null: to the end
    """

    live = False

    def __init__(self, *, folder: Path, start_ns: int = 0, end_ns: int | None = None) -> None:
        if start_ns < 0 or (end_ns is not None and end_ns <= start_ns):
            raise ContractError(f"0 <= start_ns < end_ns wanted, got {start_ns} and {end_ns}")
        self._folder, self._start_ns, self._until_ns = Path(folder), start_ns, end_ns
        self._session: Session | None = None
        self._streams: dict[str, tuple[str, Kind]] = {}
        self._wanted: dict[str, Wanted] = {}
        self._running: Generator[Timed, None, None] | None = None

    def open(self, wanted: Mapping[str, Wanted]) -> Sequence[StreamSpec]:
        self.close()
        session = self._session = Session.open(self._folder)
        there = set(session.streams())
        inputs = session.manifest.inputs
        self._streams = {
            name: (fed.stream, fed.kind) for name, fed in inputs.items() if fed.stream in there and (not wanted or name in wanted)
        }
        if not self._streams:
            raise SourceError(str(self._folder), "holds none of the streams that its manifest names: they were deleted")
        self._wanted = {name: wanted.get(name, Wanted()) for name in self._streams}
        return [StreamSpec(name=name, kind=kind, detail=f"recorded {stream}") for name, (stream, kind) in self._streams.items()]

    def events(self, from_ns: int = 0) -> Iterator[Timed]:
        self.close()
        self._running = self._events(max(from_ns, self._start_ns))
        return self._running

    def end_ns(self) -> int | None:
        if self._until_ns is not None or self._session is None:
            return self._until_ns
        return self._session.end_ns() or None

    def close(self) -> None:
        """Also ends the iterator that events() gave."""
        if self._running is not None:
            self._running.close()
            self._running = None

    def _events(self, from_ns: int) -> Generator[Timed, None, None]:
        if self._session is None:
            raise ContractError("events() before open()")
        running = [self._stream(self._session, name, from_ns) for name in self._streams]
        yield from merge(*running, key=lambda timed: timed[0])

    def _stream(self, session: Session, name: str, from_ns: int) -> Iterator[Timed]:
        stream, kind = self._streams[name]
        # A caption that began before start_ns still holds then; after a restart it was given before.
        key = "end_ns" if from_ns == self._start_ns else "start_ns"
        rows = [row for row in session.stream_rows(stream) if row[key] >= from_ns and not self._beyond(row["start_ns"])]
        if kind == "audio":
            made = self._sound(session, name, stream, rows, from_ns)
        elif kind == "video":
            made = self._pictures(session, name, stream, rows, from_ns)
        else:
            made = self._logged(name, rows)
        due_ns, end_ns, closed = from_ns, from_ns, False
        for at_ns, event in made:
            due_ns = max(due_ns, at_ns)
            if isinstance(event, Packet):
                end_ns = max(end_ns, event.end_ns)
            closed = closed or isinstance(event, Closed)
            yield due_ns, event
        if not closed:  # cut off by end_ns, or when its process was killed
            yield due_ns, Closed(stream=name, time_ns=end_ns if self._until_ns is None else max(end_ns, self._until_ns))

    def _beyond(self, time_ns: int) -> bool:
        return self._until_ns is not None and time_ns >= self._until_ns

    def _logged(self, name: str, rows: Sequence[Row]) -> Iterator[Timed]:
        """What is in the log as it is: text, numbers, promises."""
        for row in rows:
            event = event_of(row)
            if event is not None:
                yield row["at_ns"], _named(event, name)

    def _pictures(self, session: Session, name: str, stream: str, rows: Sequence[Row], from_ns: int) -> Iterator[Timed]:
        pictures = frames(session, stream, from_ns, self._until_ns, self._wanted[name])
        picture = next(pictures, None)
        for row in rows:
            if row["kind"] != "packet" or row["payload"] != MEDIA:
                yield from self._logged(name, [row])
                continue
            while picture is not None and picture.start_ns < row["start_ns"]:
                picture = next(pictures, None)
            if picture is not None and picture.start_ns == row["start_ns"]:
                yield row["at_ns"], _named(picture, name)
            elif row["start_ns"] >= from_ns:
                yield row["at_ns"], Dropped(stream=name, reason="not_recorded", start_ns=row["start_ns"])

    def _sound(self, session: Session, name: str, stream: str, rows: Sequence[Row], from_ns: int) -> Iterator[Timed]:
        """Blocks come when those that were recorded came; promises are made anew, because the blocks may lie elsewhere."""
        ends = [row["end_ns"] for row in rows if row["kind"] == "packet"]
        due = [row["at_ns"] for row in rows if row["kind"] == "packet"]
        for block in sound(session, stream, from_ns, self._until_ns, self._wanted[name]):
            index = bisect_left(ends, block.end_ns - 1_000_000)
            at_ns = due[index] if index < len(due) else max([block.end_ns, *due[-1:]])
            yield at_ns, _named(block, name)
            yield at_ns, Watermark(stream=name, time_ns=block.end_ns)
        closes = [row for row in rows if row["kind"] == "closed"]
        yield from self._logged(name, closes[-1:])


def _named(event: StreamEvent | object, name: str) -> StreamEvent:
    match event:
        case Packet(seq=seq, start_ns=start_ns, end_ns=end_ns, payload=payload):
            return Packet(stream=name, seq=seq, start_ns=start_ns, end_ns=end_ns, payload=payload)
        case Watermark(time_ns=time_ns):
            return Watermark(stream=name, time_ns=time_ns)
        case Closed(time_ns=time_ns):
            return Closed(stream=name, time_ns=time_ns)
        case Dropped(reason=reason, count=count, start_ns=start_ns):
            return Dropped(stream=name, reason=reason, count=count, start_ns=start_ns)
    raise ContractError(f"a source says packets, promises, closes and drops, got {type(event).__name__}")
