"""Looks into recordings over HTTP: by name only, exact in time, whatever state they are in."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from guarded import Guarded

from pipeline.api.shelf import Near, Shelf
from pipeline.session.frames import frames
from pipeline.session.importing.media import import_media
from pipeline.session.read import Session

MS, S = 1_000_000, 1_000_000_000
SCENE = Path(__file__).parents[2] / "configs" / "demo" / "scene.mp4"


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A recording with pictures, sound and text."""
    return import_media(SCENE, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory, scene):
    made = Guarded(tmp_path_factory.mktemp("api"), per_minute=1_000_000)
    shutil.copytree(scene, made.house.recordings / "scene")
    return made


def get(guarded, path):
    answer = guarded.ask("GET", f"/api/recordings{path}")
    assert answer.status == 200, answer.body
    return answer.json()


def test_the_list_says_what_each_recording_is(guarded):
    found = {recording["name"]: recording for recording in get(guarded, "")}
    assert set(found) == {"scene", "story"}
    scene, story = found["scene"], found["story"]
    assert (scene["state"], scene["streams"]) == ("complete", {"file.audio": "audio", "file.text": "text", "file.video": "video"})
    assert scene["length_ns"] == Session.open(guarded.house.recordings / "scene").end_ns()
    assert scene["bytes"] == sum(path.stat().st_size for path in (guarded.house.recordings / "scene").rglob("*") if path.is_file())
    assert (story["session"], story["model"]) == ("story", f"fake@{'f' * 12}")
    assert get(guarded, "/story") == story


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../recordings/story",
        "%2e%2e",
        "..%2frecordings%2fstory",
        "story%2f..%2fstory",
        "/etc",
        "%00",
        "nobody",
        "story\0",
        ".",
        "*",
        "st?ry",
    ],
)
@pytest.mark.parametrize("rest", ["", "/decisions", "/picture?at_ns=0", "/level?from_ns=0&to_ns=1", "/text"])
def test_a_name_leads_nowhere_but_to_the_recording_of_that_name(guarded, name, rest):
    answer = guarded.ask("GET", f"/api/recordings/{name}{rest}")
    assert answer.status == 404
    assert b"root" not in answer.body


def test_a_link_in_the_folder_is_no_recording(tmp_path, scene):
    guarded = Guarded(tmp_path)
    os.symlink(scene, guarded.house.recordings / "link")
    assert [recording["name"] for recording in get(guarded, "")] == ["story"]
    assert guarded.ask("GET", "/api/recordings/link").status == 404


def test_a_purge_or_a_replay_of_what_is_not_there_is_not_even_asked_for(tmp_path):
    guarded = Guarded(tmp_path)
    for name in ("nobody", "..", "..%2fstory"):
        assert guarded.ask("DELETE", f"/api/recordings/{name}").status == 404
        assert guarded.json("POST", f"/api/recordings/{name}/replay", b"{}").status in (404, 405)
    assert guarded.asked == []


def test_a_damaged_recording_is_listed_as_such_and_hides_no_other(tmp_path):
    guarded = Guarded(tmp_path)
    for name, content in (("half", '{"format": '), ("newer", '{"format": "sensorium-session", "version": 99}')):
        (guarded.house.recordings / name).mkdir()
        (guarded.house.recordings / name / "manifest.json").write_text(content)
    found = {recording["name"]: (recording["state"], recording["problem"]) for recording in get(guarded, "")}
    assert found["half"] == ("damaged", "its manifest.json is damaged: not JSON; the logs beside it can still be read")
    assert "use a newer one" in found["newer"][1]
    assert found["story"] == ("complete", "")
    assert guarded.ask("GET", "/api/recordings/half/decisions").status == 409


def test_without_a_folder_there_are_no_recordings(tmp_path):
    assert Shelf(tmp_path / "nowhere").names() == []


# -- what is in one


def test_the_decisions_of_a_span_are_those_that_touch_it(guarded):
    every = get(guarded, "/story/decisions")["decisions"]
    assert every == [decision.to_json() for decision in Session.open(guarded.house.recordings / "story").decisions()]
    assert len(every) > 20
    from_ns, to_ns = every[5]["start_ns"] + 1, every[9]["start_ns"]
    touching = [decision for decision in every if decision["end_ns"] > from_ns and decision["start_ns"] < to_ns]
    assert len(touching) < len(every)
    assert every[5] in touching
    assert every[9] not in touching
    assert get(guarded, f"/story/decisions?from_ns={from_ns}&to_ns={to_ns}")["decisions"] == touching
    assert get(guarded, "/story/decisions?limit=2")["decisions"] == every[:2]


def picture(guarded, at_ns):
    answer = guarded.ask("GET", f"/api/recordings/scene/picture?at_ns={at_ns}")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
    return int(answer.headers["x-at-ns"]), cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize("at_ns", [0, 5 * S, 5 * S + 30 * MS, 20 * S - 1, 20 * S])
