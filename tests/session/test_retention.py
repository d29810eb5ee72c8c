"""What is too old or too much goes, oldest first, with a line for each; nothing else is touched."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from recordings import record, story

from pipeline.session.read import Session
from pipeline.session.retention import Retention

S = 1_000_000_000


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two sessions; every segment of the first is 1000 s old, of the second 10 s."""
    for name, written_s in (("old", 9_000), ("new", 9_990)):
        record(story(count=20), tmp_path / name, segment_ms=300)
        for path in (tmp_path / name).rglob("*.arrows"):
            os.utime(path, ns=(written_s * S, written_s * S))
    return tmp_path


def deleted(store: Path) -> list[dict[str, object]]:
    path = store / "deleted.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_without_a_bound_nothing_goes(store: Path) -> None:
    assert Retention(store=store).apply(store / "new", 10_000 * S) == []
    assert deleted(store) == []


def test_what_is_too_old_goes_and_a_session_of_which_nothing_is_left_goes_with_it(store: Path) -> None:
    gone = Retention(store=store, keep_ns=100 * S).apply(store / "new", 10_000 * S)
    assert gone
    assert all(path.is_relative_to(store / "old") for path in gone)
    assert not (store / "old").exists()
    lines = deleted(store)
    assert [line["why"] for line in lines] == ["older than 100 s"] * len(gone) + ["nothing was left of it"]
    assert Session.open(store / "new").event_segments()


def test_the_oldest_go_until_the_rest_fits(store: Path) -> None:
    sizes = {path: path.stat().st_size for path in (store / "new").rglob("*.arrows")}
    Retention(store=store, keep_bytes=sum(sizes.values())).apply(store / "new", 10_000 * S)
    assert not (store / "old").exists()
    assert all(path.exists() for path in sizes)


def test_the_session_being_recorded_keeps_its_frame_and_its_open_segments(store: Path) -> None:
    part = store / "new" / "events" / "0.0-000099.arrows.part"
    part.write_bytes(b"being written")
    Retention(store=store, keep_bytes=1).apply(store / "new", 10_000 * S)
    assert part.exists()
    assert (store / "new" / "manifest.json").exists()


def test_what_is_no_session_is_left_alone(store: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "elsewhere"
    record(story(count=10), outside)
    (store / "link").symlink_to(outside)
    (store / "notes" / "events").mkdir(parents=True)
    mine = store / "notes" / "events" / "0.0-000000.arrows"
    mine.write_bytes(b"mine")
    Retention(store=store, keep_bytes=1).apply(store / "new", 10_000 * S)
    assert mine.exists()
    assert Session.open(outside).event_segments()
