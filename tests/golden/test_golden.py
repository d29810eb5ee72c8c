"""The golden session, recorded once and committed: what it holds and what its replay decides never changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fakeplan import MS
from recordings import replay, story

from pipeline.session.audit import audit
from pipeline.session.compare import Digest, essence
from pipeline.session.read import Session

HERE = Path(__file__).parent
ALIGN = {"deadline_ns": 100 * MS, "revise_ns": 300 * MS}
EXPECTED = json.loads((HERE / "expected.json").read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(HERE / "session", tmp_path / "session"))


def test_its_files_are_those_that_were_recorded(folder: Path) -> None:
    assert {finding.state for finding in audit(Session.open(folder))} == {"whole"}


@pytest.mark.parametrize("start_ms", [0, 700, 1500, 2400])
def test_its_replay_makes_the_same_windows_and_decisions(folder: Path, start_ms: int) -> None:
    recorded = [decision for decision in Session.open(folder).decisions() if decision.start_ns >= start_ms * MS]
    again = replay(story(align=ALIGN), folder, start_ns=start_ms * MS)
    assert len(again) == len(recorded)
    for old, new in zip(recorded, again, strict=True):
        # Scores are compared to 12 digits: the last bit of an exponential may differ between processors.
        assert new.scores == pytest.approx(old.scores, rel=1e-12)
        assert {**essence(new), "scores": 0} == {**essence(old), "scores": 0}


def test_the_digest_of_its_windows_is_the_golden_one(folder: Path) -> None:
    digest = Digest()
    again = replay(story(align=ALIGN), folder)
    for decision in again:
        digest.add(decision)
    labels = "".join(decision.label[0] for decision in again)
    assert {"count": digest.count, "windows": digest.windows, "labels": labels} == EXPECTED
