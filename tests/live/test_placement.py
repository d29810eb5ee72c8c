"""Compressed packets of a live stream on the session's timeline. Milliseconds; packets are named by their stamps."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from livescript import MS, UP, Story, picture, sound

from pipeline.live import placement
from pipeline.live.capture import GAP, Inbox
from pipeline.live.captured import Captured, Compressed, Ended, Happened, Lost
from pipeline.live.placement import Placement


@dataclass
class Bytes:
    """As much of an av.Packet as a placement looks at."""

    size: int = 100
    is_keyframe: bool = True


class Tap:
    def __init__(self):
        self.given = []

    def packet(self, stream, packet, template, times_ns):
        self.given.append((packet, template, times_ns))

    @property
    def starts(self):
        return [start_ns // MS for _, _, (start_ns, _, _) in self.given]


def packet(stamp, *, stream="video", key=True, lead=0, size=100, template="one"):
    stamp_ns = None if stamp is None else stamp * MS
    return Compressed(
        stream=stream,
        packet=Bytes(size=size, is_keyframe=key),
        template=template,
        stamp_ns=stamp_ns,
        lead_ns=lead * MS,
        duration_ns=40 * MS,
    )


def placing(*, gaps=False):
    tap = Tap()
    return Placement("video", tap, gaps=gaps), tap


def test_a_packet_waits_until_what_was_decoded_of_it_is_placed():
    made, tap = placing()
    made.came(packet(5000))
    assert tap.given == []
    made.placed(5000 * MS, 100 * MS)
    assert tap.starts == [100]


def test_a_picture_that_never_came_out_stays_before_the_next_also_where_the_senders_stamps_went_back():
    made, tap = placing()
    for stamp in (100, 80, 113):  # of the first nothing went into the run; then sender reports moved the stamps
        made.came(packet(stamp))
    made.placed(80 * MS, 500 * MS)
    made.placed(113 * MS, 533 * MS)
    assert tap.starts == [497, 500, 533]  # where nobody takes it for the next


def test_packets_go_in_order_of_decoding_each_with_the_start_of_its_own_picture():
    made, tap = placing()
    stamps = {0: 1000, 120: 1121, 40: 1042, 80: 1083}  # the clock's map moves a little with each picture
    for stamp in stamps:
        made.came(packet(stamp, lead=40 if stamp == 120 else 0))
    for stamp in sorted(stamps):
        made.placed(stamp * MS, stamps[stamp] * MS)
    assert tap.starts == list(stamps.values())
    assert tap.given[1][2] == (1121 * MS, 1081 * MS, 40 * MS)


def test_a_picture_that_never_came_out_leaves_its_packet_where_its_stamp_lies_from_the_next():
    made, tap = placing()
    for stamp in (0, 40, 80):
        made.came(packet(stamp))
    made.placed(0, 100 * MS)
    made.placed(80 * MS, 190 * MS)
    assert tap.starts == [100, 150, 190]


def test_at_the_end_what_was_placed_goes_with_what_it_is_decoded_from_and_the_rest_does_not():
    made, tap = placing()
    for stamp in (0, 120, 40, 80, 240):
        made.came(packet(stamp, lead=120 if stamp == 120 else 0))
    for stamp in (0, 40):
        made.placed(stamp * MS, (1000 + stamp) * MS)
    assert tap.starts == [1000]
    made.end()
    assert tap.starts == [1000, 1120, 1040]


def test_of_sound_only_what_was_placed_is_given():
    made, tap = placing(gaps=True)
    for stamp in (0, 20, 40):
        made.came(packet(stamp))
    made.placed(0, 100 * MS)
    made.placed(40 * MS, 145 * MS)
    assert tap.starts == [100, 145]


def test_a_first_packet_without_a_stamp_lies_its_length_before_the_next():
    made, tap = placing()
    made.came(packet(None))
    made.came(packet(3000, key=False))
    made.placed(3000 * MS, 500 * MS)
    assert tap.starts == [460, 500]


def test_what_lies_before_the_session_begins_with_it():
    made, tap = placing()
    made.came(packet(0, lead=40))
    made.came(packet(80))
    made.placed(80 * MS, 30 * MS)
    assert [times_ns for _, _, times_ns in tap.given] == [(0, 0, 40 * MS), (30 * MS, 30 * MS, 40 * MS)]


def test_stamps_of_two_lines_of_the_clock_are_not_measured_against_each_other():
    made, tap = placing()
    made.came(packet(50_000))
    made.came(packet(0))
    made.placed(0, 700 * MS)
    assert tap.starts == []  # it may still come out
    for stamp in range(1, 40):
        made.came(packet(stamp))
        made.placed(stamp * MS, (700 + stamp) * MS)
    assert tap.starts[0] == 697  # before the next that was placed
    assert len(tap.starts) == 41


@pytest.mark.parametrize(("most", "value", "waits"), [("MOST_WAITING", 4, 4), ("MOST_BYTES", 350, 3)])
def test_what_waits_is_bounded_and_after_a_gap_comes_a_key_frame(monkeypatch, most, value, waits):
    monkeypatch.setattr(placement, most, value)
    made, tap = placing()
    for stamp in range(waits + 1):
        made.came(packet(stamp))
    made.came(packet(10, key=False))
    made.came(packet(20))
    made.came(packet(30, key=False))
    made.placed(30 * MS, 1030 * MS)
    assert tap.starts == [1020, 1030]


def test_a_gap_in_the_box_is_told_beside_what_was_lost():
    box = Inbox(max_bytes=250)
    for stamp in range(3):
        box.put(packet(stamp))
    box.put(stamped(picture(), 2))  # too big for the box as well
    assert box.take(0) == [Lost(stream="video", reason="capture_overflow"), Happened(stream="video", what=GAP)]


def recorded(attempts, *, kinds="video"):
    """The story of a recorded source, and what its tap was given."""
    taps = {name: Tap() for name in kinds.split()}
    story = Story(attempts, kinds=kinds, placements={name: Placement(name, tap, gaps=name == "audio") for name, tap in taps.items()})
    return story, taps


def stamped(item, stamp):
    return Captured(**{name: getattr(item, name) for name in Captured.__slots__} | {"stamp_ns": stamp * MS})


def arriving(at, stamp, *, key=True, template="one"):
    return [(at, packet(stamp, key=key, template=template)), (at, stamped(picture(stamp), stamp))]


def test_packets_start_exactly_when_their_pictures_do_in_the_log():
    jitter = [0, 9, 3, 0, 12, 7, 0, 5]
    steps = [step for i, late in enumerate(jitter) for step in arriving(100 + 40 * i + late, 5000 + 40 * i)]
    story, taps = recorded([[(10, UP), *steps]])
    story.until(600)
    assert len(story.packets()) == len(jitter)
    assert [times_ns[0] for _, _, times_ns in taps["video"].given] == [p.start_ns for p in story.packets()]


def test_a_new_connection_has_a_new_template_and_nothing_of_the_old_one_comes_late():
    first = [(0, UP), *arriving(10, 70_000), (20, packet(70_040)), (200, Ended(why="cut"))]
    second = [(50, UP), *arriving(60, 0, template="two"), *arriving(100, 40, template="two"), (9000, Ended(why="cut"))]
    story, taps = recorded([first, second])
    story.until(1000)
    assert [template for _, template, _ in taps["video"].given] == ["one", "two", "two"]
    assert taps["video"].starts == [p.start_ns // MS for p in story.packets()]


def test_a_picture_that_is_dropped_for_its_stamp_is_in_the_media_and_sound_is_not():
    pictures = [arriving(100 + 40 * i, stamp) for i, stamp in enumerate([50_000, 50_040, 50_020, 50_120])]
    sounds = [
        [(101 + 40 * i, packet(stamp, stream="audio")), (101 + 40 * i, stamped(sound(stamp, length_ms=1), stamp))]
        for i, stamp in enumerate([50_000, 50_040, 50_020, 50_120])
    ]
    steps = [step for pair in zip(pictures, sounds, strict=True) for steps in pair for step in steps]
    story, taps = recorded([[(0, UP), *steps]], kinds="video audio")
    story.until(400)
    assert story.dropped() == {"out_of_order": 2}
    assert len(taps["video"].given) == 4
    assert taps["audio"].starts == [p.start_ns // MS for p in story.packets("audio")]


def test_after_a_gap_the_pictures_go_on_and_their_packets_from_the_next_key_frame():
    gap = [(130, Happened(stream="video", what=GAP))]
    later = [*arriving(140, 5040, key=False), *arriving(180, 5080), *arriving(220, 5120, key=False)]
    story, taps = recorded([[(0, UP), *arriving(100, 5000), *gap, *later]])
    story.until(400)
    assert story.starts() == [100, 140, 180, 220]
    assert taps["video"].starts == [100, 180, 220]
    assert story.faults() == {GAP: 1}


def test_where_nothing_is_recorded_packets_go_nowhere():
    story = Story([[(0, UP), *arriving(100, 5000)]]).until(200)
    assert len(story.packets()) == 1
