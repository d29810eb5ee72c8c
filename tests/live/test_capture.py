"""The thread between a device and the loop, with real threads and short times."""

import threading

import numpy as np
import pytest
from livebeat import LiveBeat

from operators.errors import ContractError, DeviceNotFound
from operators.packet import Frame, Packet, TextSpan
from pipeline.clock import SystemClock
from pipeline.live.capture import Inbox, ThreadCapture
from pipeline.live.captured import AtItsEnd, Captured, Connected, Ended, Lost
from pipeline.ports import Wanted
from pipeline.runtime.pace import Pace

S = 1_000_000_000


def item(stream="video", size=10):
    return Captured(stream=stream, payload=Frame(data=np.zeros((1, size), np.uint8)), arrival_ns=0)


def test_a_full_box_loses_its_oldest_and_says_how_many():
    box = Inbox(max_items=3)
    items = [item(size=n) for n in range(1, 8)]
    for each in items:
        box.put(each)
    assert box.take(0) == [Lost(stream="video", reason="capture_overflow", count=4), *items[4:]]
    assert box.take(0) == []


def test_a_box_is_bounded_in_bytes():
    box = Inbox(max_bytes=100)
    for _ in range(5):
        box.put(item(size=60))
    lost, kept = box.take(0)
    assert (lost.count, kept.payload.nbytes) == (4, 60)


def test_sound_and_pictures_that_nobody_had_time_for_are_shed_after_a_second_and_texts_are_not():
    box = Inbox()
    for second in (0, 0.4, 0.9, 1.3, 1.5):
        box.put(Captured(stream="video", payload=Frame(data=np.zeros((1, 1), np.uint8)), arrival_ns=round(second * S)))
    lost, *kept = box.take(0)
    assert lost == Lost(stream="video", reason="capture_overflow", count=2)
    assert [item.arrival_ns / S for item in kept] == [0.9, 1.3, 1.5]
    for second in range(5):
        box.put(Captured(stream="text", payload=TextSpan(text="x"), arrival_ns=second * S, length_ns=0))
    assert len(box.take(0)) == 5


def test_what_became_of_the_connection_is_never_lost():
    box = Inbox(max_items=2)
    box.put(Ended(why="cut"))
    for _ in range(5):
        box.put(item())
    assert Ended(why="cut") in box.take(0)


def test_taking_waits_for_the_first_item_and_no_longer():
    box = Inbox()
    threading.Timer(0.02, box.put, [item()]).start()
    assert len(box.take(5 * S)) == 1


class Scripted:
    """connect gives this very object as the connection."""

    def __init__(self, *, refuses=None, gives=(), ends=None, hangs=False):
        self.refuses, self.gives, self.ends, self.hangs = refuses, gives, ends, hangs
        self.details = {"video": "tiny"}
        self.closed = threading.Event()
        self.reading = threading.Event()

    def connect(self, wanted, now_ns):
        if self.refuses:
            raise self.refuses
        return self

    def read(self, stop):
        self.reading.set()
        yield from self.gives
        if self.hangs:
            threading.Event().wait()
        if self.ends:
            raise self.ends

    def close(self):
        self.closed.set()


def capture(script, *, exclusive=True):
    made = ThreadCapture(script, {"video": Wanted()}, lambda: 5, exclusive=exclusive)
    made.connect()
    return made


def all_of(made):
    items = []
    while not any(isinstance(each, Ended) for each in items):
        items += made.take(2 * S)
    return items


def test_a_connection_is_told_read_to_its_end_and_closed():
    script = Scripted(gives=[item()])
    connected, captured, ended = all_of(capture(script))
    assert connected == Connected(details={"video": "tiny"})
    assert isinstance(captured, Captured)
    assert ended == Ended(why="its stream ended")
    assert script.closed.wait(1)


@pytest.mark.parametrize(
    ("error", "why", "final"),
    [
        (DeviceNotFound("cam", "no such device"), "no such device", False),
        (OSError(19, "No such device"), "OSError: [Errno 19] No such device", False),
        (ValueError("rtsp://me:hunter2@cam/ is odd\nindeed"), "ValueError: rtsp://***@cam/ is odd indeed", False),
        (AtItsEnd("stdin", "end of input"), "end of input", True),
    ],
)
def test_whatever_a_library_raises_is_one_line_without_secrets(error, why, final):
    assert all_of(capture(Scripted(ends=error)))[-1] == Ended(why=why, final=final)
    if not final:
        assert all_of(capture(Scripted(refuses=error))) == [Ended(why=why)]


def test_a_hanging_thread_that_holds_an_exclusive_device_cannot_be_abandoned():
    script = Scripted(hangs=True)
    made = capture(script)
    assert script.reading.wait(2)
    made.release()
    assert made.abandon() is False


def test_a_hanging_network_thread_is_left_to_itself_a_few_times_and_never_heard_again():
    script = Scripted(hangs=True)
    made = capture(script, exclusive=False)
    for attempt in range(ThreadCapture.MOST_ABANDONED):
        assert script.reading.wait(2)
        script.reading.clear()
        made.release()
        assert made.abandon(), attempt
        made.connect()
    assert script.reading.wait(2)
    made.release()
    assert made.abandon() is False


def test_events_want_to_know_the_time_first(tmp_path):
    with pytest.raises(ContractError, match="begin"):
        LiveBeat(control=tmp_path / "control").events()


def test_a_live_source_goes_away_and_comes_back_in_real_time(tmp_path):
    control, clock = tmp_path / "control", SystemClock()
    source = LiveBeat(control=control)
    source.open({})
    source.begin(Pace(clock=clock, epoch_ns=clock.now_ns()).now_ns)
    states, stamps = [], []
    for due_ns, event in source.events():
        state = source.health()["video"].state
        states += [state] if states[-1:] != [state] else []
        if isinstance(event, Packet) and event.stream == "video":
            stamps.append((event.start_ns, due_ns))
        if len(stamps) == 5 and not control.exists():
            control.write_text("gone")
        if state == "lost" and control.read_text() == "gone":
            control.write_text("")
        if len(stamps) == 12:
            break
    source.close()
    assert states[-3:] == ["live", "lost", "live"]
    assert all(0 <= due_ns - start_ns < 100_000_000 for start_ns, due_ns in stamps)
    assert source.health()["video"].faults["reconnect"] == 1
