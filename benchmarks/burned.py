"""What looks on while a session runs: transforms, sources and a sink that write down when each stamped packet came by.

Each process writes files of its own in the folder `notes`; times are of the monotonic clock, which all of this machine's processes share.

    captured-PID.txt   key arrival given        a payload in the source: its arrival in session time, and when it was handed on
    STREAM-in-PID.txt  key seq start end now burned samples rate        before the model's transforms; a picture's stamp, else -1
    STREAM-out-PID.txt start end now            after them
    audio-PID.pcm      the samples, int16, as they came
    decided.jsonl      decisions, and when they were written
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.stamps import burned_units
from operators.decision import Decision
from operators.packet import AudioBlock, Frame, Packet, StreamEvent
from pipeline.clock import SystemClock
from pipeline.live.captured import Captured, Connection, Given, Now
from pipeline.ports import Status, Wanted
from pipeline.sources.file import MediaFile
from pipeline.sources.stream import Stream
from pipeline.sources.webrtc import Browser

UNREAD = -1


class _Lines:
    """Opened when there is something to write."""

    def __init__(self, notes: Path, name: str) -> None:
        self._path = notes / f"{name}-{os.getpid()}.txt"
        self._file: Any = None

    def add(self, *values: int) -> None:
        if self._file is None:
            self._file = self._path.open("a", buffering=1)
        self._file.write(" ".join(map(str, values)) + "\n")


class _LookingOn:
    """A transform that changes nothing."""

    def process(self, event: StreamEvent) -> Iterator[StreamEvent]:
        if isinstance(event, Packet):
            self.note(event)
        yield event

    def note(self, packet: Packet) -> None:
        raise NotImplementedError

    def snapshot(self) -> Mapping[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        pass


class Before(_LookingOn):
    """In front of the model's transforms."""

    def __init__(self, *, notes: Path) -> None:
        self._notes, self._clock = notes, SystemClock()
        self._lines: dict[str, _Lines] = {}
        self._samples: Any = None

    def note(self, packet: Packet) -> None:
        now_ns, payload = self._clock.now_ns(), packet.payload
        burned, samples, rate_hz = UNREAD, 0, 0
        if isinstance(payload, Frame):
            units = burned_units(payload.data)
            burned = UNREAD if units is None else units
        elif isinstance(payload, AudioBlock):
            samples, rate_hz = payload.data.shape[1], payload.rate_hz
            self._keep(payload)
        lines = self._lines.setdefault(packet.stream, _Lines(self._notes, f"{packet.stream}-in"))
        lines.add(id(payload), packet.seq, packet.start_ns, packet.end_ns, now_ns, burned, samples, rate_hz)

    def _keep(self, block: AudioBlock) -> None:
        if self._samples is None:
            self._samples = (self._notes / f"audio-{os.getpid()}.pcm").open("ab", buffering=0)
        self._samples.write((block.data[0].clip(-1, 1) * 32767).astype("<i2").tobytes())


class After(_LookingOn):
    """Behind the model's transforms."""

    def __init__(self, *, notes: Path) -> None:
        self._notes, self._clock = notes, SystemClock()
        self._lines: dict[str, _Lines] = {}

    def note(self, packet: Packet) -> None:
        lines = self._lines.setdefault(packet.stream, _Lines(self._notes, f"{packet.stream}-out"))
        lines.add(packet.start_ns, packet.end_ns, self._clock.now_ns())


class NotedFile(MediaFile):
    """A file; its payloads arrive when they are due."""

    def __init__(self, *, notes: Path, path: Path) -> None:
        super().__init__(path=path)
        self._lines = _Lines(notes, "captured")

    def events(self, from_ns: int = 0) -> Iterator[tuple[int, StreamEvent]]:
        for due_ns, event in super().events(from_ns):
            if isinstance(event, Packet):
                self._lines.add(id(event.payload), due_ns, SystemClock().now_ns())
            yield due_ns, event


class NotedStream(Stream):
    def __init__(self, *, notes: Path, url: str) -> None:
        super().__init__(url=url)
        self._lines = _Lines(notes, "captured")

    def connect(self, wanted: Mapping[str, Wanted], now_ns: Now) -> Connection:
        return _Noted(super().connect(wanted, now_ns), self._lines)


class NotedBrowser(Browser):
    def __init__(self, *, notes: Path, port: int, token_file: Path) -> None:
        super().__init__(port=port, token_file=token_file)
        self._lines = _Lines(notes, "captured")

    def connect(self, wanted: Mapping[str, Wanted], now_ns: Now) -> Connection:
        return _Noted(super().connect(wanted, now_ns), self._lines)


class _Noted:
    """A connection that is looked at."""

    def __init__(self, inner: Connection, lines: _Lines) -> None:
        self._inner, self._lines, self._clock = inner, lines, SystemClock()

    @property
    def details(self) -> Mapping[str, str]:
        return self._inner.details

    def read(self, stop: threading.Event) -> Iterator[Given]:
        for item in self._inner.read(stop):
            if isinstance(item, Captured):
                self._lines.add(id(item.payload), item.arrival_ns, self._clock.now_ns())
            yield item

    def close(self) -> None:
        self._inner.close()


class Decided:
    """A sink: every decision, when it came here, and the time that was session time 0. It stands behind the sink that it speaks of."""

    def __init__(self, *, notes: Path) -> None:
        self._file = (notes / "decided.jsonl").open("a", buffering=1)
        self._clock = SystemClock()

    def decision(self, decision: Decision) -> None:
        self._write({"at_ns": self._clock.now_ns(), **decision.to_json()})

    def status(self, status: Status) -> None:
        qualities = {stream.name: stream.quality for stream in status.streams}
        drifts = {stream.name: stream.drift_ppm for stream in status.streams}
        faults = {stream.name: {**(stream.faults or {}), **(stream.dropped or {})} for stream in status.streams}
        told = {"now_ns": status.now_ns, "epoch_ns": status.epoch_ns, "quality": qualities, "drift_ppm": drifts, "faults": faults}
        self._write({**told, "missed": status.missed_deadlines, "skipped": status.skipped})

    def close(self) -> None:
        self._file.close()

    def _write(self, values: dict[str, Any]) -> None:
        self._file.write(json.dumps(values) + "\n")
