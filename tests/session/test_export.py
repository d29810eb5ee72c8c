"""Exports hold what the session holds, and other tools read them: the mcap library, Rerun's own command, FFmpeg."""

from __future__ import annotations

import base64
import json
import os
import random
import re
import signal
import subprocess
from collections import Counter
from pathlib import Path

import av
import jsonschema
import pyarrow.parquet
import pytest
from exchange import CUES, LABELS, MS, picture, record_raw, small_session
from parts import MISSING, part

from operators.errors import ConfigError
from pipeline.commands.exchange import progress_bar
from pipeline.session.export import write
from pipeline.session.export.streams import coded
from pipeline.session.export.walltime import WallTime
from pipeline.session.export.write import export
from pipeline.session.frames import frames, sound
from pipeline.session.layout import MANIFEST
from pipeline.session.read import Session


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Session:
    return small_session(tmp_path_factory.mktemp("export"))


def held(session: Session) -> dict[str, int]:
    """How many of each the session itself says it has."""
    return {
        "file.video": len(list(frames(session, "file.video"))),
        "file.audio": len(list(sound(session, "file.audio"))),
        "file.text": session.table("file.text").num_rows,
        "cam.eye": len(list(frames(session, "cam.eye"))),
        "imu.motion": session.table("imu.motion").num_rows,
    }


@pytest.fixture(scope="module")
def mcap_file(session, tmp_path_factory) -> Path:
    pytest.importorskip("mcap", reason=f"{MISSING}: mcap")
    out = tmp_path_factory.mktemp("mcap") / "s.mcap"
    export(session, out)
    return out


def read_mcap(path: Path):
    from mcap.reader import make_reader

    with path.open("rb") as file:
        yield from make_reader(file, validate_crcs=True).iter_messages(log_time_order=False)


def test_the_mcap_library_counts_what_the_session_holds(session, mcap_file):
    from mcap.reader import make_reader

    with mcap_file.open("rb") as file:
        reader = make_reader(file)
        summary = reader.get_summary()
        topics = {summary.channels[key].topic: count for key, count in summary.statistics.channel_message_counts.items()}
        attached = [attachment.data for attachment in reader.iter_attachments()]
    streams = {f"/{stream}": count for stream, count in held(session).items()}
    assert topics == {**streams, "/decisions": 8, "/labels/people": len(LABELS), "/events": 1}
    assert Counter(channel.topic for _, channel, _ in read_mcap(mcap_file)) == topics
    assert attached == [(session.folder / MANIFEST).read_bytes()]


def test_every_message_keeps_to_its_schema(mcap_file):
    seen = set()
    for schema, _, message in read_mcap(mcap_file):
        jsonschema.validate(json.loads(message.data), json.loads(schema.data))
        seen.add(schema.name)
    assert {"foxglove.CompressedVideo", "foxglove.CompressedImage", "foxglove.RawAudio", "foxglove.Log", "sensorium.Decision"} <= seen


def test_log_time_is_arrival_and_publish_time_is_capture(session, mcap_file):
    zero_ns = WallTime(session).zero_ns
    times = [(m.publish_time - zero_ns, m.log_time - zero_ns) for _, channel, m in read_mcap(mcap_file) if channel.topic == "/cam.eye"]
    assert times == [(index * 40 * MS + 7, (index + 1) * 40 * MS + 7 + 3 * MS) for index in range(10)]
    stamped = [json.loads(m.data)["timestamp"] for _, channel, m in read_mcap(mcap_file) if channel.topic == "/cam.eye"]
    assert [stamp["sec"] * 10**9 + stamp["nsec"] - zero_ns for stamp in stamped] == [captured for captured, _ in times]
    decided = [(m.publish_time - zero_ns, m.log_time - zero_ns) for _, channel, m in read_mcap(mcap_file) if channel.topic == "/decisions"]
    assert decided[1] == (80 * MS, 165 * MS)


def test_the_h264_of_an_mcap_file_decodes_by_itself(session, mcap_file):
    decoder = av.CodecContext.create("h264", "r")
    data = [json.loads(m.data) for _, channel, m in read_mcap(mcap_file) if channel.topic == "/cam.eye"]
    assert {values["format"] for values in data} == {"h264"}
    shown = [frame for values in data for frame in decoder.decode(av.Packet(base64.b64decode(values["data"])))]
    shown += decoder.decode(None)
    levels = [int(frame.to_ndarray(format="gray").mean()) for frame in shown]
    assert levels == pytest.approx([40 + 12 * index for index in range(10)], abs=4)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mjpeg"])
