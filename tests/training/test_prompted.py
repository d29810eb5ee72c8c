"""Readings from a prompt: which word follows it, which departs, and a tiny model that is trained on them from media files."""

import json

import numpy as np
import pytest
import torch
import yaml
from readings import SENTENCE, clip, write_readings

from operators.packet import Packet
from pipeline.cli import main
from pipeline.model import load_model
from pipeline.train import train
from pipeline.training import acts
from pipeline.training.prompted import GRAMMAR, PromptedScenes, Said, Script, altered, babble, replaced, truths
from pipeline.training.sound import RATE_HZ, level
from pipeline.training.timeline import Timeline


def said(text, start_s, end_s, *, prompt=SENTENCE, own=True):
    return Said(start_s=start_s, end_s=end_s, text=text, own=own, prompt=prompt)


def script(*words, seconds=3.0, prompts=((0.0, SENTENCE),)):
    line = Timeline()
    line.show(clip(frames=round(seconds * 25)), range(round(seconds * 25)), "read")
    return Script(line, list(prompts), list(words))


def spans(made):
    return [(span.label, span.also.get("word"), span.start_ns // 10_000_000, span.end_ns // 10_000_000) for span in made]


def test_a_word_that_the_prompt_holds_follows_and_any_other_departs():
    made = truths(script(said("bin", 0.5, 0.7), said("red", 0.7, 1.0)), 1.0, "altered")
    assert spans(made) == [("silent", "-", 0, 50), ("follows", "bin", 50, 70), ("departs", "red", 70, 100), ("silent", "-", 100, 300)]
    assert {span.condition for span in made} == {"altered"}


def test_a_short_pause_within_a_sentence_is_neither_silence_nor_speech():
    made = truths(script(said("bin", 0.5, 0.7), said("blue", 0.8, 1.0), said("at", 2.0, 2.2)), 1.0, "")
    assert spans(made)[1:5] == [
        ("follows", "bin", 50, 70),
        ("follows", "blue", 80, 100),
        ("silent", "-", 100, 200),
        ("follows", "at", 200, 220),
    ]


def test_another_voice_is_off_whatever_it_says_and_own_words_win_over_it():
    made = truths(script(said("bin", 0.5, 1.0, own=False), said("blue", 0.8, 1.2)), 1.0, "")
    assert spans(made)[1:3] == [("voice-off", None, 50, 80), ("follows", "blue", 80, 120)]


def test_what_is_said_just_before_another_prompt_is_not_known():
    prompts = ((0.0, SENTENCE), (2.0, ("lay",)))
    made = truths(script(said("bin", 1.0, 1.5), said("lay", 2.5, 2.6, prompt=("lay",)), prompts=prompts), 1.0, "")
    assert spans(made)[1:4] == [("follows", "bin", 100, 130), ("silent", "-", 150, 250), ("follows", "lay", 250, 260)]


def test_a_faster_playback_moves_the_truth():
    made = truths(script(said("bin", 1.0, 1.5)), 2.0, "")
    assert spans(made) == [("silent", "-", 0, 50), ("follows", "bin", 50, 75), ("silent", "-", 75, 150)]


def test_a_replaced_word_is_another_one_of_the_same_kind():
    rng = np.random.default_rng(0)
    for place, kind in enumerate(GRAMMAR):
        made = replaced(SENTENCE, place, rng)
        assert [n for n in range(6) if made[n] != SENTENCE[n]] == [place]
        assert made[place] in kind


def test_every_place_is_altered_about_as_often_so_that_sound_and_picture_tell_nothing():
    rng, cast = np.random.default_rng(0), acts.Cast(clips=[clip()], voices=[])
    prompts = [altered(SENTENCE, cast, rng) for _ in range(3000)]
    gone = np.array([[word not in prompt for word in SENTENCE] for prompt in prompts]).mean(0)
    assert gone == pytest.approx(gone.mean(), abs=0.03)
    assert 0.3 < np.mean([prompt == SENTENCE for prompt in prompts]) < 0.5


def test_babble_is_as_many_voices_as_it_says_equally_loud_and_never_pauses():
    rng = np.random.default_rng(0)
    one, four = (babble([clip() for _ in range(8)], voices, 4 * RATE_HZ, rng) for voices in (1, 4))
    assert level(one) == pytest.approx(1.0, abs=1e-3)
    assert level(four) == pytest.approx(2.0, abs=0.5)
    assert min(level(part) for part in np.split(four, 40)) > 0.5


CONFIG = """
model:
  name: tiny
  labels: [silent, follows, departs, voice-off]
  window: {length_ms: 800, hop_ms: 80, lag_ms: 320}
  inputs:
    video: {kind: video, transforms: [{use: "operators.face:FaceCrop", region: mouth, size: 16}], steps: 10, hold_ms: 120, shape: [16, 16],
            dtype: uint8, encoder: {use: "operators.encoders:FrameCNN", dim: 8, width: 4}}
    audio: {kind: audio, wanted: {rate_hz: 16000, channels: 1}, transforms: [{use: "operators.audio:LogMel", block_ms: 80, bands: 16}],
            steps: 10, shape: [8, 16], dtype: float32, encoder: {use: "operators.encoders:LogMelCNN", dim: 8, width: 8}}
    text: {kind: text, transforms: [{use: "operators.text:KnownWords", length: 6, words: WORDS}], take: state, shape: [6], dtype: int64,
           encoder: {use: "operators.encoders:WordRow", dim: DIM}}
  head: {use: "operators.fusion.prompt:PromptHead", width: 16, words: 6, blocks: 1, lags: 1}
  also: {word: WORDS}
data: [{use: "pipeline.training.prompted:PromptedScenes", folder: clips, babble: babble.wav, size: 16, wide: 16}]
out: tiny
loop: {epochs: 2, steps: 3, batch: 2, windows: 4, every_hop: true, threads: 1, losses: [{kind: cross_entropy}, {kind: also, of: word}],
       augment: {video: {gone: 0.2}, audio: {gone: 0.2}}}
card: Tiny.
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Six clips without a face, but with a sound for each word; trained for a few steps."""
    folder = tmp_path_factory.mktemp("prompted")
    write_readings(folder)
    words = ["-", *(word for kind in GRAMMAR for word in kind)]
    config = folder / "train.yaml"
    config.write_text(CONFIG.replace("WORDS", json.dumps(words)).replace("DIM", str(6 * (len(words) + 1))))
    threads = torch.get_num_threads()
    yield train(config, progress=False), config
    torch.set_num_threads(threads)


def test_a_tiny_model_learns_from_media_and_says_words_beside_labels(trained):
    model = load_model(trained[0])
    assert model.spec.outputs == 4 + 52
    metrics = model.metrics()
    assert set(metrics["test"]["answered"]) == {
        "all",
        "video alone",
        "audio alone",
        "text alone",
        "without video",
        "without audio",
        "without text",
    }
    assert all(0 <= part["word"] <= 1 for part in metrics["test"]["answered"].values())
    assert metrics["parity"]["worst"] < 1e-5


def test_a_run_of_it_tells_the_word_in_every_decision(trained, tmp_path, capsys):
    folder, config = trained
    content = {
        "model": str(folder),
        "sources": {"media": {"use": "pipeline.sources.file:MediaFile", "path": str(next(config.parent.glob("clips/*.mp4")))}},
        "inputs": {"video": "media.video", "audio": "media.audio"},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    assert (
        main(["run", str(tmp_path / "run.yaml"), "--runner", "inline", "--speed", "max", "--plain", "--out", str(tmp_path / "out.jsonl")])
        == 0
    )
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    words = load_model(folder).spec.also["word"]
    assert len(rows) > 30
    assert all(row["also"]["word"] in words and len(row["scores"]) == 4 for row in rows)
    assert f"word:{rows[0]['also']['word']} " in capsys.readouterr().out


def test_a_reading_is_the_same_at_every_call_and_shows_its_prompt(trained):
    scenes = PromptedScenes(folder=trained[1].parent / "clips", babble=trained[1].parent / "babble.wav", size=16, wide=16)
    chosen = scenes.casts["test"].clips[0]
    first, again = (scenes.reading("test", chosen, "altered", place=1, snr_db=0.0) for _ in range(2))
    shown = [event.payload.text.split() for _, event in first.events["text"] if isinstance(event, Packet)]
    assert len(shown) == 1
    assert [n for n, word in enumerate(chosen.words) if shown[0][n] != word.text] == [1]
    assert [span.label for span in first.truth if span.also["word"] != "-"] == ["follows", "departs", *["follows"] * 4]
    sounds = [[event.payload.data for _, event in made.events["audio"] if isinstance(event, Packet)] for made in (first, again)]
    assert all(np.array_equal(a, b) for a, b in zip(*sounds, strict=True))
    dubbed = scenes.reading("test", chosen, "dubbed")
    assert {span.label for span in dubbed.truth} <= {"silent", "voice-off"}
