"""What is shown of a session to whoever watches it: only then, a little of it, and never in the way."""

import json

import cv2
import numpy as np
import pytest
import zmq
from fakeplan import FakePlan, Script, value
from waiting import until

from operators.packet import AudioBlock, Dropped, Frame, Packet, TextSpan, Watermark
from operators.window import Late
from pipeline.clock import FakeClock
from pipeline.media.jpeg import small_jpeg
from pipeline.runtime.fusion import FusionSeat
from pipeline.runtime.graphs import Graphs
from pipeline.runtime.ingest import IngestLoop
from pipeline.runtime.parts import make_core
from pipeline.runtime.view import SILENCE_DB, View, decibels
from pipeline.runtime.viewfeed import HIGH_WATER, Feed, topic
from pipeline.runtime.wires import Wires

MS = 1_000_000


class Watcher:
    """The end that the API has."""

    def __init__(self, context, address):
        self.socket = context.socket(zmq.SUB)
        self.socket.linger, self.socket.rcvhwm = 0, HIGH_WATER
        self.socket.bind(address)

    def watch(self, session):
        self.socket.subscribe(topic(session))

    def leave(self, session):
        self.socket.unsubscribe(topic(session))

    def take(self, count, seconds=5):
        """So many messages: (header, body)."""
        out = []
        for _ in range(count):
            assert self.socket.poll(seconds * 1000), f"{len(out)} of {count} messages came"
            _, header, body = self.socket.recv_multipart()
            out.append((json.loads(header), body))
        return out

    def nothing(self):
        return not self.socket.poll(50)


@pytest.fixture
def context():
    with zmq.Context() as made:
        yield made


@pytest.fixture
def address(tmp_path):
    return f"ipc://{tmp_path}/view"


@pytest.fixture
def watcher(context, address):
    made = Watcher(context, address)
    yield made
    made.socket.close()


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def view(context, address, watcher, clock):
    made = View(Feed(context, address, "desk"), clock, "camera")
    yield made
    made.close()


def see(view, clock, watcher=None, watched=True):
    """Subscriptions travel in their own time, and only while the watcher looks at its socket."""

    def seen():
        if watcher is not None:
            watcher.socket.poll(0)
        clock.sleep_until(clock.now_ns() + 1000 * MS)
        view.look_after(clock.now_ns())
        return view.watched == watched

    until(seen, 5)


def packet(payload, start_ms=0, end_ms=0, stream="video"):
    return Packet(stream=stream, seq=0, start_ns=start_ms * MS, end_ns=end_ms * MS, payload=payload)


def picture(height=480, width=640, start_ms=0):
    return packet(Frame(data=np.zeros((height, width, 3), np.uint8)), start_ms, start_ms + 33)


def sound(value, samples=320, start_ms=0):
    return packet(AudioBlock(data=np.full((1, samples), value, np.float32), rate_hz=16_000), start_ms, start_ms + 20, "audio")


def show(view, *packets):
    for each in packets:
        view.note(each)
    view.show()


def test_nothing_is_made_while_nobody_watches_the_session(view, watcher, clock):
    watcher.watch("desk-2")
    until(lambda: watcher.socket.poll(0) or view._feed._socket.poll(0), 5)
    clock.sleep_until(1000 * MS)
    view.look_after(clock.now_ns())
    show(view, picture())
    view.passed(picture())
    assert not view.watched
    assert not view._pending
    assert not view._marks
    watcher.watch("desk")
    see(view, clock, watcher)
    show(view, picture())
    assert watcher.take(1)[0][0]["kind"] == "picture"
    watcher.leave("desk")
    see(view, clock, watcher, watched=False)
    show(view, picture())
    assert watcher.nothing()


def test_an_empty_address_is_nobody(context, clock):
    view = View(Feed(context, "", "desk"), clock)
    view.look_after(clock.now_ns())
    show(view, picture())
    view.passed(picture())
    assert not view._pending
    view.close()


def test_a_watcher_who_is_killed_is_noticed_and_a_new_one_is_served(view, watcher, context, address, clock):
    watcher.watch("desk")
    see(view, clock, watcher)
    watcher.socket.close()
    see(view, clock, watched=False)
    again = Watcher(context, address)
    again.watch("desk")
    see(view, clock, again)
    show(view, sound(0.5))
    assert again.take(1)[0][0]["kind"] == "level"
    again.socket.close()


