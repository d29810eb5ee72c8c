"""Recorded sessions with labels are trained on through the same aligner, with the stamps and the lateness that they had."""

from __future__ import annotations

import textwrap
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from exchange import LABELS, MS, numbers, record_raw, small_media
from tiny_model import tiny_spec

from operators.errors import ContractError, SourceError
from operators.packet import Packet
from pipeline.model import Model, load_model, parse_spec
from pipeline.session.importing.media import import_media
from pipeline.session.labels import Label, write_labels
from pipeline.session.layout import MANIFEST
from pipeline.session.manifest import RecordedInput, read_manifest, write_manifest
from pipeline.train import train
from pipeline.training.recorded import RecordedSessions
from pipeline.training.segment import Cutter
from pipeline.training.transforms import chains

SPEC = parse_spec(tiny_spec(["video", "audio", "text"]), "tiny")
RNG = np.random.default_rng(0)


def store(folder: Path, *names: str, labels=LABELS, **media) -> Path:
    """Imported files, the pictures as large as the model wants them, labelled by people."""
    for name in names:
        path = small_media(folder / "from", f"{name}.mkv", **{"width": 16, "height": 16, "codec": "libx264", **media})
        write_labels(import_media(path, folder / "store"), "people", labels)
    return folder / "store"


def dataset(folder: Path, **options) -> RecordedSessions:
    values = {"labels": "people", "validation": ["val*"], "test": ["test*"], "spec": SPEC, **options}
    return RecordedSessions(folder=folder, **values)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return store(tmp_path_factory.mktemp("train"), "a", "b", "val", "test")


def test_windows_are_cut_from_recorded_sessions_and_labelled(folder):
    (session,) = dataset(folder).sessions("validation", RNG)
    cutter = Cutter(Model(folder, SPEC, ""), chains(SPEC, "tiny", folder))
    segment = cutter.cut(session)
    names = [SPEC.labels[index] if index >= 0 else None for index in segment.label]
    # 13 hops of 80 ms; labels end at 800 ms.
    assert names == ["speaking"] * 5 + ["silent"] * 5 + [None] * 3
    assert segment.packets["video"].shape == (25, 16, 16)
    assert len(segment.packets["text"]) == 2


def test_training_sessions_are_stretches_of_those_that_no_other_split_has(folder):
    drawn = list(islice(dataset(folder, seconds=0.5).sessions("train", RNG), 20))
    assert {session.name.partition("-")[0] for session in drawn} == {"a", "b"}
    ends = [max(span.end_ns for span in session.truth) for session in drawn]
    assert max(ends) <= 500 * MS


def test_recorded_lateness_is_the_due_time_of_an_event(tmp_path):
    spec = parse_spec(tiny_spec(["imu"]), "tiny")
    folder = store(tmp_path, "a", "val", "test")
    for path in folder.iterdir():
        record_raw(path, "imu", [numbers(index) for index in range(20)])
        (path / MANIFEST).chmod(0o600)
        fed = {"motion": RecordedInput(kind="series", stream="imu.motion")}  # the only one of its kind: it feeds the input "imu"
        write_manifest(path, read_manifest(path).model_copy(update={"inputs": fed}))
    (session,) = dataset(folder, spec=spec).sessions("test", RNG)
    packets = [(due_ns, event) for due_ns, event in session.events["imu"] if isinstance(event, Packet)]
    assert [(event.start_ns, due_ns - event.end_ns) for due_ns, event in packets] == [(index * 20 * MS, 3 * MS) for index in range(20)]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"labels": "others"}, "holds no session with labels 'others'; sensorium sessions label adds them"),
        ({"validation": ["nobody*"]}, "no session is for validation; the labelled ones are a-"),
        ({"train": ["*"]}, "is in two splits"),
        ({"validation": ["*"]}, "no session is for train"),
    ],
)
def test_splits_that_cannot_be_are_told_in_a_line(folder, options, line):
    with pytest.raises(ContractError, match=line):
        dataset(folder, **options)


def test_labels_that_overlap_or_that_the_model_has_not_are_refused(tmp_path):
    both = (Label(start_ns=0, end_ns=500 * MS, label="silent"), Label(start_ns=400 * MS, end_ns=800 * MS, label="speaking"))
    with pytest.raises(SourceError, match=r"has labels that overlap at 0\.400 s"):
        next(dataset(store(tmp_path / "x", "a", "val", "test", labels=both)).sessions("train", RNG))
    other = (Label(start_ns=0, end_ns=500 * MS, label="singing"),)
    with pytest.raises(SourceError, match="names the label 'singing'; the model has silent, speaking, voice-off"):
        next(dataset(store(tmp_path / "y", "a", "val", "test", labels=other)).sessions("train", RNG))


CONFIG = """
model:
  name: tiny
  labels: [silent, speaking]
  window: {length_ms: 160, hop_ms: 80, lag_ms: 40}
  inputs:
    text:
      kind: text
      transforms: [{use: "operators.text:Clean"}, {use: "operators.text:HashTokens", length: 8, buckets: 64}]
      take: state
      ttl_ms: 10000
      shape: [8]
      dtype: int64
      encoder: {use: "operators.encoders:TokenBag", dim: 8, buckets: 64}
  head: {use: "operators.fusion.concat:ConcatHead", width: 8}
data:
  - {use: "pipeline.training.recorded:RecordedSessions", folder: store, labels: people, validation: ["val*"], test: ["test*"], seconds: 0.9}
out: made
loop: {epochs: 1, steps: 1, batch: 1, windows: 4, threads: 1, deadline_share: 0}
card: Tiny.
"""


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_one_epoch_is_trained_on_recorded_sessions(tmp_path, threads):
    store(tmp_path, "a", "val", "test")
    config = tmp_path / "train.yaml"
    config.write_text(textwrap.dedent(CONFIG))
    made = load_model(train(config, progress=False))
    assert list(made.spec.labels) == ["silent", "speaking"]
