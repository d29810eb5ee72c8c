"""Crops in the cache are used as long as what made them is the same."""

import sys

import numpy as np
import pytest

from pipeline.training import clips, drawn
from pipeline.training.cached import CROPS, code_digest, detector_digest, keep, kept
from pipeline.training.clips import Clip, load_clips
from pipeline.training.drawn import SCENES, DrawnScenes


def test_the_digest_is_of_the_source_and_of_nothing_else(tmp_path, monkeypatch):
    package = tmp_path / "painted"
    package.mkdir()
    for name in ("__init__.py", "face_one.py", "face_numbers.txt", "other.py"):
        (package / name).write_text(f"# {name}")
    monkeypatch.syspath_prepend(str(tmp_path))
    first = code_digest("painted/face*")
    assert first == code_digest("painted/face*")
    (package / "other.py").write_text("changed")
    (package / "face.pyc").write_text("compiled")
    assert code_digest("painted/face*") == first
    (package / "face_numbers.txt").write_text("changed")
    assert code_digest("painted/face*") != first
    del sys.modules["painted"]


def test_all_that_makes_a_crop_is_in_it():
    wanted = ["face", "face_detect", "face_builtin", "face_cascade", "face_track", "face_motion", "face_centerface", "video"]
    every = code_digest(*CROPS)
    for name in wanted:
        assert code_digest(f"operators/{name}.py") != code_digest("operators/none.py"), name
    assert code_digest(*CROPS[1:]) != every
    assert code_digest(*CROPS, *SCENES) != every


def test_a_detector_is_known_by_what_its_file_holds(tmp_path):
    assert detector_digest("builtin") == "builtin"
    (tmp_path / "yunet.onnx").write_bytes(b"one")
    first = detector_digest(str(tmp_path / "yunet.onnx"))
    (tmp_path / "yunet.onnx").write_bytes(b"two")
    assert detector_digest(str(tmp_path / "yunet.onnx")) != first


@pytest.fixture
def reads(monkeypatch):
    """The clips that were read from their files; they are empty ones."""
    seen = []

    def read(path, *, detector, wide, size):
        seen.append(path.name)
        words = clips.read_words(path.with_suffix(".align"))
        return Clip(name=path.stem, crops=np.zeros((2, wide, wide), np.uint8), found=np.ones(2, bool), sound=np.zeros(1280), words=words)

    monkeypatch.setattr(clips, "read_clip", read)
    return seen


def test_clips_are_read_again_when_the_code_that_crops_them_has_changed(tmp_path, reads, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"no film")
    (tmp_path / "a.align").write_text("0 25000 bin\n")

    def load():
        return [clip.name for clip in load_clips(tmp_path, detector="builtin", wide=8, size=6, cache=tmp_path / "cache")]

    assert load() == load() == ["a"]
    assert reads == ["a.mp4"]
    monkeypatch.setattr(clips, "code_digest", lambda *patterns: "another")
    load()
    assert reads == ["a.mp4"] * 2
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_scenes_are_drawn_again_when_the_code_that_draws_them_has_changed(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(DrawnScenes, "_drawn", lambda self, scene: made.append(scene) or {"crops": np.zeros(1)})
    for digest in ("one", "one", "two"):
        monkeypatch.setattr(drawn, "code_digest", lambda *patterns, digest=digest: digest)
        DrawnScenes(cache=tmp_path)._arrays(object(), 1)
    assert len(made) == 2


def test_what_is_kept_is_whole_and_leaves_nothing_beside_it(tmp_path):
    keep(tmp_path / "in" / "x.npz", {"a": np.arange(3)})
    keep(tmp_path / "in" / "x.npz", {"a": np.arange(4)})
    assert kept(tmp_path / "in" / "x.npz")["a"].tolist() == [0, 1, 2, 3]
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["x.npz"]