def test_eight_pictures_a_second_are_made_of_thirty(view, watcher, clock):
    watcher.watch("desk")
    see(view, clock, watcher)
    begun_ns = clock.now_ns()
    for index in range(300):
        clock.sleep_until(begun_ns + index * 1000 * MS // 30)
        show(view, picture(start_ms=index * 33))
    got = watcher.take(60)
    starts = [header["at_ns"] // MS for header, _ in got]
    assert 7.5 <= 1000 * (len(starts) - 1) / (starts[-1] - starts[0]) <= 8.2
    header, body = got[0]
    assert header == {"kind": "picture", "source": "camera", "stream": "video", "at_ns": 0, "width": 320, "height": 240}
    assert cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR).shape == (240, 320, 3)


@pytest.mark.parametrize(
    ("shape", "small"),
    [
        ((480, 640, 3), (320, 240)),
        ((480, 640), (320, 240)),
        ((1080, 1920, 3), (320, 180)),
        ((1280, 720, 3), (320, 569)),
        ((200, 200, 3), (200, 200)),
        ((5000, 1), (1, 640)),
        ((1, 5000, 3), (320, 1)),
    ],
)
def test_a_picture_is_scaled_to_fit_and_keeps_its_shape(shape, small):
    body, *size = small_jpeg(np.full(shape, 90, np.uint8))
    assert tuple(size) == small
    decoded = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded.shape[1::-1] == small
    assert abs(int(decoded.mean()) - 90) <= 1


def test_a_picture_keeps_its_colours():
    red = np.zeros((100, 100, 3), np.uint8)
    red[..., 0] = 250
    body, _, _ = small_jpeg(red)
    blue, green, red_again = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)[50, 50]
    assert red_again > 240
    assert max(blue, green) < 10


def test_a_picture_without_pixels_is_none():
    assert small_jpeg(np.zeros((0, 640, 3), np.uint8)) is None


def test_a_level_is_of_all_sound_since_the_last_one(view, watcher, clock):
    watcher.watch("desk")
    see(view, clock, watcher)
    show(view, sound(0.1))
    clock.sleep_until(clock.now_ns() + 20 * MS)
    show(view, sound(0.5, start_ms=20), sound(-1.0, samples=3, start_ms=40))
    clock.sleep_until(clock.now_ns() + 40 * MS)
    show(view, sound(0.5, samples=317, start_ms=60))
    (first, _), (second, _) = watcher.take(2)
    assert (first["rms_db"], first["peak_db"], first["at_ns"]) == (-20.0, -20.0, 20 * MS)
    mean = (637 * 0.25 + 3) / 640
    assert (second["rms_db"], second["peak_db"]) == (round(10 * np.log10(mean), 1), 0.0)
    assert second["at_ns"] == 80 * MS
    assert watcher.nothing()


def test_silence_and_what_is_no_number_have_a_level():
    assert decibels(0.0) == decibels(float("nan")) == decibels(float("inf")) == decibels(1e-12) == SILENCE_DB


def test_a_text_is_shown_as_it_comes_and_a_flood_of_them_is_not(view, watcher, clock):
    watcher.watch("desk")
    see(view, clock, watcher)
    show(view, packet(TextSpan(text="grüße \ud800"), 5, 9, "text"))
    (header, body) = watcher.take(1)[0]
    assert header == {"kind": "text", "source": "camera", "stream": "text", "start_ns": 5 * MS, "end_ns": 9 * MS, "text": "grüße ?"}
    assert body == b""
    for _ in range(30):
        show(view, packet(TextSpan(text="x" * 10_000), stream="text"))
    assert {len(header["text"]) for header, _ in watcher.take(19)} == {2000}
    assert watcher.nothing()
    clock.sleep_until(clock.now_ns() + 1000 * MS)
    show(view, packet(TextSpan(text="again"), stream="text"))
    assert watcher.take(1)[0][0]["text"] == "again"


