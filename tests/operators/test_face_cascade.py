"""The cascade against its definition: one window, one rule, one cell after the other. And the locator on a drawn face."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from operators.face_builtin import BuiltIn
from operators.face_cascade import WINDOW, Canvas, all_windows, stages

SCENE = Path(__file__).resolve().parents[2] / "configs" / "demo" / "scene.mp4"
RING = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))


def passes(picture, x, y):
    sums = cv2.integral(picture).astype(np.int64)
    for stage in stages():
        total = np.float32(0)
        for columns, rows, votes in zip(stage.x + x, stage.y + y, stage.votes, strict=True):
            corner = sums[np.ix_(rows, columns)]
            cells = corner[1:, 1:] - corner[:-1, 1:] - corner[1:, :-1] + corner[:-1, :-1]
            total += votes[sum(int(cells[place] >= cells[1, 1]) << (7 - bit) for bit, place in enumerate(RING))]
        if total < stage.threshold:
            return False
    return True


@pytest.fixture(scope="module")
def grey():
    with av.open(str(SCENE)) as container:
        return next(container.decode(video=0)).to_ndarray(format="gray")


def pictures_of(grey):
    """A face, noise without one, and a smallest picture."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 41)).astype(np.uint8)
    return [cv2.resize(grey, (64, 48), interpolation=cv2.INTER_AREA), noise, noise[:WINDOW, :WINDOW]]


def test_a_window_passes_exactly_if_every_stage_of_the_table_says_so(grey):
    pictures = pictures_of(grey)
    canvas = Canvas(pictures)
    windows = all_windows(canvas.shapes, step=1)
    expected = [row for row in windows.tolist() if passes(pictures[row[0]], row[1], row[2])]
    assert canvas.passing(windows).tolist() == expected
    assert expected


def test_few_windows_pass_as_they_do_among_many(grey):
    canvas = Canvas(pictures_of(grey))
    windows = all_windows(canvas.shapes, step=1)
    passed = {tuple(row) for row in canvas.passing(windows).tolist()}
    for first in range(0, len(windows), 61):
        few = windows[first : first + 61]
        assert {tuple(row) for row in canvas.passing(few).tolist()} == passed & {tuple(row) for row in few.tolist()}


def test_a_picture_smaller_than_a_window_has_no_face():
    assert BuiltIn().detect(np.zeros((WINDOW - 1, 200), np.uint8)) == []


def test_the_drawn_face_is_found_once_and_where_it_is(grey):
    [box] = BuiltIn().detect(cv2.resize(grey, (320, 240), interpolation=cv2.INTER_AREA))
    eyes = cv2.resize(grey, (320, 240))[int(box.y + 0.2 * box.h) : int(box.y + 0.5 * box.h), int(box.x) : int(box.x + box.w)]
    assert 0.2 < box.w / 320 < 0.6
    assert eyes.std() > 15  # eyes and brows on skin, not wall