def test_pictures_that_viewers_of_mcap_cannot_play_become_jpeg(codec, tmp_path):
    pytest.importorskip("mcap", reason=f"{MISSING}: mcap")
    made = small_session(tmp_path, codec=codec)
    export(made, tmp_path / "s.mcap")
    data = [json.loads(m.data) for _, channel, m in read_mcap(tmp_path / "s.mcap") if channel.topic == "/file.video"]
    assert {values["format"] for values in data} == {"jpeg"}
    assert len(data) == 25
    assert all(base64.b64decode(values["data"]).startswith(b"\xff\xd8") for values in data)


def test_sound_and_text_in_an_mcap_file_are_the_sessions(session, mcap_file):
    blocks = [json.loads(m.data) for _, channel, m in read_mcap(mcap_file) if channel.topic == "/file.audio"]
    samples = sum(len(base64.b64decode(block["data"])) // 2 // block["number_of_channels"] for block in blocks)
    assert (samples, {block["sample_rate"] for block in blocks}) == (16000, {16000})
    said = [json.loads(m.data) for _, channel, m in read_mcap(mcap_file) if channel.topic == "/file.text"]
    assert [(s["session_start_ns"] // MS, s["session_end_ns"] // MS, s["text"]) for s in said] == list(CUES)


@pytest.fixture(scope="module")
def rerun_counts(session, tmp_path_factory) -> tuple[dict[str, int], dict[str, int]]:
    """(what the export says, what Rerun's own command counts) by entity."""
    pytest.importorskip("rerun", reason=f"{MISSING}: rerun-sdk")
    folder = tmp_path_factory.mktemp("rerun")
    out = folder / "s.rrd"
    said = export(session, out)
    assert "verified without error" in rerun("verify", out, folder)
    counted: Counter[str] = Counter()
    for rows, entity in re.findall(r"with (\d+) rows .*? - (/\S*) - ", rerun("print", out, folder)):
        counted[entity] += int(rows)
    return said, counted


def rerun(command: str, path: Path, home: Path, *options: str) -> str:
    from sys import executable

    program = Path(executable).parent / "rerun"
    words = [str(program) if program.exists() else part("rerun"), "rrd", command, *options, str(path)]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=60, check=True, env={**os.environ, "HOME": str(home), "NO_COLOR": "1"}
    )
    return done.stdout + done.stderr


def test_reruns_own_command_counts_what_the_session_holds(session, rerun_counts):
    said, counted = rerun_counts
    streams = {f"/{stream}": count for stream, count in held(session).items()}
    scores = {f"/decisions/scores/{label}": 8 for label in ("speaking", "voice-off")}
    wanted = {**streams, **scores, "/decisions/label": 8, "/labels/people": len(LABELS), "/events": 1}
    assert said == wanted
    assert {entity: counted[entity] for entity in wanted} == wanted


@pytest.mark.parametrize(("codec", "stream"), [("libx264", "file.video"), ("mpeg4", "cam.eye")])
def test_every_picture_of_a_rerun_file_is_its_own_frame_of_the_media(codec, stream, tmp_path):
    pytest.importorskip("rerun", reason=f"{MISSING}: rerun-sdk")
    made = small_session(tmp_path, codec=codec)
    export(made, tmp_path / "s.rrd")
    shown = rerun("print", tmp_path / "s.rrd", tmp_path, "-vvv", "--entity", f"/{stream}")
    rows = re.findall(r"P(?:0D|T([\d.]+)S) .*? \[(\d+)\] +┆ \[/(\S+)\]", shown)
    starts = [packet.start_ns for packet in frames(made, stream)]
    assert [round(float(start or 0) * 1e9) for start, _, _ in rows] == starts
    # In the file time begins with its first picture, in steps of 1/90000 s.
    assert [int(time_ns) for _, time_ns, _ in rows] == pytest.approx([start_ns - starts[0] for start_ns in starts], abs=1.1 * MS)
    assert {media for _, _, media in rows} == {f"{stream}/media/1"}


def test_a_parquet_export_holds_the_sessions_tables(session, tmp_path):
    counts = export(session, tmp_path / "out")
    for stream in session.streams():
        table = pyarrow.parquet.read_table(tmp_path / "out" / "streams" / f"{stream}.parquet")
        assert table.equals(session.table(stream))
        assert counts[f"streams/{stream}.parquet"] == table.num_rows
    assert not (tmp_path / "out" / MANIFEST).exists()  # it is no session
    assert (tmp_path / "out" / "session.json").read_bytes() == (session.folder / MANIFEST).read_bytes()
    decisions = pyarrow.parquet.read_table(tmp_path / "out" / "decisions.parquet")
    assert decisions.equals(session.decisions_table())
    assert decisions.schema.metadata[b"wall_zero_ns"] == str(WallTime(session).zero_ns).encode()
    assert decisions["label"].to_pylist() == ["voice-off", "speaking"] * 4
    assert pyarrow.parquet.read_table(tmp_path / "out" / "streams" / "imu.motion.parquet")["values"].to_pylist()[3] == [3.0, -3.0, 0.5]
    assert (tmp_path / "out" / "labels" / "people.jsonl").read_bytes() == (session.folder / "labels" / "people.jsonl").read_bytes()


@pytest.mark.parametrize(("codec", "audio_codec", "suffix"), [("libx264", "aac", ".mp4"), ("mpeg4", "pcm_s16le", ".mkv")])
def test_media_are_copied_with_their_bytes_and_times_into_mp4_where_it_fits(codec, audio_codec, suffix, tmp_path):
    made = small_session(tmp_path, codec=codec, audio_codec=audio_codec)
    export(made, tmp_path / "out")
    path = tmp_path / "out" / "media" / f"file{suffix}"
    for index, stream in enumerate(("file.video", "file.audio")):  # pictures are the first track
        want = [bytes(item.packet) for item in coded(made, stream)]
        with av.open(str(path)) as container:
            got = [bytes(packet) for packet in container.demux(container.streams[index]) if packet.size]
        assert got == want
    shown = [packet.start_ns for packet in frames(made, "file.video")]
    with av.open(str(path)) as container:
        times = [float(frame.pts * frame.time_base) * 1e9 for frame in container.decode(video=0)]
    assert times == pytest.approx(shown, abs=1.1 * MS)


def test_a_picture_of_another_size_begins_a_new_file(tmp_path):
    made = small_session(tmp_path)
    record_raw(made.folder, "two", [picture(index) for index in range(5)])
    record_raw(made.folder, "two", [picture(index, (32, 48)) for index in range(5, 9)], number=1)
    paced = json.loads((made.folder / MANIFEST).read_text()) | {"paced": True}
    (made.folder / MANIFEST).write_text(json.dumps(paced))
    counts = export(Session.open(made.folder), tmp_path / "out")
    assert {name: count for name, count in counts.items() if "two." in name or "two-" in name} == {
        "streams/two.eye.parquet": 9,
        "media/two.mp4": 5,
        "media/two-2.mp4": 4,
    }
    with av.open(str(tmp_path / "out" / "media" / "two-2.mp4")) as container:
        assert float(next(container.decode(video=0)).time) == pytest.approx(0.2, abs=0.002)


@pytest.mark.parametrize("name", ["s.mcap", "s.rrd", "folder"])
def test_what_can_be_read_of_a_damaged_session_is_exported(name, tmp_path):
    pytest.importorskip("mcap", reason=f"{MISSING}: mcap")
    pytest.importorskip("rerun", reason=f"{MISSING}: rerun-sdk")
    whole, rng = small_session(tmp_path, codec="libx264", audio_codec="aac"), random.Random(7)
    before = export(whole, tmp_path / f"whole-{name}")
    files = sorted(path for path in whole.folder.rglob("*") if path.suffix in (".mkv", ".arrows"))
    for turn in range(8):
        data = bytearray((path := rng.choice(files)).read_bytes())
        for _ in range(rng.choice([1, 20])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.choice([len(data), rng.randrange(len(data))])])
        after = export(Session.open(whole.folder), tmp_path / f"{turn}-{name}")
        assert sum(after.values()) <= sum(before.values())
        before = after


def test_an_output_that_is_there_is_not_touched(session, tmp_path):
    out = tmp_path / "s.mcap"
    out.write_text("mine")
    with pytest.raises(ConfigError, match="is there already; name a new file or folder"):
        export(session, out)
    assert out.read_text() == "mine"


@pytest.mark.parametrize("name", ["s.mcap", "s.rrd", "folder"])
def test_an_export_that_is_interrupted_leaves_nothing(session, tmp_path, name):
    pytest.importorskip("mcap", reason=f"{MISSING}: mcap")
    pytest.importorskip("rerun", reason=f"{MISSING}: rerun-sdk")

    def interrupted(at_ns: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(session, tmp_path / name, progress=interrupted)
    assert list(tmp_path.iterdir()) == []


def test_sigterm_ends_the_work_and_what_was_begun_is_cleaned_up(session, tmp_path):
    with pytest.raises(KeyboardInterrupt), progress_bar("exporting"):
        export(session, tmp_path / "out", progress=lambda at_ns: signal.raise_signal(signal.SIGTERM))
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_is_missing_is_named_with_what_installs_it(session, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs the package rerun-sdk, which is not installed; pip install 'sensorium\[rerun\]'"):
        export(session, tmp_path / "s.rrd")
