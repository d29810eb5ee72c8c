"""A live source in virtual time: what each fault of a device becomes. Milliseconds; the device is tests/livescript.py."""

import itertools

import pytest
from livescript import MS, POLICY, UP, Story, line, picture, pictures, sound

from operators.errors import DeviceLost
from operators.packet import Closed
from pipeline.live.captured import Captured, Ended, Happened, Lost
from pipeline.live.link import LinkPolicy


def test_pictures_without_a_stamp_are_stamped_on_arrival():
    story = Story([[(10, UP), *pictures(4, first_ms=100)]]).until(300)
    assert story.starts() == [100, 140, 180, 220]
    assert story.feed.health()["video"].quality == "arrival"


def test_a_stamp_on_our_own_clock_is_taken_as_it_is():
    story = Story([[(10, UP), (100, picture(at_ms=97.5)), (140, picture(at_ms=138))]]).until(200)
    assert story.starts() == [97.5, 138]
    assert story.feed.health()["video"].quality == "device"


@pytest.mark.parametrize("mad_ms", [-5000, 380_000_000, 900])
def test_a_stamp_that_cannot_be_is_counted_and_arrival_taken(mad_ms):
    story = Story([[(10, UP), (100, picture(at_ms=mad_ms))]]).until(200)
    assert story.starts() == [100]
    assert story.faults()["stamp_implausible"] == 1


def test_the_devices_own_clock_is_mapped_and_its_jitter_of_arrival_is_not_in_the_stamps():
    jitter = [0, 9, 3, 0, 12, 7, 0, 5]
    steps = [(100 + 40 * i + late, picture(5000 + 40 * i)) for i, late in enumerate(jitter)]
    story = Story([[(10, UP), *steps]]).until(600)
    assert story.starts() == [100, 140, 180, 220, 260, 300, 340, 380]


def test_of_pictures_that_come_at_once_the_first_is_taken_since_a_recording_could_not_tell_them_apart():
    story = Story([[(10, UP), (100, picture()), (100, picture()), (102, picture()), (103, picture()), (140, picture())]]).until(200)
    assert story.starts() == [100, 103, 140]
    assert story.dropped() == {"before_promise": 2}


def test_sound_and_picture_of_one_source_are_on_one_clock():
    steps = [(100 + 20 * i, sound(5000 + 20 * i)) for i in range(10)] + [(105 + 40 * i, picture(4970 + 40 * i)) for i in range(5)]
    story = Story([[(10, UP), *sorted(steps, key=lambda step: step[0])]], kinds="video audio").until(600)
    apart = story.starts("audio")[0] - story.starts("video")[0]
    assert apart == 30


def test_a_source_that_is_away_promises_that_it_has_nothing():
    story = Story([[(5, Ended(why="no such device"))]]).until(1000)
    assert story.state() == "connecting"
    promises = list(story.promises())
    assert promises[-1] == (1000, 1000)
    assert max(b - a for (a, _), (b, _) in itertools.pairwise(promises)) <= 40


def test_something_is_said_at_least_every_100_ms_whatever_the_device_does():
    story = Story([[(10, UP), *pictures(3, first_ms=20)]], lets_go=False, exclusive=False).until(20_000)
    due = [due_ns for due_ns, _ in story.events]
    assert max(b - a for a, b in itertools.pairwise(due)) <= 100 * MS
    assert due == sorted(due)


def test_a_device_that_falls_silent_is_stalled_in_less_than_2_s_and_connected_again():
    story = Story([[(10, UP), *pictures(5, first_ms=100)], [(20, UP), *pictures(50)]], lets_go=False, exclusive=False)
    story.until(1700)
    assert story.state() == "live"
    story.until(1860)
    assert story.state() == "stalled"
    story.until(5000)
    assert story.capture.calls == ["release", "abandon"]
    assert story.faults() == {"hung": 1, "reconnect": 1}
    assert any("stalled: nothing came for 1.5 s" in news for news in story.feed.news())


def test_while_it_stalls_nothing_is_promised_and_when_it_is_lost_the_clock_is_followed():
    story = Story([[(10, UP), *pictures(5, first_ms=100)], [(5, Ended(why="refused"))]]).until(4000)
    assert story.state() == "lost"
    promised = dict(story.promises())
    assert max(until for when, until in promised.items() if when < 1700) <= 300
    assert promised[max(promised)] == max(promised)


