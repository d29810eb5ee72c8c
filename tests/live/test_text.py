"""Lines, the box and the token, without any device."""

import os
import stat
import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.errors import ContractError, SourceError
from pipeline.live.captured import Captured, Lost
from pipeline.live.text import Lines, TextBox, TextFeed
from pipeline.live.token import bearer, is_token, read_token


def told(items):
    return [item.payload.text if isinstance(item, Captured) else item.reason for item in items]


@given(st.lists(st.text(alphabet="abcä \r", max_size=12), max_size=8), st.data())
def test_lines_do_not_depend_on_how_the_bytes_are_cut(texts, data):
    whole = "\n".join([*texts, ""]).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    edges = [0, *cuts, len(whole)]

    def heard(pieces):
        lines = Lines(lambda: 0, 8)
        return told(item for piece in pieces for item in lines.feed(piece))

    assert heard(whole[a:b] for a, b in pairwise(edges)) == heard([whole])


def test_a_line_without_end_takes_no_room():
    lines = Lines(lambda: 0, 100)
    for _ in range(1000):
        assert list(lines.feed(b"x" * 1000)) == []
        assert len(lines._open) <= 101
    assert told(lines.feed(b"\nnext\n")) == ["oversize", "next"]


def test_a_full_box_loses_the_oldest_and_says_so():
    box = TextBox(lambda: 0, 100, max_waiting=3)
    for n in range(5):
        box.put(b"%d" % n)
    assert sorted(told(box.take())) == ["2", "3", "4", "capture_overflow"]
    assert box.take() == []


def test_refusals_by_the_thousand_take_no_room():
    box = TextBox(lambda: 0, 100)
    for _ in range(5000):
        box.put(b"\xff")
    assert box.take() == [Lost(stream="text", reason="bad_utf8", count=5000)]


def test_whoever_waits_is_woken():
    box, got = TextBox(lambda: 0, 100), []
    reader = threading.Thread(target=lambda: [got.extend(box.take()) for _ in range(100) if not got])
    reader.start()
    box.put(b"hello")
    reader.join(5)
    assert told(got) == ["hello"]


@pytest.mark.parametrize("wrong", [0, 1 << 30])
def test_a_limit_that_is_none_is_refused(wrong):
    with pytest.raises(ContractError, match="max_bytes"):
        TextFeed("me", max_bytes=wrong)


def test_a_token_is_made_once_for_its_owner_only(tmp_path):
    path = tmp_path / "state" / "token"
    token = read_token("me", path)
    assert len(token) >= 32
    assert read_token("me", path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["token"]


def test_a_token_that_others_can_read_is_refused_without_saying_it(tmp_path):
    path = tmp_path / "token"
    path.write_text("a-token-for-tests-only")
    path.chmod(0o644)
    with pytest.raises(SourceError, match="chmod 600") as refused:
        read_token("me", path)
    assert "for-tests" not in str(refused.value)


def test_a_short_token_is_refused(tmp_path):
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text("abc")
    with pytest.raises(SourceError, match="16 characters"):
        read_token("me", path)


def test_only_the_token_is_the_token():
    assert is_token("a-token-for-tests-only", "a-token-for-tests-only")
    assert not any(is_token(given, "a-token-for-tests-only") for given in (None, "", "a-token", "ä"))
    assert [bearer(header) for header in (None, "", "Bearer", "Bearer ", "Basic x", "bearer x")] == [None, None, None, None, None, "x"]
