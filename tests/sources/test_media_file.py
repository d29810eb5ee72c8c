"""Media files: stamps, pictures, sound, captions, and files in a bad state."""

import os
from collections import Counter
from itertools import pairwise

import av
import numpy as np
import pytest
from data import recording
from tinymedia import MS, clicks, grey_level, write_media

from operators.errors import ContractError, DecodeError, DeviceNotFound, SourceError
from operators.packet import Closed, Dropped, Packet, Watermark
from pipeline.media.audio import AudioTrack
from pipeline.ports import Wanted
from pipeline.sources.file import MediaFile

GRAY = {"video": Wanted(pixels="gray")}


def read(path, wanted=None, from_ns=0, **options):
    source = MediaFile(path=path, **options)
    source.open(wanted or {})
    return [event for _, event in source.events(from_ns)]


def packets(events, stream):
    return [event for event in events if isinstance(event, Packet) and event.stream == stream]


def spans_ms(events, stream):
    return [(packet.start_ns // MS, packet.end_ns // MS) for packet in packets(events, stream)]


def drops(events):
    counts = Counter()
    for event in events:
        if isinstance(event, Dropped):
            counts[event.stream, event.reason] += event.count
    return counts


def closed_ms(events):
    return {event.stream: event.time_ns // MS for event in events if isinstance(event, Closed)}


def sound_of(events):
    return np.concatenate([packet.payload.data for packet in packets(events, "audio")], axis=1)


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_a_frame_lasts_until_the_next_one_starts(tmp_path):
    events = read(write_media(tmp_path / "a.mkv", stamps_ms=[0, 40, 50, 300, 340]))
    assert spans_ms(events, "video") == [(0, 40), (40, 50), (50, 300), (300, 340), (340, 380)]
    assert closed_ms(events) == {"video": 380}


def test_frames_are_the_ones_that_were_stored(tmp_path):
    events = read(write_media(tmp_path / "a.mkv"), GRAY)
    for index, packet in enumerate(packets(events, "video")):
        assert abs(int(np.median(packet.payload.data)) - grey_level(index)) <= 6


def test_grey_is_black_to_white_whether_the_picture_is_scaled_or_not(tmp_path):
    path = write_media(tmp_path / "a.mkv", stamps_ms=[0, 40])
    plain, scaled = (packets(read(path, {"video": Wanted(pixels="gray", max_width=width)}), "video")[1] for width in (None, 32))
    rgb = packets(read(path), "video")[1]
    assert abs(int(np.median(plain.payload.data)) - int(np.median(scaled.payload.data))) <= 1
    assert abs(int(np.median(plain.payload.data)) - int(np.median(rgb.payload.data))) <= 2


@pytest.mark.parametrize(("width", "height"), [(65, 49), (1, 1), (16, 250)])
def test_odd_sizes_are_read_as_they_are(tmp_path, width, height):
    path = write_media(tmp_path / "a.mkv", stamps_ms=[0, 40], width=width, height=height, codec="mjpeg")
    assert packets(read(path), "video")[0].payload.data.shape == (height, width, 3)
    assert packets(read(path, GRAY), "video")[0].payload.data.shape == (height, width)


@pytest.mark.parametrize(("wanted", "shape"), [(None, (48, 64)), (32, (24, 32)), (64, (48, 64)), (1000, (48, 64)), (1, (1, 1))])
def test_pictures_are_made_no_wider_than_wanted_and_never_larger(tmp_path, wanted, shape):
    path = write_media(tmp_path / "a.mkv", stamps_ms=[0, 40])
    assert packets(read(path, {"video": Wanted(pixels="gray", max_width=wanted)}), "video")[0].payload.data.shape == shape


def test_a_rotated_video_is_turned_upright(tmp_path):
    path = write_media(tmp_path / "a.mp4", stamps_ms=[0, 40], rotation=90)
    assert packets(read(path), "video")[0].payload.data.shape == (64, 48, 3)
    narrow = read(path, {"video": Wanted(pixels="gray", max_width=24)})
    assert packets(narrow, "video")[0].payload.data.shape == (32, 24)


def test_a_quarter_turn_goes_the_way_that_ffmpeg_turns(tmp_path):
    path = tmp_path / "a.mp4"
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, :16] = 255  # white on the left
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(90)  # counter-clockwise: left becomes bottom
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    shown = packets(read(path, GRAY), "video")[0].payload.data
    assert shown[-8:].mean() > 200
    assert shown[:8].mean() < 50


def test_both_ways_of_decoding_give_the_same(tmp_path):
    path = write_media(tmp_path / "a.mp4", codec="libx264")
    one, other = (packets(read(path, threads=threads), "video") for threads in ("auto", "none"))
    assert [packet.payload.data.tobytes() for packet in one] == [packet.payload.data.tobytes() for packet in other]


def damage(path, numbers):
    """Overwrites the contents of the video packets of these numbers."""
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for position, size in [places[number] for number in numbers]:
        data[position + 8 : position + size] = bytes(size - 8)
    path.write_bytes(data)
    return len(places)


def test_damaged_frames_are_counted_and_the_rest_goes_on(tmp_path):
    path = write_media(tmp_path / "a.mkv", stamps_ms=range(0, 4000, 40), codec="mjpeg")
    damage(path, range(40, 50))
    events = read(path)
    assert drops(events) == {("video", "decode_error"): 10}
    assert len(packets(events, "video")) == 90
    assert (39 * 40, 50 * 40) in spans_ms(events, "video")


def test_a_file_that_ends_early_plays_as_far_as_it_goes(tmp_path):
    path = write_media(tmp_path / "a.mkv", stamps_ms=range(0, 4000, 40), codec="mjpeg")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    events = read(path)
    assert 30 < len(packets(events, "video")) < 70
    assert 1000 < closed_ms(events)["video"] < 3000


def test_avi_with_frames_stored_out_of_order_is_played_in_order(tmp_path):
    path = write_media(tmp_path / "a.avi", stamps_ms=range(0, 2000, 40), codec="libx264")
    events = read(path)
    spans = spans_ms(events, "video")
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert len(spans) >= 45  # the first that were out of order told us
    assert len(spans) + drops(events)["video", "out_of_order"] == 50


# --- sound ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate_hz", "wanted_hz"), [(44100, 16000), (48000, 16000), (8000, 16000), (16000, 16000), (22050, 16000)])
def test_a_click_is_where_it_was_after_resampling(tmp_path, rate_hz, wanted_hz):
    at_s = [0.25, 1.0, 1.75]
    path = write_media(tmp_path / "a.mkv", stamps_ms=None, sound=clicks(2, rate_hz, at_s), rate_hz=rate_hz)
    events = read(path, {"audio": Wanted(rate_hz=wanted_hz, channels=1)})
    sound = np.abs(sound_of(events)[0])
    for time_s in at_s:
        near = round((time_s - 0.1) * wanted_hz)
        first = near + int(np.argmax(sound[near : near + wanted_hz // 5] > 0.3))
        assert abs(first / wanted_hz - time_s) < 0.0003
    assert sound.size == 2 * wanted_hz


def test_sound_comes_in_blocks_of_a_fixed_length_that_touch(tmp_path):
    path = write_media(tmp_path / "a.mkv", stamps_ms=None, sound=clicks(0.5, 44100, [0.2], 2), rate_hz=44100)
    events = read(path)
    blocks = packets(events, "audio")
    assert [block.payload.data.shape for block in blocks] == [(2, 882)] * 25
    assert all(before.end_ns == after.start_ns for before, after in pairwise(blocks))
    assert closed_ms(events) == {"audio": 500}


def test_samples_are_floats_in_range(tmp_path):
    path = write_media(tmp_path / "a.mkv", stamps_ms=None, sound=clicks(0.5, 16000, [0.2]) * 5, audio_codec="pcm_f32le")
    sound = sound_of(read(path))
    assert sound.dtype == np.float32
    assert sound.max() == 1.0


def test_a_float_file_that_holds_no_numbers_is_read_as_silence(tmp_path):
    sound = clicks(0.5, 16000, [0.2])
    sound[0, 100:200] = np.nan
    sound[0, 300:310] = -np.inf
    read_back = sound_of(read(write_media(tmp_path / "a.mkv", stamps_ms=None, sound=sound, audio_codec="pcm_f32le")))
    assert not read_back[0, 100:200].any()
    assert (read_back[0, 300:310] == -1).all()


def joined(path, pieces, rate_hz=16000):
    """A file whose sound has the given pieces (at_ms, samples), with whatever gaps or overlaps lie between them."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate_hz, layout="mono")
        for at_ms, samples in pieces:
            for first in range(0, samples, 320):
                frame = av.AudioFrame.from_ndarray(np.full((1, min(320, samples - first)), 8000, np.int16), format="s16", layout="mono")
                frame.sample_rate, frame.pts = rate_hz, at_ms * rate_hz // 1000 + first
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_gap_in_the_sound_stays_a_gap(tmp_path):
    """
    file    |==0==....==500==|
    """
    events = read(joined(tmp_path / "a.mkv", [(0, 3200), (500, 3200)]), {"audio": Wanted(rate_hz=8000)})
    spans = spans_ms(events, "audio")
    assert spans[0] == (0, 20)
    assert (180, 200) in spans
    assert (500, 520) in spans
    assert not any(200 <= start < 500 for start, _ in spans)


def test_a_trembling_stamp_does_not_tear_the_sound(tmp_path):
    pieces = [(index * 20 + (7 if index % 2 else 0), 320) for index in range(20)]
    spans = spans_ms(read(joined(tmp_path / "a.mkv", pieces)), "audio")
    assert spans == [(index * 20, index * 20 + 20) for index in range(20)]


def test_sound_that_jumps_back_is_cut_and_counted():
    """
    stamps  |==0=========500|
                    |==300=========800|
    """
    frames = []
    for start_ms in [*range(0, 500, 20), *range(300, 800, 20)]:
        frame = av.AudioFrame.from_ndarray(np.full((1, 320), 0.5, np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        frames.append((start_ms * MS, frame))
    track = AudioTrack("audio", Wanted(), 20 * MS, seq=0, from_ns=0)
    events = [event for _, event in track.events(iter(frames))]
    spans = spans_ms(events, "audio")
    assert spans == [(start_ms, start_ms + 20) for start_ms in range(0, 800, 20)]
    assert drops(events) == {("audio", "out_of_order"): 1}


def test_sound_that_starts_later_than_the_picture_keeps_its_place(tmp_path):
    events = read(write_media(tmp_path / "a.mkv", sound=clicks(0.5, 16000, [0.1]), sound_at_ms=300))
    assert spans_ms(events, "audio")[0] == (300, 320)
    assert spans_ms(events, "video")[0] == (0, 40)


def test_lossy_sound_and_picture_stay_together(tmp_path):
    path = write_media(tmp_path / "a.mp4", sound=clicks(1, 44100, [0.4]), rate_hz=44100, audio_codec="aac", codec="libx264")
    sound = np.abs(sound_of(read(path, {"audio": Wanted(rate_hz=16000)}))[0])
    assert abs(int(np.argmax(sound)) / 16000 - 0.4) < 0.003


# --- interleaving -----------------------------------------------------------------------------------------------------


def test_a_file_with_all_sound_after_all_pictures_comes_in_order_all_the_same(tmp_path):
    path = write_media(tmp_path / "a.mkv", stamps_ms=range(0, 3000, 40), sound=clicks(3, 16000, [1]), audio_last=True)
    source = MediaFile(path=path)
    source.open({})
    due = [due_ns for due_ns, _ in source.events()]
    assert due == sorted(due)
    order = "".join(event.stream[0] for _, event in source.events() if isinstance(event, Packet))
    assert "vvv" not in order


# --- captions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_subtitles_become_text_without_markup(tmp_path, name):
    cues = [(100, 400, "Say <i>hello</i>"), (500, 900, "{\\an8}twice")]
    events = read(write_media(tmp_path / name, cues=cues))
    assert [(packet.start_ns // MS, packet.payload.text) for packet in packets(events, "text")] == [(100, "Say hello"), (500, "twice")]
    assert spans_ms(events, "text")[0] == (100, 400)


def test_cues_that_overlap_come_in_order_of_start(tmp_path):
    events = read(write_media(tmp_path / "a.mkv", cues=[(100, 700, "long"), (200, 300, "short")]))
    assert spans_ms(events, "text") == [(100, 700), (200, 300)]


def test_captions_beside_the_file_are_found(tmp_path):
    path = write_media(tmp_path / "a.mkv")
    (tmp_path / "a.srt").write_text("1\n00:00:00,200 --> 00:00:00,600\nbeside\n")
    assert packets(read(path), "text")[0].payload.text == "beside"


def test_captions_that_are_named_win_over_the_files_own(tmp_path):
    path = write_media(tmp_path / "a.mkv", cues=[(100, 200, "own")])
    other = tmp_path / "other.vtt"
    other.write_text("WEBVTT\n\n00:00.300 --> 00:00.400\nnamed\n")
    assert [packet.payload.text for packet in packets(read(path, captions=other), "text")] == ["named"]


def test_cues_after_the_end_of_the_media_are_counted(tmp_path):
    path = write_media(tmp_path / "a.mkv")
    (tmp_path / "a.vtt").write_text(
        "WEBVTT\n\n00:00.300 --> 00:00.400\nin\n\n00:01.000 --> 00:02.000\nout\n\n09:00.000 --> 09:01.000\nfar out\n"
    )
    events = read(path)
    assert drops(events) == {("text", "after_end"): 2}
    assert closed_ms(events) == {"video": 1000, "text": 1000}


def test_a_caption_file_alone_is_a_session(tmp_path):
    path = tmp_path / "a.vtt"
    path.write_text("WEBVTT\n\n00:00.300 --> 00:00.700\nin\n")
    events = read(path)
    assert closed_ms(events) == {"text": 700}
    assert spans_ms(events, "text") == [(300, 700)]


def test_bad_cues_are_counted(tmp_path):
    path = write_media(tmp_path / "a.mkv")
    (tmp_path / "a.vtt").write_text("WEBVTT\n\n00:00.300 --> 00:00.400\nin\n\n00:00.900 --> 00:00.800\nbackwards\n\nno times\n")
    assert drops(read(path)) == {("text", "bad_cue"): 2}


# --- tracks -----------------------------------------------------------------------------------------------------------


def test_a_stream_that_the_file_has_not_is_not_named(tmp_path):
    source = MediaFile(path=write_media(tmp_path / "a.mkv"))
    assert [spec.name for spec in source.open({})] == ["video"]


def test_a_track_number_that_is_not_there_is_told(tmp_path):
    source = MediaFile(path=write_media(tmp_path / "a.mkv"), video_track=2)
    with pytest.raises(SourceError, match="has no video track number 2; it has 1"):
        source.open({})


@pytest.mark.parametrize("options", [{"video_track": -1}, {"block_ms": 0}])
def test_options_that_make_no_sense_are_refused(tmp_path, options):
    with pytest.raises(ContractError):
        MediaFile(path=tmp_path, **options)


def test_faults_for_a_stream_that_no_file_has_are_refused(tmp_path):
    with pytest.raises(ContractError, match="there is no stream 'vidoe'"):
        MediaFile(path=tmp_path, faults={"vidoe": None})


# --- restart ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_restart_shows_the_frames_that_follow(tmp_path, name):
    path = write_media(tmp_path / name, stamps_ms=range(0, 4000, 40), codec="libx264", sound=clicks(4, 16000, [3]), audio_codec="aac")
    whole, rest = (packets(read(path, GRAY, from_ns=from_ns), "video") for from_ns in (0, 1_500_000_000))
    tail = [packet for packet in whole if packet.start_ns >= 1_500_000_000]
    assert [packet.start_ns for packet in rest] == [packet.start_ns for packet in tail]
    assert all(np.array_equal(one.payload.data, other.payload.data) for one, other in zip(rest, tail, strict=True))


def test_a_restart_keeps_sound_where_it_was(tmp_path):
    path = write_media(tmp_path / "a.mp4", stamps_ms=None, sound=clicks(4, 44100, [3]), rate_hz=44100, audio_codec="aac")
    events = read(path, {"audio": Wanted(rate_hz=16000)}, from_ns=2_000_000_000)
    first = packets(events, "audio")[0].start_ns
    assert 0 <= first - 2_000_000_000 < 1_000_000
    assert abs(first / 1e9 + int(np.argmax(np.abs(sound_of(events)[0]))) / 16000 - 3.0) < 0.003


# --- files that are not what they seem --------------------------------------------------------------------------------


def broken(kind, folder):
    path = folder / f"{kind}.mp4"
    if kind == "missing":
        return path
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("I am a text file that somebody has renamed.\n" * 20)
    elif kind == "truncated":  # the index of an mp4 is at its end
        write_media(path, codec="libx264")
        path.write_bytes(path.read_bytes()[:-600])
    elif kind == "zeros":
        path.write_bytes(bytes(100_000))
    elif kind == "cover":
        write_media(path, stamps_ms=[0], codec="mjpeg", cover=True)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "playlist":  # would make FFmpeg open other files
        path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    return path


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("missing", DeviceNotFound, "no such file"),
        ("folder", SourceError, "is a folder"),
        ("empty", DecodeError, "empty"),
        ("text", DecodeError, "not a media file"),
        ("truncated", DecodeError, "not a media file"),
        ("zeros", DecodeError, "not a media file"),
        ("cover", DecodeError, "no video, audio or text"),
        ("fifo", SourceError, "not a regular file"),
        ("playlist", DecodeError, ""),
    ],
)
def test_a_file_that_cannot_be_played_is_told_in_one_line(tmp_path, kind, error, words):
    source = MediaFile(path=broken(kind, tmp_path))
    with pytest.raises(error) as caught:
        source.open({})
    line = str(caught.value)
    assert words in line
    assert f"{kind}.mp4" in line
    assert "\n" not in line


def test_a_file_in_which_nothing_can_be_decoded_is_an_error(tmp_path):
    path = write_media(tmp_path / "a.mkv", codec="mjpeg")
    damage(path, range(25))
    with pytest.raises(DecodeError, match="nothing in it could be decoded"):
        read(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told(tmp_path):
    path = write_media(tmp_path / "a.mkv")
    path.chmod(0)
    with pytest.raises(SourceError, match="cannot be read"):
        MediaFile(path=path).open({})


def test_captions_that_are_not_there_are_told(tmp_path):
    source = MediaFile(path=write_media(tmp_path / "a.mkv"), captions=tmp_path / "none.vtt")
    with pytest.raises(DeviceNotFound, match="no such caption file"):
        source.open({})


def test_a_name_that_looks_like_a_protocol_is_only_a_name(tmp_path):
    path = write_media(tmp_path / "a.mkv").rename(tmp_path / "concat:b|c.mkv")
    assert packets(read(path), "video")


# --- real recordings --------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_a_film_with_captions_beside_it():
    events = read(
        recording("mdn_cc0/friday.mp4"), {"video": Wanted(pixels="gray"), "audio": Wanted(rate_hz=16000, channels=1), "text": Wanted()}
    )
    assert len(packets(events, "video")) == 185
    assert [packet.payload.text for packet in packets(events, "text")][1] == "How are you?"
    assert packets(events, "audio")[0].payload.data.shape == (1, 320)
    assert drops(events) == {}


@pytest.mark.real
def test_a_file_with_two_tracks_of_everything():
    path = recording("nasa_13013/nasa_13013.mp4")
    first, second = read(path), read(path, video_track=1, audio_track=1, text_track=1)
    assert packets(first, "video")[0].payload.data.shape == (180, 320, 3)
    assert packets(second, "video")[0].payload.data.shape == (270, 480, 3)
    assert (packets(first, "audio")[0].payload.rate_hz, packets(second, "audio")[0].payload.rate_hz) == (8000, 16000)
    assert packets(first, "text")[0].payload.text.startswith("NAR: This is the optical")
    assert spans_ms(first, "text")[0] == (210, 4260)


@pytest.mark.real
def test_a_clip_of_the_grid_corpus():
    events = read(recording("grid_s1_dev/bbaf2n.mp4"))
    assert len(packets(events, "video")) == 75
    assert closed_ms(events)["video"] == 3000
    assert all(isinstance(event, Packet | Watermark | Closed) for event in events)
