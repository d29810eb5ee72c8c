"""Caption files as people write them."""

import pytest

from operators.errors import DecodeError, SourceError
from pipeline.media.captions import MAX_BYTES, plain, read_captions

MS = 1_000_000


def cues(tmp_path, text, name="a.vtt", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    good, bad = read_captions(path)
    return [(cue.start_ns // MS, cue.end_ns // MS, cue.text) for cue in good], bad


def test_webvtt_with_names_settings_notes_and_styles(tmp_path):
    text = """WEBVTT - some title
Kind: captions

STYLE
::cue { color: red }

NOTE
00:00.000 --> 00:01.000 is not a cue here

intro
00:01.000 --> 00:02.500 align:start position:0%
<v Hildy>Good <b>morning</b> &amp; hello</v>
second line

01:00:00.000 --> 01:00:01.000
an hour later
"""
    found, bad = cues(tmp_path, text)
    assert found == [(1000, 2500, "Good morning & hello\nsecond line"), (3_600_000, 3_601_000, "an hour later")]
    assert bad == 0


def test_srt_with_byte_order_mark_crlf_and_commas(tmp_path):
    text = "\ufeff1\r\n00:00:01,000 --> 00:00:02,000\r\none\r\n\r\n2\r\n00:00:02,000 --> 00:00:03,5\r\n{\\an8}two\\Nlines\r\n\r\n"
    assert cues(tmp_path, text, "a.srt") == ([(1000, 2000, "one"), (2000, 3500, "two\nlines")], 0)


def test_cues_without_an_empty_line_between_them(tmp_path):
    text = "1\n00:01,000 --> 00:02,000\none\n2\n00:03,000 --> 00:04,000\ntwo\n"
    assert cues(tmp_path, text, "a.srt")[0] == [(1000, 2000, "one"), (3000, 4000, "two")]


def test_json_lines(tmp_path):
    text = '{"start_ms": 500, "end_ms": 900.5, "text": "a"}\n\n{"start_ms": 100, "text": "no end: until the next"}\n'
    assert cues(tmp_path, text, "a.jsonl") == ([(100, 100, "no end: until the next"), (500, 900, "a")], 0)


@pytest.mark.parametrize(
    "line",
    ["not json", "[]", '{"start_ms": -5, "text": "x"}', '{"start_ms": 9, "end_ms": 5, "text": "x"}', '{"start_ms": "9", "text": "x"}',
     '{"start_ms": 1, "text": 5}', '{"start_ms": 1e999, "text": "x"}', '{"start_ms": NaN, "text": "x"}', "[" * 100_000],
)  # fmt: skip
def test_a_bad_json_line_is_counted_and_the_next_is_read(tmp_path, line):
    assert cues(tmp_path, f'{line}\n{{"start_ms": 1, "text": "good"}}\n', "a.jsonl") == ([(1, 1, "good")], 1)


@pytest.mark.parametrize("times", ["00:05.000 --> 00:04.000", "five --> six", "00:01.000 -> 00:02.000", "00:01.000 -->"])
def test_a_bad_cue_is_counted_and_the_next_is_read(tmp_path, times):
    assert cues(tmp_path, f"WEBVTT\n\n{times}\nbad\n\n00:07.000 --> 00:08.000\ngood\n") == ([(7000, 8000, "good")], 1)


def test_cues_are_put_in_order(tmp_path):
    assert [start for start, _, _ in cues(tmp_path, "WEBVTT\n\n00:05.000 --> 00:09.000\nb\n\n00:01.000 --> 00:07.000\na\n")[0]] == [
        1000,
        5000,
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_other_encodings(tmp_path, encoding):
    assert cues(tmp_path, "WEBVTT\n\n00:01.000 --> 00:02.000\nGrüße 東京\n", encoding=encoding)[0] == [(1000, 2000, "Grüße 東京")]


def test_bytes_that_are_no_utf8_do_not_stop_the_reading(tmp_path):
    path = tmp_path / "a.srt"
    path.write_bytes(b"1\n00:00:01,000 --> 00:00:02,000\ncaf\xe9\n")
    assert read_captions(path)[0][0].text == "caf\ufffd"


def test_an_empty_webvtt_file_has_no_cues(tmp_path):
    assert cues(tmp_path, "WEBVTT\n") == ([], 0)


def test_a_file_without_any_caption_is_an_error(tmp_path):
    with pytest.raises(DecodeError, match="holds no caption"):
        cues(tmp_path, "just a letter to somebody\n", "a.srt")


def test_a_huge_file_is_refused(tmp_path):
    path = tmp_path / "a.srt"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(SourceError, match="more than 32 MiB"):
        read_captions(path)


def test_mathematics_is_no_markup():
    assert plain("1 < 2 and 3 > 2") == "1 < 2 and 3 > 2"