def test_marks_say_what_went_on_and_what_did_not(view, watcher, clock):
    watcher.watch("desk")
    see(view, clock, watcher)
    view.passed(packet(TextSpan(text="a"), 0, 10, "words"))
    view.passed(Watermark(stream="words", time_ns=10 * MS))
    view.passed(Dropped(stream="words", reason="no_face", count=2))
    view.lost([Dropped(stream="words", reason="overflow", start_ns=3 * MS)])
    view.late(Late(packet=packet(TextSpan(text="b"), 7, 8, "words"), by_ns=5, kept=False))
    clock.sleep_until(clock.now_ns() + 200 * MS)
    view.look_after(clock.now_ns())
    ((header, _),) = watcher.take(1)
    assert header == {
        "kind": "marks",
        "input": "words",
        "spans": [[0, 10 * MS]],
        "lost": [[3 * MS, "overflow"], [7 * MS, "late"]],
        "dropped": {"no_face": 2, "overflow": 1, "late": 1},
    }
    view.passed(packet(TextSpan(text="a"), 10, 20, "words"))
    clock.sleep_until(clock.now_ns() + 100 * MS)
    view.look_after(clock.now_ns())
    assert watcher.nothing()  # five a second
    clock.sleep_until(clock.now_ns() + 100 * MS)
    view.look_after(clock.now_ns())
    assert watcher.take(1)[0][0]["spans"] == [[10 * MS, 20 * MS]]


def test_a_watcher_who_does_not_read_costs_no_memory_and_no_wait(view, watcher, clock):
    watcher.watch("desk")
    see(view, clock, watcher)
    for index in range(10 * HIGH_WATER):
        clock.sleep_until(clock.now_ns() + 200 * MS)
        noise = np.random.default_rng(index).integers(0, 255, (240, 320, 3), np.uint8)
        show(view, packet(Frame(data=noise), index, index))
    assert view.dropped > 0
    assert len(view._pending) == 0
    for _ in range(1000):
        view.passed(packet(TextSpan(text="a"), 0, 10, "words"))
        view.note(picture())
    assert len(view._marks["words"].spans) == 256
    assert len(view._pending) == 16


def test_a_source_is_shown_as_it_plays_and_not_as_it_is_read(context, address, watcher, clock, tmp_path):
    frames = [(at * MS, picture(start_ms=at - 33)) for at in (1000, 2000)]
    caption = (3000 * MS, packet(TextSpan(text="later"), 3000, 3000, "video"))
    plan = FakePlan({"cam": Script([*frames, caption])}, speed=1.0)
    plan.source_inputs = lambda name: {"cam": "video"}
    wires = Wires(folder=str(tmp_path), inputs=("cam",), view=address)
    loop = IngestLoop(plan, "cam", wires, 0, clock, stop=lambda: clock.now_ns() - begun_ns > 2500 * MS)
    loop.open()
    watcher.watch(plan.config.session or "session")
    see(loop._view, clock, watcher)
    begun_ns = clock.now_ns()
    loop.run(begun_ns, 0, {"cam": wires.edge("cam")})
    got = watcher.take(3)
    assert [header["at_ns"] // MS for header, _ in got if header["kind"] == "picture"] == [967, 1967]
    assert [header["spans"] for header, _ in got if header["kind"] == "marks"] == [[[967 * MS, 1000 * MS]]]
    loop.close()


def test_a_late_packet_is_shown_by_the_process_that_aligns(context, address, watcher, clock, tmp_path):
    plan = FakePlan({"cam": Script([]), "mic": Script([])}, speed=1.0)
    wires = Wires(folder=str(tmp_path), inputs=("cam", "mic"), view=address)
    seat = FusionSeat("session", plan, wires, 0, clock, make_core(plan, Graphs(plan.model, plan.backend, clock)), context)
    seat.begin(0, -1, resumed=False)
    watcher.watch(plan.config.session or "session")
    see(seat._view, clock, watcher)
    for event in (value("cam", 0, 0), Watermark(stream="cam", time_ns=100 * MS), value("cam", 1, 50)):
        seat._feed(event)
    clock.sleep_until(clock.now_ns() + 200 * MS)
    seat.look_after()
    ((header, _),) = watcher.take(1)
    assert (header["input"], header["lost"], header["dropped"]) == ("cam", [[50 * MS, "late"]], {"late": 1})
    seat.close()
