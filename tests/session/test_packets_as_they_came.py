"""Packets that Matroska wants in another shape, or not at all."""

from __future__ import annotations

import gc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from recordings import WANTED, record_source, write_plain_manifest

from operators.errors import SessionError
from operators.packet import Packet
from pipeline.clock import FakeClock
from pipeline.media.container import lasting
from pipeline.session.disk import Disk
from pipeline.session.frames import frames, sound
from pipeline.session.importing.media import import_media
from pipeline.session.layout import Recording
from pipeline.session.read import Session
from pipeline.session.scribe import DirectScribe
from pipeline.session.streamlog import SourceRecorder
from pipeline.sources.file import MediaFile

S = 1_000_000_000
RATE = 48_000


def write_video(path: Path, codec: str, count: int = 12) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p" if codec == "libx264" else "rgb8"
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path) -> Path:
    """A second of 500 Hz as AAC."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        tone = (0.3 * np.sin(2 * np.pi * 500 * np.arange(RATE) / RATE)).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def samples(blocks) -> np.ndarray:
    return np.concatenate([block.payload.data[0] for block in blocks])


def test_aac_of_mpeg_ts_is_kept_without_its_framing(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "sound.ts")
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context.extradata is None
        sent = [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size]
    said = [event for event in record_source(MediaFile(path=path), tmp_path / "s", segment_s=0.3) if isinstance(event, Packet)]
    session = Session.open(tmp_path / "s")
    kept = []
    assert len(session.media_segments("media.audio")) > 2
    for segment in session.media_segments("media.audio"):
        with av.open(str(segment.path)) as container:
            assert container.streams[0].codec_context.extradata[:2] == b"\x11\x88"  # AAC-LC, 48 kHz, 1 channel
            kept += [bytes(packet) for packet in container.demux(container.streams[0]) if packet.size]
    assert kept == [data[7:] for data in sent]
    original = samples(said)
    again = samples(sound(session, "media.audio", wanted=WANTED["audio"]))
    assert np.corrcoef(again[: len(original)], original[: len(again)])[0, 1] > 0.999


def recorded(path: Path, folder: Path) -> tuple[Session, list[Packet], list[str]]:
    folder.mkdir()
    write_plain_manifest(folder)
    told: list[str] = []
    recorder = SourceRecorder(
        Recording(folder=str(folder), free_bytes=0), "media", (0, 0), DirectScribe(), FakeClock(), Disk(), told.append
    )
    source = MediaFile(path=path)
    recorder.open(source.open(WANTED), source.tap(recorder))
    said = []
    for due_ns, event in source.events():
        recorder.event(event, due_ns)
        said += [event] if isinstance(event, Packet) else []
    source.close()
    recorder.close()
    return Session.open(folder), said, told


def test_what_matroska_does_not_take_is_said_once_and_encoded_anew(tmp_path: Path) -> None:
    session, said, told = recorded(write_video(tmp_path / "moving.gif", "gif"), tmp_path / "s")
    assert told[0].startswith("recording of streams/media.video (media) stopped: Matroska does not take its packets")
    assert told[1:] == ["recording of streams/media.video (media) goes on"]
    again = list(frames(session, "media.video", wanted=WANTED["video"]))
    assert [(p.seq, p.start_ns) for p in again] == [(p.seq, p.start_ns) for p in said]
    assert np.abs(again[5].payload.data.astype(int) - said[5].payload.data).max() < 6


def test_a_file_is_not_imported_as_anything_but_itself(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with pytest.raises(SessionError, match="Matroska does not take its video"):
        import_media(write_video(tmp_path / "moving.gif", "gif"), tmp_path / "store")
    assert list((tmp_path / "store").iterdir()) == []


def test_a_template_outlives_its_container(tmp_path: Path) -> None:
    with av.open(str(write_video(tmp_path / "film.mp4", "libx264"))) as container:
        template = lasting(container.streams.video[0])
        extradata = container.streams.video[0].codec_context.extradata
    del container
    gc.collect()
    with av.open(str(tmp_path / "again.mkv"), "w") as again:
        made = again.add_stream_from_template(template, opaque=True)
        assert (made.codec_context.name, made.codec_context.width, made.codec_context.extradata) == ("h264", 64, extradata)
