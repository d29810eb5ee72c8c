"""Recording at a source: what each of its streams said and when, and its media."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import av

from operators.packet import AudioBlock, Frame, Packet, StreamEvent
from pipeline.clock import Clock
from pipeline.ports import StreamSpec
from pipeline.session.arrowlog import ArrowLog
from pipeline.session.disk import Disk
from pipeline.session.layout import STREAMS, Recording, SegmentName
from pipeline.session.media import MediaSegment, copied
from pipeline.session.part import Part
from pipeline.session.reel import Reel
from pipeline.session.rows import row_of
from pipeline.session.scribe import Scribe


class StreamRecorder:
    """One stream of one source. tapped: its media come compressed, through `copy`; else raw media are encoded here.

    refused: why Matroska does not take its compressed packets; then what was decoded of them is encoded.
    """

    def __init__(
        self,
        recording: Recording,
        name: str,
        life: tuple[int, int],
        scribe: Scribe,
        clock: Clock,
        disk: Disk,
        tell: Callable[[str], None],
        *,
        tapped: bool,
    ) -> None:
        folder = f"{STREAMS}/{name}"
        engine, actor = life
        log_name = SegmentName(engine=engine, actor=actor, number=0)
        media_name = SegmentName(engine=engine, actor=actor, number=0, suffix=".mkv")
        self._log: Reel[ArrowLog] = Reel(recording, folder, log_name, disk, clock, tell, scribe.later)
        self._media: Reel[MediaSegment] = Reel(recording, folder, media_name, disk, clock, tell, scribe.later)
        self._scribe, self._tell, self._tapped = scribe, tell, tapped
        self._template: Any = None
        self._shape: tuple[int, ...] | None = None
        self._unfit = False
        self.refused: str | None = None
        scribe.each_pause(self._flush)

    @property
    def stopped(self) -> str | None:
        return self._log.stopped or self._media.stopped

    def event(self, event: StreamEvent, at_ns: int) -> None:
        size = event.nbytes if isinstance(event, Packet) and not self._tapped else 0
        if not self._scribe.put(partial(self._take, event, at_ns), size):
            self._scribe.put(partial(self._log.stop, "the disk is too slow"))

    def copy(self, packet: Any, template: Any, times_ns: tuple[int, int, int]) -> None:  # noqa: ANN401 - av.Packet, av.Stream
        """A compressed packet, before anything was decoded from it. times_ns: start, decode, duration."""
        if not self._tapped:
            return
        if not self._scribe.put(partial(self._keep, copied(packet), template, times_ns), packet.size):
            self._scribe.put(partial(self._media.stop, "the disk is too slow"))

    def close(self) -> None:
        self._scribe.put(self._log.finish)
        self._scribe.put(self._media.finish)

    # -- on the scribe's thread

    def _take(self, event: StreamEvent, at_ns: int) -> None:
        in_media = isinstance(event, Packet) and isinstance(event.payload, Frame | AudioBlock)
        if not self._log.running or self._log.due(at_ns):
            self._log.begin(at_ns, ArrowLog)
        self._log.write(at_ns, lambda log: log.append(row_of(event, at_ns, in_media=in_media)))
        if in_media and not self._tapped and isinstance(event, Packet):
            self._encode(event)

    def _keep(self, packet: Any, template: Any, times_ns: tuple[int, int, int]) -> None:  # noqa: ANN401
        if not self._tapped:
            return
        start_ns, decode_ns, duration_ns = times_ns
        new = template is not self._template
        if packet.is_keyframe and (new or not self._media.running or self._media.due(start_ns)):
            self._template = template
            first_ns = min(start_ns, decode_ns)
            self._begin_media(first_ns, lambda segment: segment.like(template))
        if self._template is template:
            self._work(start_ns, lambda segment: segment.add(packet, start_ns, decode_ns, duration_ns))

    def _encode(self, packet: Packet) -> None:
        payload = packet.payload
        shape = (
            payload.data.shape
            if isinstance(payload, Frame)
            else (payload.rate_hz, len(payload.data))
            if isinstance(payload, AudioBlock)
            else ()
        )
        if shape != self._shape or not self._media.running or self._media.due(packet.start_ns):
            self._shape = shape
            self._begin_media(packet.start_ns, lambda segment: segment.encoded(packet))
        self._work(packet.start_ns, lambda segment: segment.encode(packet))

    def _begin_media(self, start_ns: int, prepare: Callable[[MediaSegment], None]) -> None:
        def make(part: Part) -> MediaSegment:
            segment = MediaSegment(part, start_ns)
            prepare(segment)
            return segment

        self._fitting(lambda: self._media.begin(start_ns, make))

    def _work(self, at_ns: int, work: Callable[[MediaSegment], None]) -> None:
        self._fitting(lambda: self._media.write(at_ns, work))

    def _fitting(self, work: Callable[[], None]) -> None:
        """What Matroska does not take is said once: packets are decoded and encoded anew from there on; the log and the run go on."""
        if self._unfit:
            return
        try:
            work()
        except (av.error.FFmpegError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())
            if self._tapped:
                self._tapped, self.refused = False, reason
                self._media.stop(f"Matroska does not take its packets ({reason}), so its media are encoded anew", pause_ns=0)
            else:
                self._unfit = True
                self._media.stop(f"its media cannot be kept as Matroska ({reason})")

    def _flush(self) -> None:
        self._log.flush()
        self._media.flush()


class SourceRecorder:
    """All streams of one source; also the tap that the source gives its compressed packets to."""

    def __init__(
        self,
        recording: Recording,
        source: str,
        life: tuple[int, int],
        scribe: Scribe,
        clock: Clock,
        disk: Disk,
        tell: Callable[[str], None],
    ) -> None:
        self._parts = (life, scribe, clock, disk, tell)
        self._recording, self._source = recording, source
        self._streams: dict[str, StreamRecorder] = {}

    def open(self, specs: Iterable[StreamSpec], tapped: Sequence[str]) -> None:
        """tapped: streams of which the source gives its compressed packets."""
        for spec in specs:
            name = f"{self._source}.{spec.name}"
            self._streams[spec.name] = StreamRecorder(self._recording, name, *self._parts, tapped=spec.name in tapped)

    def event(self, event: StreamEvent, at_ns: int) -> None:
        if event.stream in self._streams:
            self._streams[event.stream].event(event, at_ns)

    def packet(self, stream: str, packet: Any, template: Any, times_ns: tuple[int, int, int]) -> None:  # noqa: ANN401
        if stream in self._streams:
            self._streams[stream].copy(packet, template, times_ns)

    @property
    def stopped(self) -> str | None:
        return next((stream.stopped for stream in self._streams.values() if stream.stopped), None)

    @property
    def refused(self) -> str | None:
        """Why the packets of one of its streams are not kept as they came."""
        return next((f"{name}: {stream.refused}" for name, stream in self._streams.items() if stream.refused), None)

    def close(self) -> None:
        for stream in self._streams.values():
            stream.close()
