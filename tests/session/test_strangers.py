"""A session from anybody: nothing in it is run, nothing outside of it is read or written, and it is refused in one line."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from recordings import record, replay, story

from operators.errors import ContractError, NotASession, SessionError, UnsupportedVersion
from pipeline.cli import main
from pipeline.session.audit import audit
from pipeline.session.layout import segments, stream_folders
from pipeline.session.manifest import read_manifest, redacted
from pipeline.session.read import Session
from pipeline.session.recover import recover

CANARY = "import pathlib; pathlib.Path(__file__).with_name('canary').write_text('run')\nclass Thing:\n    pass\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return record(story(count=20), tmp_path / "s")[0].folder


def change(folder: Path, **values: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_config_that_asks_for_code_from_inside_the_session_is_never_imported(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "evil.py").write_text(CANARY)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    use = {"use": "evil:Thing"}
    change(folder, config={"sources": {"cam": use}, "sinks": [use], "transforms": {"cam": [use]}, "model": "./evil"})
    for words in (["sessions", "show", str(folder)], ["sessions", "verify", str(folder)], ["replay", str(folder), "--verify"]):
        main(words)
    assert len(replay(story(count=20), folder)) == 10
    assert not (folder / "canary").exists()
    assert "evil" not in sys.modules
    assert "was recorded with fake@" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        ({"version": 99}, UnsupportedVersion, "is of version 99; this Sensorium reads up to 1"),
        ({"format": "zip"}, NotASession, "not that of a recorded session"),
        ({"plan": "../../x"}, SessionError, "damaged: plan"),
        ({"hold": 1 << 70}, SessionError, "damaged: hold"),
        ({"deadline_ms": -1}, SessionError, "damaged: deadline_ms"),
        ({"more": 1}, SessionError, "damaged: more"),
        ({"model": {"name": "x", "digest": "0" * 64, "windows": "", "folder": "/" * 5000}}, SessionError, "damaged: model.folder"),
    ],
)
def test_a_manifest_that_says_what_it_may_not_is_refused(folder: Path, values: dict[str, Any], kind: type[Exception], words: str) -> None:
    change(folder, **values)
    with pytest.raises(kind, match=words):
        Session.open(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_manifest_that_is_none_is_refused(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(SessionError):
        Session.open(folder)


def test_a_manifest_of_endless_size_is_not_read(folder: Path) -> None:
    with (folder / "manifest.json").open("ab") as file:
        file.truncate(1 << 30)
    with pytest.raises(SessionError, match="larger than 4 MiB"):
        read_manifest(folder)


def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "0.0-000009.arrows").write_bytes(b"secret")
    (folder / "events" / "0.0-000009.arrows").symlink_to(secret / "0.0-000009.arrows")
    (folder / "streams" / "evil.cam").symlink_to(secret)
    assert [segment.name.number for segment in segments(folder / "events")] == [0]
    assert "evil.cam" not in stream_folders(folder)
    (folder / "manifest.json").rename(secret / "manifest.json")
    (folder / "manifest.json").symlink_to(secret / "manifest.json")
    with pytest.raises(NotASession):
        Session.open(folder)


@pytest.mark.parametrize("path", ["../../outside", "/etc/passwd", "events/../../../outside"])
def test_a_line_that_names_a_path_outside_of_the_session_is_never_opened(folder: Path, tmp_path: Path, path: str) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    line = {"file": path, "start_ns": 0, "end_ns": 1, "rows": 1, "bytes": 4, "sha256": "0" * 64}
    with (folder / "segments.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    findings = {finding.file: finding.state for finding in audit(Session.open(folder))}
    assert findings[path] == "missing"
    recover(folder)
    assert outside.read_text() == "mine"


def test_a_header_that_claims_more_than_the_file_holds_costs_nothing(folder: Path) -> None:
    path = segments(folder / "events")[0].path
    content = bytearray(path.read_bytes())
    for place in range(0, 2000, 4):  # every length and count of the first headers, one after another
        huge = bytearray(content)
        huge[place : place + 4] = struct.pack("<I", 0x7FFFFFFF)
        path.write_bytes(huge)
        list(Session.open(folder).event_rows(segments(folder / "events")[0]))


def test_a_state_that_fits_no_aligner_is_refused(folder: Path) -> None:
    other = story(count=20)
    other.align = other.model.align_config(mode="deadline", deadline_ns=1)
    other.align = type(other.align)(**{**{name: getattr(other.align, name) for name in other.align.__slots__}, "hop_ns": 7})
    with pytest.raises(ContractError, match="does not fit"):
        replay(other, folder)


def test_secrets_do_not_reach_the_manifest() -> None:
    config = {
        "sources": {"cam": {"path": "rtsp://me:hunter2@cam/1?token=abc", "password": "hunter2", "tokens": 5}},
        "sinks": [{"api_key": "hunter2", "url": "https://x/?secret=hunter2"}],
    }
    kept = redacted(config)
    assert "hunter2" not in json.dumps(kept)
    assert "abc" not in json.dumps(kept)
    assert kept["sources"]["cam"]["tokens"] == 5


def test_what_is_no_session_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["replay", "x"], ["sessions", "show", "x"], ["sessions", "verify", "x"], ["sessions", "recover", "x"]):
        assert main([*words[:-1], str(tmp_path)]) == 5
        assert capsys.readouterr().err == f"sensorium: {tmp_path}: holds no manifest.json; name the folder of one recorded session\n"
