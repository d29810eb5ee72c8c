"""Playlists: several files, one session."""

import pytest
from data import recording
from tinymedia import MS, clicks, write_media

from operators.errors import ContractError, DeviceNotFound, SourceError
from operators.packet import Closed, Dropped, Packet, Watermark
from pipeline.ports import Wanted
from pipeline.sources.file import MediaFile
from pipeline.sources.playlist import Playlist


def opened(paths, wanted=None, **options):
    source = Playlist(paths=list(paths), **options)
    source.open(wanted or {})
    return source


def read(paths, from_ns=0, **options):
    return [event for _, event in opened(paths, **options).events(from_ns)]


def starts_ms(events, stream):
    return [event.start_ns // MS for event in events if isinstance(event, Packet) and event.stream == stream]


def closed_ms(events):
    return {event.stream: event.time_ns // MS for event in events if isinstance(event, Closed)}


def two(folder):
    return (
        write_media(folder / "1.mkv", stamps_ms=[0, 40, 80], sound=clicks(0.2, 16000, [0.1])),
        write_media(folder / "2.mkv", stamps_ms=[0, 40], sound=clicks(0.1, 16000, [0.05])),
    )


def test_a_file_starts_where_the_longest_stream_of_the_former_ended(tmp_path):
    """
    video  |1|1|1|..|2|2|
    audio  |1111111 |2222|
    """
    events = read(two(tmp_path))
    assert starts_ms(events, "video") == [0, 40, 80, 200, 240]
    assert starts_ms(events, "audio")[-1] == 280
    assert closed_ms(events) == {"video": 300, "audio": 300}


def test_a_gap_between_files_is_kept_and_promised(tmp_path):
    events = read(two(tmp_path), gap_ms=500)
    assert starts_ms(events, "video") == [0, 40, 80, 700, 740]
    promised = [event.time_ns // MS for event in events if isinstance(event, Watermark) and event.stream == "audio"]
    assert any(400 <= time_ms < 500 for time_ms in promised)


def test_the_files_of_a_folder_are_played_by_name(tmp_path):
    write_media(tmp_path / "b.mkv", stamps_ms=[0, 40, 80, 120])
    write_media(tmp_path / "a.mkv", stamps_ms=[0, 40])
    (tmp_path / "notes.txt").write_text("not media")
    (tmp_path / ".hidden.mkv").write_text("neither")
    events = read([tmp_path])
    assert starts_ms(events, "video") == [0, 40, 80, 120, 160, 200]


def test_a_file_may_be_played_twice(tmp_path):
    one, _ = two(tmp_path)
    assert starts_ms(read([one, one]), "video") == [0, 40, 80, 200, 240, 280]


def test_a_broken_file_in_the_middle_is_told_once_and_left_out(tmp_path):
    one, other = two(tmp_path)
    broken = tmp_path / "broken.mp4"
    broken.write_text("no media at all")
    source = opened([one, broken, other])
    events = [event for _, event in source.events()]
    assert starts_ms(events, "video") == [0, 40, 80, 200, 240]
    assert [(event.reason, event.start_ns // MS) for event in events if isinstance(event, Dropped)] == [("bad_file", 200)]
    assert len(source.bad_files) == 1
    assert "broken.mp4: not a media file" in source.bad_files[0]


def test_a_file_that_goes_away_while_it_waits_is_told(tmp_path):
    one, other = two(tmp_path)
    source = opened([one, other])
    other.unlink()
    events = [event for _, event in source.events()]
    assert [event.reason for event in events if isinstance(event, Dropped)] == ["bad_file"]
    assert closed_ms(events) == {"video": 200, "audio": 200}
    assert "no such file" in source.bad_files[0]


def test_if_no_file_can_be_played_that_is_an_error(tmp_path):
    paths = [tmp_path / name for name in ("1.mp4", "2.mp4")]
    for path in paths:
        path.write_text("no media at all")
    with pytest.raises(SourceError, match=r"none of its 2 files can be played; the first: .*not a media file"):
        opened(paths)


def test_if_all_files_went_away_that_is_an_error(tmp_path):
    one, other = two(tmp_path)
    source = opened([one, other])
    one.unlink()
    other.unlink()
    with pytest.raises(SourceError, match="none of its 2 files could be played"):
        list(source.events())


@pytest.mark.parametrize(("make", "error", "words"), [
    (lambda folder: [], SourceError, "names no file"),
    (lambda folder: [folder], SourceError, "holds no media file"),
    (lambda folder: [folder / "gone"], DeviceNotFound, "no such file or folder"),
])  # fmt: skip
def test_nothing_to_play_is_told(tmp_path, make, error, words):
    with pytest.raises(error, match=words):
        opened(make(tmp_path))


def test_a_negative_gap_is_refused(tmp_path):
    with pytest.raises(ContractError):
        Playlist(paths=[tmp_path], gap_ms=-1)


def test_a_stream_that_a_file_lacks_promises_silence(tmp_path):
    first = write_media(tmp_path / "1.mkv", stamps_ms=range(0, 400, 40))
    second = write_media(tmp_path / "2.mkv", stamps_ms=range(0, 400, 40), sound=clicks(0.4, 16000, [0.1]))
    events = read([first, second])
    promised = [event.time_ns // MS for event in events if isinstance(event, Watermark) and event.stream == "audio"]
    assert promised[:10] == list(range(0, 400, 40))
    assert starts_ms(events, "audio")[0] == 400


def test_numbers_go_on_over_the_files(tmp_path):
    events = read(two(tmp_path))
    assert [event.seq for event in events if isinstance(event, Packet) and event.stream == "video"] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("known", [True, False])
def test_a_restart_finds_its_place_without_having_played_what_came_before(tmp_path, known):
    one, other = two(tmp_path)
    source = opened([one, other, one])
    whole = [event for _, event in source.events() if isinstance(event, Packet) and event.stream == "video"]
    again = source if known else opened([one, other, one])
    rest = [event for _, event in again.events(240 * MS) if isinstance(event, Packet) and event.stream == "video"]
    assert [packet.start_ns for packet in rest] == [packet.start_ns for packet in whole if packet.start_ns >= 240 * MS]


def test_the_end_is_the_sum_of_the_files(tmp_path):
    assert opened(two(tmp_path), gap_ms=50).end_ns() == 350 * MS


@pytest.mark.real
def test_a_reel_of_clips_takes_the_time_of_its_clips():
    folder = recording("grid_s1_dev")
    paths = sorted(folder.glob("*.mp4"))[:4]
    source = opened(paths, {"video": Wanted(pixels="gray", max_width=90), "audio": Wanted(rate_hz=8000)})
    closed = [event for _, event in source.events() if isinstance(event, Closed)]
    assert closed[0].time_ns == 4 * 3_008_000_000
    alone = MediaFile(path=paths[0])
    alone.open({})
    assert max(event.time_ns for _, event in alone.events() if isinstance(event, Closed)) == 3_008_000_000
