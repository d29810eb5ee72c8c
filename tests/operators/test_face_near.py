"""A face that is looked for where it is expected: the same box, less work; and what moved is measured in one place of the picture."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from operators.face import FaceCrop
from operators.face_builtin import BuiltIn
from operators.face_detect import Box
from operators.face_motion import Place, patch, place, shift
from operators.video import crop_square

SCENE = Path(__file__).resolve().parents[2] / "configs" / "demo" / "scene.mp4"
FRAME_NS = 33_000_000


@pytest.fixture(scope="module")
def grey():
    with av.open(str(SCENE)) as container:
        return cv2.resize(next(container.decode(video=0)).to_ndarray(format="gray"), (320, 240), interpolation=cv2.INTER_AREA)


def moved(picture, right, down):
    return cv2.warpAffine(picture, np.array([[1.0, 0, right], [0, 1, down]]), picture.shape[::-1], borderMode=cv2.BORDER_REPLICATE)


def close(a, b, share):
    return max(abs(a.x - b.x), abs(a.y - b.y), abs(a.w - b.w)) <= share * b.w


def test_a_face_found_where_it_is_expected_has_the_box_that_a_look_at_everything_gives(grey):
    [anywhere] = BuiltIn().detect(grey)
    [there] = BuiltIn().detect(grey, anywhere)
    assert close(there, anywhere, 0.02)


@pytest.mark.parametrize("where", [(0.0, 0.0, 60.0), (250.0, 150.0, 60.0), (-500.0, -500.0, 60.0), (0.0, 0.0, 0.5), (0.0, 0.0, 5000.0)])
def test_a_face_that_is_elsewhere_is_found_as_if_nothing_had_been_expected(grey, where):
    x, y, w = where
    assert BuiltIn().detect(grey, Box(x=x, y=y, w=w, h=1.4 * w, score=0.9)) == BuiltIn().detect(grey)


def test_a_face_that_half_left_its_place_is_not_cut_off_at_what_was_searched(grey):
    [face] = BuiltIn().detect(grey)
    for share in (0.25, 0.4, 0.6):
        near = Box(x=face.x + share * face.w, y=face.y, w=face.w, h=face.h, score=face.score)
        assert BuiltIn().detect(grey, near) == [face]


def test_where_there_is_no_face_none_is_found_near(grey):
    [face] = BuiltIn().detect(grey)
    assert BuiltIn().detect(np.full((240, 320), 128, np.uint8), face) == []


def test_the_detector_is_told_where_the_followed_face_should_be(grey):
    class Asked(BuiltIn):
        def __init__(self):
            self.near = []

        def detect(self, picture, near=None):
            self.near.append(near)
            return super().detect(picture, near)

    crop, asked = FaceCrop(detect_every_ms=0), Asked()
    crop._detector = asked
    first = crop.follow(grey, 0)
    crop.follow(moved(grey, 4, 0), FRAME_NS)
    assert asked.near[0] is None
    assert asked.near[1].x > first.x + 2  # by what it has moved since


def test_a_crop_goes_on_after_restore_as_if_nothing_had_happened(grey):
    crop, other = FaceCrop(), FaceCrop()
    pictures = [moved(grey, step, step / 2) for step in range(12)]
    for index, picture in enumerate(pictures[:6]):
        crop.follow(picture, index * FRAME_NS)
    other.restore(crop.snapshot())
    for index, picture in enumerate(pictures[6:], 6):
        assert other.follow(picture, index * FRAME_NS) == crop.follow(picture, index * FRAME_NS)


def test_a_box_that_hardly_moves_stays_in_its_place():
    box = Box(x=100.0, y=100.0, w=180.0, h=250.0, score=0.9)
    assert place(box) == Place(left=110, top=95, cell=5)
    assert place(Box(x=101.0, y=101.0, w=180.0, h=250.0, score=0.9)) == place(box)


def test_how_far_a_place_moved_is_the_same_when_it_is_asked_again(grey):
    box = Box(x=107.0, y=57.0, w=93.0, h=130.0, score=0.9)
    at = place(box)
    before, after = patch(grey, at), patch(moved(grey, 3, 0), at)
    right, down = shift(before, after, at.cell)
    assert right == pytest.approx(3 - 0.2 * at.cell, abs=0.7)
    assert abs(down) < 0.5
    assert shift(before, after, at.cell) == (right, down)


def test_whole_pixels_are_cut_out_as_they_are_and_beyond_the_border_as_before():
    picture = np.random.default_rng(0).integers(0, 256, (60, 80)).astype(np.uint8)
    assert crop_square(picture, 30, 30, 16, 16).tolist() == picture[22:38, 22:38].tolist()
    assert (
        crop_square(picture, 30, 30, 32, 16).tolist() == cv2.resize(picture[14:46, 14:46], (16, 16), interpolation=cv2.INTER_AREA).tolist()
    )
    edge = crop_square(picture, 4, 30, 16, 16)
    assert edge[:, 4:].tolist() == picture[22:38, :12].tolist()
    assert (edge[:, :4] == picture[22:38, :1]).all()