def test_an_exclusive_device_that_hangs_ends_the_process_that_holds_it():
    story = Story([[(10, UP), *pictures(3)]], lets_go=False)
    with pytest.raises(DeviceLost, match="does not let go"):
        story.until(10_000)
    assert story.clock.now_ns() < 3000 * MS


def test_a_connection_that_never_answers_is_given_up():
    story = Story([[], [(10, UP), *pictures(5)]], policy=LinkPolicy(jitter=0, connect_ns=2000 * MS)).until(3000)
    assert story.capture.connects[1] <= 2300
    assert len(story.packets()) == 5


def test_the_end_of_a_live_stream_is_a_fault_and_it_is_connected_again_with_growing_pauses():
    story = Story([[(0, UP), *pictures(1, first_ms=5), (10, Ended(why="its stream ended"))]]).until(20_000)
    pauses = [b - a for a, b in zip(story.capture.connects, story.capture.connects[1:], strict=False)]
    wanted = [110, 210, 410, 810, 1610, 2010, 2010]  # and up to a beat of 40 more
    assert all(want <= pause <= want + 40 for want, pause in zip(wanted, pauses, strict=False))
    assert max(pauses) <= 2050
    assert len(story.packets()) == len(story.capture.connects)


def test_the_end_of_what_really_ends_closes_its_streams():
    story = Story([[(0, UP), (5, line("bye")), (10, Ended(why="end of input", final=True))]], kinds="text").until(1000)
    assert isinstance(story.events[-1][1], Closed)
    assert story.state("text") == "closed"
    assert len(story.packets("text")) == 1


def test_a_new_connection_is_a_new_epoch_of_the_devices_clock():
    first = [(0, UP), *pictures(5, first_ms=10, device_ms=70_000), (200, Ended(why="cut"))]
    story = Story([first, [(50, UP), *pictures(5, first_ms=60, device_ms=0)]]).until(1000)
    assert story.starts() == [10, 50, 90, 130, 170, 380, 420, 460, 500, 540]
    assert story.faults() == {"reconnect": 1}


def test_a_counter_that_wraps_is_unwrapped():
    stamps = [880, 920, 960, 0, 40, 80]
    steps = [(100 + 40 * i, picture(stamp)) for i, stamp in enumerate(stamps)]
    story = Story([[(0, UP), *steps]], wrap_ms=1000).until(400)
    assert story.starts() == [100, 140, 180, 220, 260, 300]
    assert story.faults() == {"wrap": 1}


@pytest.mark.parametrize(
    ("stamps", "fault"), [([50_000, 50_040, 0, 40, 80], "reset"), ([50_000, 50_040, 49_800, 49_840, 49_880], "backward")]
)
def test_a_clock_that_goes_back_is_a_new_line_after_one_doubtful_packet(stamps, fault):
    steps = [(100 + 40 * i, picture(stamp)) for i, stamp in enumerate(stamps)]
    story = Story([[(0, UP), *steps]]).until(400)
    assert story.starts() == [100, 140, 220, 260]
    assert story.dropped() == {"out_of_order": 1}
    assert story.faults() == {"out_of_order": 1, fault: 1}


def test_a_clock_that_leaps_ahead_does_not_carry_the_session_into_the_future():
    steps = [(100 + 40 * i, picture(stamp)) for i, stamp in enumerate([50_000, 50_040, 3_650_080, 3_650_120])]
    story = Story([[(0, UP), *steps]]).until(400)
    assert story.starts() == [100, 140, 180, 220]
    assert story.faults() == {"leap": 1}


def test_a_clock_that_slept_begins_a_new_line():
    steps = [(100, picture(50_000)), (140, picture(50_040)), (9140, picture(50_080)), (9180, picture(50_120))]
    story = Story([[(0, UP), *steps]], policy=LinkPolicy(jitter=0, stall_ns=20_000 * MS)).until(9300)
    assert story.starts() == [100, 140, 9140, 9180]
    assert story.faults() == {"lag": 1}


def test_a_repeated_picture_is_dropped_and_counted():
    steps = [(100 + 40 * i, picture(stamp)) for i, stamp in enumerate([50_000, 50_040, 50_040, 50_080])]
    story = Story([[(0, UP), *steps]]).until(400)
    assert story.dropped() == {"duplicate": 1}
    assert len(story.packets()) == 3


