"""A small session with everything in it that a session can have, for tests of what goes in and comes out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tinymedia import clicks, write_media

from operators.decision import Decision
from operators.packet import Frame, Packet, Series
from pipeline.clock import FakeClock
from pipeline.ports import StreamSpec
from pipeline.session.disk import Disk
from pipeline.session.importing.media import import_media
from pipeline.session.labels import Label, write_labels
from pipeline.session.layout import NOTES, Recording
from pipeline.session.read import Session
from pipeline.session.runlog import RunRecorder
from pipeline.session.scribe import DirectScribe
from pipeline.session.streamlog import SourceRecorder

MS = 1_000_000
CUES = ((0, 400, "good morning"), (500, 900, "and goodbye"))
LABELS = (Label(start_ns=0, end_ns=400 * MS, label="speaking"), Label(start_ns=400 * MS, end_ns=800 * MS, label="silent"))


def small_media(folder: Path, name: str = "talk.mkv", **options) -> Path:
    """One second: 25 pictures, clicks, two captions."""
    folder.mkdir(exist_ok=True, parents=True)
    values = {"sound": clicks(1.0, 16000, [0.2, 0.7]), "cues": CUES, "codec": "mpeg4", **options}
    return write_media(folder / name, **values)


def small_session(folder: Path, **options) -> Session:
    """An imported file, and beside it a raw camera of 10 pictures, numbers, decisions, labels and an event."""
    path = import_media(small_media(folder / "from", **options), folder / "store")
    record_raw(path, "cam", [picture(index) for index in range(10)])
    record_raw(path, "imu", [numbers(index) for index in range(20)])
    decide(path, [decision(index) for index in range(8)])
    write_labels(path, "people", LABELS)
    Disk().append_line(path / NOTES, {"event": "the microphone fell", "session_ns": 300 * MS, "utc": "2026-11-25T00:00:00.300+00:00"})
    return Session.open(path)


def picture(index: int, size: tuple[int, int] = (64, 96)) -> Packet:
    data = np.full((*size, 3), 40 + 12 * index, np.uint8)
    return Packet(stream="eye", seq=index, start_ns=index * 40 * MS + 7, end_ns=(index + 1) * 40 * MS + 7, payload=Frame(data=data))


def numbers(index: int) -> Packet:
    payload = Series(values=np.array([index, -index, 0.5]))
    return Packet(stream="motion", seq=index, start_ns=index * 20 * MS, end_ns=(index + 1) * 20 * MS, payload=payload)


def decision(index: int) -> Decision:
    return Decision(
        id=f"{index:016x}",
        session="s",
        window=index,
        start_ns=index * 80 * MS,
        end_ns=(index + 1) * 80 * MS,
        label="speaking" if index % 2 else "voice-off",
        scores={"speaking": index / 10, "voice-off": 1 - index / 10},
        presence={"video": "present", "text": "timeout"},
        age_ns={"video": 0, "text": None},
        revision=0,
        model="m@0",
        latency_ns={"total": 5 * MS},
    )


def record_raw(session: Path, source: str, packets: Sequence[Packet], *, number: int = 0) -> None:
    """Packets of one stream, each 3 ms late, encoded as a camera's are. number: of the life, where a source has several."""
    scribe = DirectScribe()
    recording = Recording(folder=str(session), free_bytes=0)
    recorder = SourceRecorder(recording, source, (0, number), scribe, FakeClock(), Disk(), lambda line: None)
    kind = "video" if isinstance(packets[0].payload, Frame) else "series"
    recorder.open([StreamSpec(name=packets[0].stream, kind=kind)], [])
    for packet in packets:
        recorder.event(packet, packet.end_ns + 3 * MS)
    recorder.close()
    scribe.close()


def decide(session: Path, decisions: Sequence[Decision]) -> None:
    keeper = RunRecorder(Recording(folder=str(session), free_bytes=0), [], FakeClock(), scribe=DirectScribe())
    for one in decisions:
        keeper.decision(one)
    keeper.close()
