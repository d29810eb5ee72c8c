"""The synthetic scene: its truth is true, its sound and picture belong together, and its seed is all it depends on."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from operators.errors import ContractError
from operators.packet import Closed, Packet
from pipeline.scene.face import Face, Pose
from pipeline.scene.look import draw_look
from pipeline.scene.phones import PHONES, WORDS, say
from pipeline.scene.story import LABEL, plan_story, truth_of
from pipeline.scene.voice import RATE_HZ, draw_other_voice, draw_voice, synthesize
from pipeline.sources.file import MediaFile
from pipeline.sources.synthetic import Scene

DEMO = Path(__file__).resolve().parents[2] / "configs" / "demo"
SMALL = {"width": 160, "height": 120, "fps": 25.0}


def packets(scene, stream):
    return [event for _, event in scene.events() if isinstance(event, Packet) and event.stream == stream]


def loudness(scene, step_ns=20_000_000):
    return {packet.start_ns: float(np.sqrt(np.mean(packet.payload.data**2))) for packet in packets(scene, "audio")}


@pytest.mark.parametrize("seed", range(20))
def test_the_truth_tiles_the_scene_and_neighbours_differ(seed):
    truth = Scene(seconds=20, seed=seed).truth
    assert truth[0].start_ns == 0
    assert truth[-1].end_ns == 20_000_000_000
    assert all(before.end_ns == after.start_ns and before.label != after.label for before, after in pairwise(truth))


def test_every_label_has_its_share():
    time = Counter()
    for seed in range(20):
        for span in Scene(seconds=30, seed=seed).truth:
            time[span.label] += span.end_ns - span.start_ns
    assert set(time) == {"silent", "speaking", "voice-off"}
    assert all(0.2 < part / sum(time.values()) < 0.5 for part in time.values())


def test_voices_are_heard_when_the_truth_says_so_and_only_then():
    scene = Scene(seconds=12, seed=4, noise_db=40)
    spans = {label: [span for span in scene.truth if (span.label == "silent") == (label == "silent")] for label in ("silent", "voice")}
    by_time = loudness(scene)
    heard = {
        kind: [rms for start_ns, rms in by_time.items() if any(s.start_ns + 60e6 <= start_ns < s.end_ns - 80e6 for s in found)]
        for kind, found in spans.items()
    }
    assert np.median(heard["voice"]) > 10 * np.median(heard["silent"])
    assert max(heard["silent"]) < np.median(heard["voice"])


def test_the_same_seed_is_the_same_scene_and_another_is_not():
    one, same, other = (Scene(seconds=1, seed=seed, **SMALL) for seed in (7, 7, 8))
    bytes_of = [[p.payload.data.tobytes() for stream in ("video", "audio") for p in packets(s, stream)] for s in (one, same, other)]
    assert bytes_of[0] == bytes_of[1]
    assert bytes_of[0] != bytes_of[2]
    assert one.truth == same.truth


def test_looks_vary_with_the_seed():
    looks = [draw_look(np.random.default_rng(seed)) for seed in range(30)]
    assert len({look.skin for look in looks}) > 20
    assert {look.hair_style for look in looks} == {"short", "parted", "long", "bald"}
    assert max(look.height for look in looks) > 1.3 * min(look.height for look in looks)


def test_a_mouth_that_opens_shows_its_inside():
    rng = np.random.default_rng(5)
    face = Face(draw_look(rng), 320, 240, rng)
    closed, opened = (face.draw(Pose(opening=opening), 0).astype(int) for opening in (0.0, 0.9))
    changed = np.abs(closed - opened).max(axis=2) > 40
    rows, columns = np.nonzero(changed)
    assert 100 < changed.sum() < 0.05 * changed.size
    assert np.ptp(rows) < 70
    assert np.ptp(columns) < 70


@pytest.mark.parametrize("size", [(32, 32), (640, 360), (97, 131)])
def test_any_size_can_be_drawn(size):
    rng = np.random.default_rng(1)
    frame = Face(draw_look(rng), *size, rng).draw(Pose(opening=1, turn_deg=10, shift=(0.3, 0.2), size=1.2), 3)
    assert frame.shape == (size[1], size[0], 3)
    assert frame.dtype == np.uint8


def test_every_word_is_made_of_known_phones():
    assert all(name in PHONES for spelled in WORDS.values() for name in spelled.split())


def test_a_voice_is_as_long_as_what_it_says_and_loud_where_it_is_voiced():
    rng = np.random.default_rng(0)
    sounds = say(["summer", "morning", "paper"], rng)
    data = synthesize(sounds, draw_voice(rng), rng)
    assert abs(len(data) / RATE_HZ - sounds[-1].end_s) < 0.001
    rms = {}
    for sound in sounds:
        part = data[round(sound.start_s * RATE_HZ) : round(sound.end_s * RATE_HZ)]
        rms.setdefault(sound.phone, []).append(float(np.sqrt(np.mean(part**2))))
    assert np.mean(rms["ao"]) > 3 * np.mean(rms["p"])


@pytest.mark.parametrize("seed", range(10))
def test_the_voice_off_screen_is_somebody_elses(seed):
    rng = np.random.default_rng(seed)
    voice = draw_voice(rng)
    ratio = draw_other_voice(rng, voice).pitch_hz / voice.pitch_hz
    assert max(ratio, 1 / ratio) > 1.25


def test_only_who_speaks_in_the_picture_says_what_is_heard():
    for seed in range(20):
        for act in plan_story(30, np.random.default_rng(seed)):
            assert (act.seen == act.heard != ()) == (act.happening == "speaking")
            assert bool(act.heard) == (LABEL[act.happening] != "silent")
            assert bool(act.seen) == (act.happening in ("speaking", "chewing", "dubbed")) or act.end_ns == 30_000_000_000


def test_captions_can_be_left_out():
    assert packets(Scene(seconds=10, seed=1, captions=False, **SMALL), "text") == []
    assert packets(Scene(seconds=10, seed=1, **SMALL), "text") != []


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"fps": float("nan")}, {"width": 5}, {"seed": -1}, {"seconds": float("inf")}])
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ContractError):
        Scene(**wrong)


def test_truth_of_joins_what_is_labelled_alike():
    acts = plan_story(60, np.random.default_rng(3))
    assert len(truth_of(acts)) <= len(acts)


# --- the demo clip ----------------------------------------------------------------------------------------------------


def demo():
    source = MediaFile(path=DEMO / "scene.mp4")
    return source, {spec.name for spec in source.open({})}


def test_the_demo_clip_has_three_streams_and_is_small():
    assert demo()[1] == {"video", "audio", "text"}
    assert (DEMO / "scene.mp4").stat().st_size < 2_000_000


def test_the_demo_clips_truth_tiles_it_and_speech_is_where_it_says():
    source, _ = demo()
    truth = [json.loads(line) for line in (DEMO / "truth.jsonl").read_text().splitlines()]
    assert truth[0]["start_ms"] == 0
    assert all(before["end_ms"] == after["start_ms"] for before, after in pairwise(truth))
    assert {row["label"] for row in truth} == {"silent", "speaking", "voice-off"}
    heard = {"silent": [], "speaking": [], "voice-off": []}
    closed = {}
    for _, event in source.events():
        if isinstance(event, Packet) and event.stream == "audio":
            middle_ms = (event.start_ns + event.end_ns) / 2e6
            label = next(row["label"] for row in truth if middle_ms < row["end_ms"] or row is truth[-1])
            heard[label].append(float(np.sqrt(np.mean(event.payload.data**2))))
        elif isinstance(event, Closed):
            closed[event.stream] = event.time_ns // 1_000_000
    assert abs(closed["video"] - truth[-1]["end_ms"]) < 40
    assert np.median(heard["speaking"]) > 8 * np.median(heard["silent"])
    assert np.median(heard["voice-off"]) > 8 * np.median(heard["silent"])
