"""Recorded media: packets as they came, exact stamps, the same pictures and samples as from the original."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from recordings import WANTED
from recordings import record_source as recorded

from operators.packet import AudioBlock, Frame, Packet, StreamEvent, TextSpan
from pipeline.ports import StreamSpec, Wanted
from pipeline.session.audit import audit
from pipeline.session.frames import frames, sound
from pipeline.session.read import Session
from pipeline.session.recover import recover
from pipeline.session.scribe import DirectScribe
from pipeline.sources.file import MediaFile
from pipeline.sources.playlist import Playlist
from pipeline.sources.session import Recorded

SCENE = Path(__file__).parents[2] / "configs" / "demo" / "scene.mp4"
S = 1_000_000_000


def packets(said: list[StreamEvent], stream: str) -> list[Packet]:
    return [event for event in said if isinstance(event, Packet) and event.stream == stream]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> tuple[Session, list[StreamEvent]]:
    folder = tmp_path_factory.mktemp("media") / "s"
    said = recorded(MediaFile(path=SCENE), folder, until_ns=9 * S)
    return Session.open(folder), said


def test_pictures_come_back_to_the_bit_with_number_and_interval_over_all_segments(session) -> None:
    opened, said = session
    assert len(opened.media_segments("media.video")) >= 2
    again = list(frames(opened, "media.video", wanted=WANTED["video"]))
    original = packets(said, "video")
    assert [(p.seq, p.start_ns, p.end_ns) for p in again] == [(p.seq, p.start_ns, p.end_ns) for p in original]
    assert all(np.array_equal(a.payload.data, b.payload.data) for a, b in zip(again, original, strict=True))


def test_sound_comes_back_to_the_sample_over_all_segments(session) -> None:
    opened, said = session
    assert len(opened.media_segments("media.audio")) >= 4
    original = packets(said, "audio")
    again = list(sound(opened, "media.audio", 0, original[-1].end_ns, WANTED["audio"]))[: len(original) - 5]
    assert [p.start_ns for p in again] == [p.start_ns for p in original[: len(again)]]
    assert all(np.array_equal(a.payload.data, b.payload.data) for a, b in zip(again, original, strict=False))


@pytest.mark.parametrize("start_ns", [0, 1, 33_333_333, 3 * S, 5 * S + 17, 8 * S])
def test_a_seek_gives_the_first_picture_at_or_after_the_time(session, start_ns: int) -> None:
    opened, said = session
    original = [p for p in packets(said, "video") if start_ns <= p.start_ns < start_ns + S // 2]
    again = list(frames(opened, "media.video", start_ns, start_ns + S // 2, WANTED["video"]))
    assert [p.start_ns for p in again] == [p.start_ns for p in original]
    assert all(np.array_equal(a.payload.data, b.payload.data) for a, b in zip(again, original, strict=True))


def test_a_seek_in_sound_is_right_to_a_sample(session) -> None:
    opened, said = session
    whole = np.concatenate([p.payload.data[0] for p in packets(said, "audio")])
    loudest = max(packets(said, "audio")[100:400], key=lambda p: float(np.abs(p.payload.data).mean()))
    from_ns = loudest.start_ns - 50_000_000 + 12_345
    blocks = list(sound(opened, "media.audio", from_ns, from_ns + 200_000_000, WANTED["audio"]))[1:6]
    heard, at = np.concatenate([p.payload.data[0] for p in blocks]), round(blocks[0].start_ns * 16000 / S)
    likeness = {lag: float(np.corrcoef(whole[at + lag : at + lag + len(heard)], heard)[0, 1]) for lag in range(-20, 21)}
    best = max(likeness, key=lambda lag: likeness[lag])
    assert abs(best) <= 1
    assert likeness[best] > 0.95


def test_every_media_segment_is_a_matroska_file_of_the_original_packets(session) -> None:
    opened, _ = session
    with av.open(str(SCENE)) as original:
        stored = [bytes(p) for p in original.demux(original.streams.video[0]) if p.size]
    kept = []
    for segment in opened.media_segments("media.video"):
        with av.open(str(segment.path)) as container:
            assert container.format.name.startswith("matroska")
            kept += [bytes(p) for p in container.demux(container.streams[0]) if p.size]
    assert len(kept) > 200
    assert kept == stored[: len(kept)]


def test_captions_are_in_the_log(session) -> None:
    opened, said = session
    assert [p.payload for p in opened.packets("media.text")] == [p.payload for p in packets(said, "text")]
    assert opened.table("media.text")["text"].to_pylist() == [p.payload.text for p in packets(said, "text")]


def test_a_recorded_session_is_a_source_with_the_same_packets_at_the_same_times(session) -> None:
    opened, said = session
    source = Recorded(folder=opened.folder)
    assert {spec.name for spec in source.open(WANTED)} == {"video", "audio", "text"}
    again = [event for _, event in source.events()]
    for stream in ("video", "text"):
        assert [(p.seq, p.start_ns, p.end_ns) for p in packets(again, stream)] == [
            (p.seq, p.start_ns, p.end_ns) for p in packets(said, stream)
        ]
    assert all(isinstance(p.payload, Frame) for p in packets(again, "video"))
    assert all(isinstance(p.payload, AudioBlock) for p in packets(again, "audio"))
    assert all(isinstance(p.payload, TextSpan) for p in packets(again, "text"))


def test_a_source_that_was_started_again_gives_every_picture_once(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    first = recorded(MediaFile(path=SCENE), folder, until_ns=3 * S)
    second = recorded(MediaFile(path=SCENE), folder, until_ns=6 * S, life=1, from_ns=4 * S)
    starts = [p.start_ns for p in packets(first, "video")] + [p.start_ns for p in packets(second, "video")]
    again = [p.start_ns for p in frames(Session.open(folder), "media.video", wanted=WANTED["video"])]
    assert again == starts
    assert all(a < b for a, b in pairwise(again))


def test_the_files_of_a_playlist_become_segments_on_one_timeline(tmp_path: Path) -> None:
    said = recorded(Playlist(paths=[SCENE, SCENE], gap_ms=500), tmp_path / "s", until_ns=42 * S, segment_s=60)
    opened = Session.open(tmp_path / "s")
    assert len(opened.media_segments("media.video")) == 2
    original = packets(said, "video")
    again = list(frames(opened, "media.video", 39 * S, wanted=WANTED["video"]))
    assert [p.start_ns for p in again] == [p.start_ns for p in original if p.start_ns >= 39 * S]


class Raw:
    """A source without compressed packets."""

    live = False

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        smooth = np.linspace(0, 200, 64 * 48).reshape(48, 64)
        self.pictures = [(smooth + 20 * np.sin(i / 5)).astype(np.uint8) for i in range(30)]
        self.sound = rng.uniform(-1, 1, (30, 2, 640)).astype(np.float32)

    def open(self, wanted):
        return [StreamSpec(name="video", kind="video"), StreamSpec(name="audio", kind="audio")]

    def tap(self, tap):
        return []

    def events(self, from_ns: int = 0):
        for i, picture in enumerate(self.pictures):
            start, end = i * 40_000_000 + 7, (i + 1) * 40_000_000 + 7
            yield end, Packet(stream="video", seq=i, start_ns=start, end_ns=end, payload=Frame(data=picture))
            yield end, Packet(stream="audio", seq=i, start_ns=start, end_ns=end, payload=AudioBlock(data=self.sound[i], rate_hz=16000))

    def close(self) -> None: ...


def test_raw_sound_is_kept_to_the_bit_and_raw_pictures_nearly(tmp_path: Path) -> None:
    source = Raw()
    recorded(source, tmp_path / "s", until_ns=60 * S)
    opened = Session.open(tmp_path / "s")
    again = list(frames(opened, "media.video", wanted=Wanted(pixels="gray")))
    assert [(p.seq, p.start_ns) for p in again] == [(i, i * 40_000_000 + 7) for i in range(30)]
    errors = [np.abs(a.payload.data.astype(int) - b).mean() for a, b in zip(again, source.pictures, strict=True)]
    assert max(errors) < 3
    heard = np.concatenate([p.payload.data for p in sound(opened, "media.audio")], axis=1)
    assert np.array_equal(heard, np.concatenate(list(source.sound), axis=1))


def test_a_segment_that_was_cut_off_plays_up_to_the_cut(session, tmp_path: Path) -> None:
    opened, said = session
    segment = opened.media_segments("media.video")[-1]
    content = segment.path.read_bytes()
    try:
        segment.path.write_bytes(content[: len(content) // 2])
        again = list(frames(opened, "media.video", wanted=WANTED["video"]))
    finally:
        segment.path.write_bytes(content)
    assert 100 < len(again) < len(packets(said, "video"))


def test_damaged_media_are_mended_to_what_can_be_read(tmp_path: Path) -> None:
    recorded(MediaFile(path=SCENE), tmp_path / "s", until_ns=3 * S, segment_s=60)
    opened = Session.open(tmp_path / "s")
    (segment,) = opened.media_segments("media.video")
    whole = len(list(frames(opened, "media.video", wanted=WANTED["video"])))
    content = bytearray(segment.path.read_bytes())
    segment.path.write_bytes(content[: len(content) * 2 // 3])
    (repair,) = [repair for repair in recover(tmp_path / "s") if repair.file.endswith(".mkv")]
    assert "were kept" in repair.done
    assert {finding.state for finding in audit(Session.open(tmp_path / "s"))} == {"whole"}
    kept = len(list(frames(Session.open(tmp_path / "s"), "media.video", wanted=WANTED["video"])))
    assert whole // 3 < kept < whole


def test_pictures_beyond_the_limit_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(Raw(), tmp_path / "s")
    opened = Session.open(tmp_path / "s")
    monkeypatch.setattr("pipeline.session.frames.MAX_PIXELS", 64 * 48 - 1)
    assert list(frames(opened, "media.video")) == []
    assert "pictures of 64x48 are not decoded" in next(iter(opened.faults.found.values()))


def test_any_flipped_bits_in_media_cost_pictures_and_nothing_else(tmp_path: Path) -> None:
    recorded(Raw(), tmp_path / "s")
    (segment,) = Session.open(tmp_path / "s").media_segments("media.video")
    content = segment.path.read_bytes()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            damaged[place] ^= 1 << int(rng.integers(8))
        segment.path.write_bytes(damaged)
        opened = Session.open(tmp_path / "s")
        assert len(list(frames(opened, "media.video"))) <= 30
        list(audit(opened))


class LateScribe(DirectScribe):
    """Does everything at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._jobs: list[Callable[[], None]] = []

    def put(self, job: Callable[[], None], nbytes: int = 0) -> bool:
        self._jobs.append(job)
        return True

    def close(self) -> None:
        for job in self._jobs:
            job()
        super().close()


def test_packets_may_be_written_after_their_file_was_closed(tmp_path: Path) -> None:
    scribes = {"now": DirectScribe(), "late": LateScribe()}
    found = []
    for name, scribe in scribes.items():
        recorded(MediaFile(path=SCENE), tmp_path / name, until_ns=6 * S, scribe=scribe)
        found.append({finding.file: (finding.state, finding.extent.rows) for finding in audit(Session.open(tmp_path / name))})
    assert found[0] == found[1]
    assert {state for state, _ in found[0].values()} == {"whole"}
