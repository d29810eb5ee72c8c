"""What is recorded of a network stream is what was sent: the same packets, and of them the same pictures and samples at the same times."""

from itertools import pairwise

import av
import numpy as np
import pytest
from recordings import write_plain_manifest

from operators.packet import Packet
from pipeline.clock import SystemClock
from pipeline.ports import Wanted
from pipeline.runtime.pace import Pace
from pipeline.session.frames import frames, sound
from pipeline.session.layout import Recording
from pipeline.session.read import Session
from pipeline.session.recorder import Recorder
from pipeline.sources.stream import Stream

pytestmark = pytest.mark.real
S = 1_000_000_000
PICTURES = 75


class Given:
    """A tap between source and recording that keeps the bytes of what passes."""

    def __init__(self, log):
        self.log, self.packets = log, {"video": [], "audio": []}

    def packet(self, stream, packet, template, times_ns):
        self.packets[stream].append((packet.is_keyframe, bytes(packet)))
        self.log.packet(stream, packet, template, times_ns)


def record(url, folder):
    """Some seconds of it: the session, what the source said, what it gave to the tap."""
    folder.mkdir()
    write_plain_manifest(folder)
    clock = SystemClock()
    recorder = Recorder(Recording(folder=str(folder), segment_ns=60 * S, free_bytes=0), 0, clock, paced=True)
    source, log = Stream(url=url), recorder.source("media")
    given = Given(log)
    log.open(source.open({"video": Wanted(), "audio": Wanted()}), source.tap(given))
    source.begin(Pace(clock=clock, epoch_ns=clock.now_ns()).now_ns)
    said = {"video": [], "audio": []}
    for due_ns, event in source.events():
        log.event(event, due_ns)
        if isinstance(event, Packet):
            said[event.stream].append(event)
        if len(said["video"]) >= PICTURES or due_ns > 20 * S:
            break
    source.close()
    recorder.close()
    return Session.open(folder), said, given.packets


def kept(session, stream):
    """(codec, packets) of all media segments."""
    found = []
    for segment in session.media_segments(stream):
        with av.open(str(segment.path)) as container:
            [track] = container.streams
            found += [bytes(packet) for packet in container.demux(track) if packet.size]
            codec = track.codec_context.name
    return codec, found


def nals(data):
    """The units of an H.264 picture, from start codes (as sent) or from lengths (as Matroska has them)."""
    if data[:3] == b"\0\0\1" or data[:4] == b"\0\0\0\1":
        return [unit.rstrip(b"\0") for unit in data.split(b"\0\0\1") if unit.strip(b"\0")]
    units = []
    while data:
        size = int.from_bytes(data[:4], "big")
        units.append(data[4 : 4 + size].rstrip(b"\0"))
        data = data[4 + size :]
    return units


def check_pictures(session, said):
    again = list(frames(session, "media.video"))
    assert len(again) == PICTURES
    assert [(p.seq, p.start_ns, p.end_ns) for p in again] == [(p.seq, p.start_ns, p.end_ns) for p in said["video"]]
    assert all(np.array_equal(a.payload.data, b.payload.data) for a, b in zip(again, said["video"], strict=True))


def check_sound(session, said):
    """The loudest of its end: while the clock is still being learnt, sound has gaps, in the log as in the media."""
    spans = [said["audio"][first : first + 12] for first in range(len(said["audio"]) - 60, len(said["audio"]) - 15)]
    spans = [span for span in spans if all(after.start_ns - before.end_ns < 1_000_000 for before, after in pairwise(span))]
    heard = max(spans, key=lambda span: np.abs(np.concatenate([block.payload.data[0] for block in span])).mean())
    original = np.concatenate([block.payload.data[0] for block in heard])
    blocks = list(sound(session, "media.audio", heard[0].start_ns - S // 20, heard[-1].end_ns + S // 10))
    again = np.concatenate([block.payload.data[0] for block in blocks])
    at = round((heard[0].start_ns - blocks[0].start_ns) * 48_000 / S)
    likeness = {by: float(np.corrcoef(again[at + by : at + by + len(original)], original)[0, 1]) for by in range(-240, 241)}
    best = max(likeness, key=lambda by: likeness[by])
    print(f"samples between the sound and its stamp: {best}; likeness {likeness[best]:.5f}")
    assert np.abs(original).max() > 0.2
    assert likeness[best] > 0.99  # not 1: AAC fills quiet bands with noise that no two decoders make alike


def test_an_rtsp_stream_is_recorded_as_it_was_sent(rtsp, port, tmp_path):
    session, said, given = record(f"rtsp://127.0.0.1:{port}/live", tmp_path / "s")
    codec, packets = kept(session, "media.video")
    assert codec == "h264"
    sent = [data for _, data in given["video"]]
    assert [nals(data) for data in packets] == [nals(data) for data in sent]
    codec, packets = kept(session, "media.audio")
    assert (codec, packets) == ("aac", [data for _, data in given["audio"]])
    assert len(packets) == len(said["audio"])
    check_pictures(session, said)
    check_sound(session, said)


def test_streams_of_other_senders_are_recorded_as_they_were_sent(sender, port, tmp_path):
    url = f"udp://127.0.0.1:{port}" if sender.kind == "udp" else f"http://127.0.0.1:{port}/cam"
    session, said, given = record(url, tmp_path / "s")
    codec, packets = kept(session, "media.video")
    first = next(index for index, (key, _) in enumerate(given["video"]) if key)
    sent = [data for _, data in given["video"][first:]]
    if sender.kind == "http":
        assert (codec, packets) == ("mjpeg", sent)
    else:
        assert codec == "h264"
        assert [nals(data) for data in packets] == [nals(data) for data in sent]
        codec, packets = kept(session, "media.audio")
        assert (codec, packets) == ("aac", [data[7:] for _, data in given["audio"]])  # without the header of each (ADTS)
        check_sound(session, said)
    check_pictures(session, said)