def test_a_picture_is_the_newest_that_had_begun_at_that_time(guarded, scene, at_ns):
    session = Session.open(scene)
    expected = list(frames(session, "file.video", max(0, at_ns - S), at_ns + 1))[-1]
    start_ns, shown = picture(guarded, at_ns)
    assert start_ns == expected.start_ns <= at_ns
    exact = cv2.cvtColor(expected.payload.data, cv2.COLOR_RGB2BGR)
    assert shown.shape == exact.shape
    assert np.abs(shown.astype(int) - exact).mean() < 4, "the same picture, but for the JPEG"


def test_where_no_picture_was_there_is_none(guarded):
    assert guarded.ask("GET", f"/api/recordings/scene/picture?at_ns={10**15}").status == 204
    assert guarded.ask("GET", "/api/recordings/scene/picture?at_ns=-1").status == 422
    assert guarded.ask("GET", "/api/recordings/scene/picture?at_ns=0&stream=file.audio").status == 404
    answer = guarded.ask("GET", "/api/recordings/story/picture?at_ns=0")
    assert (answer.status, answer.json()) == (404, {"error": "no video was recorded"})


def test_a_damaged_medium_costs_its_pictures_and_no_more(guarded, scene, tmp_path):
    broken = Guarded(tmp_path)
    folder = broken.house.recordings / "broken"
    shutil.copytree(scene, folder)
    for path in (folder / "streams" / "file.video").glob("*.mkv"):
        path.write_bytes(path.read_bytes()[:200])
    answer = broken.ask("GET", f"/api/recordings/broken/picture?at_ns={5 * S}")
    assert (answer.status, answer.json()) == (404, {"error": "the picture at that time is damaged"})
    assert len(get(broken, f"/broken/level?from_ns=0&to_ns={S}")["levels"]) == 20


def test_levels_are_those_of_the_sound(guarded, scene):
    from pipeline.session.frames import sound

    asked = get(guarded, f"/scene/level?from_ns={2 * S}&to_ns={4 * S}")
    assert asked["stream"] == "file.audio"
    assert [point["at_ns"] for point in asked["levels"]] == list(range(2 * S, 4 * S, 50 * MS))
    samples = np.concatenate([packet.payload.data.mean(0) for packet in sound(Session.open(scene), "file.audio", 2 * S, 4 * S)])
    rms_db = 10 * np.log10(np.mean(np.square(samples)))
    told = 10 * np.log10(np.mean([10 ** (point["rms_db"] / 10) for point in asked["levels"]]))
    assert told == pytest.approx(rms_db, abs=0.2)
    assert max(point["peak_db"] for point in asked["levels"]) == pytest.approx(20 * np.log10(np.abs(samples).max()), abs=0.2)


def test_a_long_span_has_fewer_and_longer_levels_and_too_long_a_one_is_refused(guarded):
    points = get(guarded, f"/scene/level?from_ns=0&to_ns={60 * S}")["levels"]
    assert points[1]["at_ns"] - points[0]["at_ns"] == 100 * MS
    for query in (f"from_ns=0&to_ns={301 * S}", "from_ns=5&to_ns=5", "from_ns=6&to_ns=5"):
        assert guarded.ask("GET", f"/api/recordings/scene/level?{query}").status == 400


def test_text_of_a_span(guarded, scene):
    every = get(guarded, "/scene/text")["texts"]
    assert [(text["start_ns"], text["text"]) for text in every] == [
        (packet.start_ns, packet.payload.text) for packet in Session.open(scene).packets("file.text")
    ]
    second = every[1]
    assert get(guarded, f"/scene/text?from_ns={second['start_ns']}&to_ns={second['end_ns']}")["texts"] == [second]


# -- a look into a long one reads what is around it


def test_only_the_segments_around_a_span_are_read(scene):
    session = Session.open(scene)

    class Three(Near):
        """Of 20 segments of a minute each."""

        def __init__(self, start_ns, end_ns):
            super().__init__(session, start_ns, end_ns)

    from pipeline.session import layout

    paths = [
        layout.Segment(path=session.folder / f"s{n}", name=layout.SegmentName(engine=0, actor=0, number=n), closed=True) for n in range(20)
    ]
    lines = {
        f"s{n}": layout.SegmentLine(file="", start_ns=n * 60 * S, end_ns=(n + 1) * 60 * S, rows=1, bytes=1, sha256="") for n in range(20)
    }
    near = Three(600 * S + 1, 602 * S)
    near._lines = lines
    original, Session.stream_segments = Session.stream_segments, lambda self, stream, suffix=".arrows": paths
    try:
        assert [segment.name.number for segment in near.stream_segments("x")] == [9, 10]
    finally:
        Session.stream_segments = original
