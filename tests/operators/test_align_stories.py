"""Every story of tests/transcripts: as written, with a restart at every step, and (where it waits) in other orders across streams."""

import itertools
import random

import pytest
from alignstreams import interleave
from stories import stories, story_of, tell

from operators.align import Aligner
from operators.packet import Tick
from operators.window import AlignedWindow, Skipped

STORIES = list(stories())


def ids(found):
    return [f"{story.file}: {story.name}" for story in found]


@pytest.mark.parametrize("story", STORIES, ids=ids(STORIES))
def test_story(story):
    tell(story)


@pytest.mark.parametrize("story", STORIES, ids=ids(STORIES))
def test_story_with_a_restart_at_every_step(story):
    tell(story, restart=True)


WAITING = [story for story in STORIES if story.config.mode == "wait" and story.shuffle and len(story.config.streams) > 1]


@pytest.mark.parametrize("story", WAITING, ids=ids(WAITING))
def test_story_in_any_order_across_streams(story):
    told, rng = tell(story), random.Random(0)
    names = [rule.stream for rule in story.config.streams]
    said = {name: [event for event in story.inputs() if not isinstance(event, Tick) and event.stream == name] for name in names}
    one_by_one = [[event for name in order for event in said[name]] for order in itertools.permutations(names)]
    for events in [*one_by_one, *(interleave(rng, said.values()) for _ in range(20))]:
        aligner = Aligner(story.config)
        assert split([out for event in events for out in aligner.process(event)]) == split(told)


def split(outs):
    windows = [out for out in outs if isinstance(out, AlignedWindow | Skipped)]
    return windows, sorted(repr(out) for out in outs if not isinstance(out, AlignedWindow | Skipped))


def test_there_are_stories_enough():
    assert len(STORIES) >= 40
    assert len(WAITING) >= 15
    assert len({story.name for story in STORIES}) == len(STORIES)


CASE = {"name": "x", "streams": ["cam"], "length": 10, "hop": 10}


@pytest.mark.parametrize(
    "steps",
    [
        ["cam 0-10", "cam^10"],
        ["cam^10", "cam^20"],
        ["cam 0-10", "cam^10", "expect 0 cam=5"],
        ["cam 0-10", "cam^10", "expect 0 cam=0?"],
        ["cam 0-10", "cam^10", "expect 0 cam=0@5"],
        ["cam 0-10", "cam^10", "expect 1 cam=0"],
        ["cam 0-10", "cam^10", "expect revise 0 cam=0"],
        ["cam^10", "expect 0 cam=closed"],
        ["cam^10", "expect 0"],
        ["cam^10", "expect"],
        ["expect 0 cam=empty"],
        ["cam 0-10", "holds cam=0"],
        ["next 10"],
    ],
)
def test_a_story_that_is_not_true_fails(steps):
    with pytest.raises(AssertionError):
        tell(story_of(CASE | {"steps": steps}))
