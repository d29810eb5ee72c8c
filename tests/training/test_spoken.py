"""Words whose boundaries are known: what the cue says of every moment, and a tiny model that is trained to name them."""

import json

import numpy as np
import pytest
import torch
from readings import write_readings

from operators.packet import Packet
from pipeline.model import load_model
from pipeline.train import train
from pipeline.training.prompted import GRAMMAR
from pipeline.training.spoken import SpokenWords, cues

MS = 1_000_000


def told(spans_ms, end_ms):
    events = cues([(start * MS, end * MS) for start, end in spans_ms], end_ms * MS)
    return {event.start_ns // MS: event.payload.values.round(3).tolist() for _, event in events if isinstance(event, Packet)}


def test_inside_a_word_the_cue_counts_from_its_start_and_to_its_end():
    assert told([(40, 160)], 200) == {0: [0, 0, 0], 40: [1, 0.02, 0.1], 80: [1, 0.06, 0.06], 120: [1, 0.1, 0.02], 160: [0, 0, 0]}


def test_a_step_that_a_word_begins_in_is_partly_inside():
    assert told([(30, 80)], 80) == {0: [0.25, -0.01, 0.06], 40: [1, 0.03, 0.02]}


def test_of_two_words_in_one_step_the_longer_part_counts():
    assert told([(0, 50), (50, 120)], 120)[40] == [0.75, 0.01, 0.06]


def test_without_a_word_there_is_still_a_reading_every_40_ms_until_the_end():
    assert told([], 100) == {0: [0, 0, 0], 40: [0, 0, 0], 80: [0, 0, 0]}


CONFIG = """
model:
  name: tiny
  labels: WORDS
  window: {length_ms: 800, hop_ms: 80, lag_ms: 320}
  inputs:
    video: {kind: video, transforms: [{use: "operators.face:FaceCrop", region: mouth, size: 16}], steps: 10, hold_ms: 120, shape: [16, 16],
            dtype: uint8, encoder: {use: "operators.encoders:FrameCNN", dim: 8, width: 4}}
    audio: {kind: audio, wanted: {rate_hz: 16000, channels: 1}, transforms: [{use: "operators.audio:LogMel", block_ms: 80, bands: 16}],
            steps: 10, shape: [8, 16], dtype: float32, encoder: {use: "operators.encoders:LogMelCNN", dim: 8, width: 8}}
    cue: {kind: series, steps: 10, shape: [3], dtype: float64, encoder: {use: "operators.encoders:SeriesMLP", dim: 4}}
  head: {use: "operators.fusion.cued:CuedHead", cue: cue, width: 8, joint: 16}
data: [{use: "pipeline.training.spoken:SpokenWords", folder: clips, babble: babble.wav, size: 16, wide: 16}]
out: tiny
loop: {epochs: 1, steps: 3, batch: 2, windows: 4, every_hop: true, threads: 1, augment: {audio: {gone: 0.2}}}
card: Tiny.
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("spoken")
    write_readings(made)
    return made


def test_a_tiny_model_is_trained_to_name_words_from_media(folder):
    words = sorted({word for kind in GRAMMAR for word in kind})
    (folder / "train.yaml").write_text(CONFIG.replace("WORDS", json.dumps(words)))
    threads = torch.get_num_threads()
    model = load_model(train(folder / "train.yaml", progress=False))
    torch.set_num_threads(threads)
    assert list(model.spec.labels) == words
    assert model.metrics()["parity"]["worst"] < 1e-5
    assert {"all", "audio alone", "without cue"} <= set(model.metrics()["test"]["by_presence"])


def test_a_reading_is_labelled_with_its_words_at_every_level_of_noise(folder):
    scenes = SpokenWords(folder=folder / "clips", babble=folder / "babble.wav", size=16, wide=16)
    chosen = scenes.casts["test"].clips[0]
    clean, noisy = (scenes.spoken("test", chosen, snr_db=level) for level in (None, -5.0))
    for made in (clean, noisy):
        assert [span.label for span in made.truth] == [word.text for word in chosen.words]
        assert set(made.events) == {"video", "audio", "cue"}
    sounds = [np.concatenate([e.payload.data[0] for _, e in made.events["audio"] if isinstance(e, Packet)]) for made in (clean, noisy)]
    assert np.abs(sounds[1] - sounds[0]).mean() > 0.01


def test_every_clip_is_validated_on_without_noise_and_in_some(folder):
    scenes = SpokenWords(folder=folder / "clips", babble=folder / "babble.wav", size=16, wide=16)
    made = list(scenes.sessions("validation", np.random.default_rng(0)))
    assert len(made) == 2 * len(scenes.casts["validation"].clips) == 4


def test_a_session_of_training_has_three_readings(folder):
    scenes = SpokenWords(folder=folder / "clips", babble=folder / "babble.wav", size=16, wide=16)
    drawn = next(scenes.sessions("train", np.random.default_rng(0)))
    assert len(drawn.truth) == 18
    assert all(before.end_ns <= after.start_ns for before, after in zip(drawn.truth, drawn.truth[1:], strict=False))