def test_one_packet_out_of_order_costs_itself_only():
    steps = [(100 + 40 * i, picture(stamp)) for i, stamp in enumerate([50_000, 50_040, 50_020, 50_120, 50_160])]
    story = Story([[(0, UP), *steps]]).until(400)
    assert story.dropped() == {"out_of_order": 1}
    assert story.starts() == [100, 140, 220, 260]


def test_when_one_stream_of_a_source_is_reset_the_other_is_not_dragged_along():
    sounds = [(100 + 20 * i, sound(50_000 + 20 * i if i < 5 else 20 * (i - 5))) for i in range(40)]
    films = [(100 + 40 * i, picture(50_000 + 40 * i if i < 4 else 100 + 40 * i - 260)) for i in range(20)]
    story = Story([[(0, UP), *sorted([*sounds, *films], key=lambda step: step[0])]], kinds="video audio").until(1000)
    late = {packet.start_ns // MS: packet.stream for packet in (*story.packets("video"), *story.packets("audio"))}
    assert max(late) <= 1000
    for stream in ("audio", "video"):
        starts = story.starts(stream)
        assert starts == sorted(starts)
        assert starts[-1] > 700


def test_pictures_of_another_size_in_mid_stream_are_an_event():
    story = Story([[(0, UP), (10, picture()), (50, picture(width=32)), (90, picture(width=32))]]).until(300)
    assert story.faults() == {"format_change": 1}
    assert len(story.packets()) == 3


def test_digital_silence_is_muted_and_not_dead():
    quiet = [(100 + 20 * i, sound(20 * i, value=0.0)) for i in range(100)]
    story = Story([[(0, UP), *quiet, (2100, sound(2000))]], kinds="audio").until(1000)
    assert story.state("audio") == "live"
    story.until(2000)
    assert story.state("audio") == "muted"
    story.until(2150)
    assert story.state("audio") == "live"


def test_a_stream_that_its_source_does_not_have_does_not_hold_up_anyone():
    details = type(UP)(details={"video": "64x48"})
    story = Story([[(0, details), *pictures(30)]], kinds="video audio").until(1000)
    assert story.state("audio") == "connecting"
    assert list(story.promises("audio"))[-1][1] >= 950


def test_one_stream_that_falls_silent_is_stalled_while_the_other_goes_on():
    story = Story([[(0, UP), (10, sound(0)), *pictures(100)]], kinds="video audio").until(3000)
    assert (story.state("video"), story.state("audio")) == ("live", "stalled")
    assert story.capture.calls == []


def test_text_promises_silence_at_a_fixed_distance():
    story = Story([[(0, UP), (500, line("hello"))]], kinds="text").until(1000)
    assert story.starts("text") == [500]
    lag = [when - until for when, until in story.promises("text") if when > 100]
    assert min(lag) == 0  # right after the line itself
    assert max(lag) == 50


def test_promises_never_go_back_and_no_packet_starts_before_one():
    wild = [(50 + 30 * i + (i * 37) % 50, picture(1000 + 30 * i)) for i in range(60)]
    cut = [*sorted(wild, key=lambda step: step[0]), (2000, Ended(why="cut"))]
    story = Story([[(0, UP), *cut]]).until(6000)
    promised = 0
    for _, event in story.events:
        if isinstance(event, Captured):
            continue
        if hasattr(event, "start_ns") and hasattr(event, "payload"):
            assert event.start_ns >= promised
        elif hasattr(event, "time_ns"):
            assert event.time_ns >= promised
            promised = event.time_ns


def test_what_the_device_lost_is_counted():
    story = Story(
        [[(0, UP), (10, Lost(stream="video", reason="corrupt", count=3)), (20, Happened(stream="video", what="overflow"))]]
    ).until(100)
    assert story.dropped() == {"corrupt": 3}
    assert story.faults() == {"overflow": 1}


def test_an_outage_is_one_line_and_not_one_an_attempt():
    story = Story([[(0, UP), *pictures(3), (200, Ended(why="unplugged"))], [(5, Ended(why="no such device"))]]).until(30_000)
    assert story.feed.news() == [
        "cam: connected (64x48, mono)",
        "cam: lost: unplugged; trying again",
        "cam: lost: no such device; trying again",
    ]


def test_no_secret_is_in_what_is_told():
    story = Story([[(0, Ended(why="cannot open rtsp://me:hunter2@cam/1?token=abc"))]], policy=POLICY).until(1000)
    assert all("hunter2" not in line and "abc" not in line for line in story.feed.news())
