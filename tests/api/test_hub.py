"""What the API keeps of what it is told, and how it gives it on: bounded, in order, nothing twice."""

import asyncio

import inventedsession as invented
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.api.hub import ENDED_KEPT, RING, Hub, Refused
from pipeline.api.mailbox import Mailbox, Note, Picture
from pipeline.clock import FakeClock

S = 1_000_000_000


def hub(send=lambda message: True, clock=None):
    return Hub(send, (clock or FakeClock(1)).now_ns)


def with_desk(windows=0, **more):
    made = hub(**more)
    made.take(invented.engine())
    made.take(invented.session("desk"))
    made.take({"type": "status", "session": "desk", "status": invented.status("desk", S)})
    decide(made, *range(windows))
    return made


def decide(made, *windows, session="desk"):
    for window in windows:
        made.take({"type": "decision", "session": session, "decision": invented.decision(session, window)})


def windows(decisions):
    return [decision["window"] for decision in decisions]


def test_a_session_is_its_newest_message_and_its_newest_status():
    made = with_desk()
    made.take(invented.session("desk", recording="desk-1"))
    made.take({"type": "status", "session": "desk", "status": invented.status("desk", 2 * S)})
    (facts,) = made.listed()
    assert (facts["recording"], facts["status"]["now_ns"], facts["gone"]) == ("desk-1", 2 * S, None)
    assert "type" not in facts


def test_decisions_follow_on_an_id():
    made = with_desk(10)
    desk = made.sessions["desk"]
    ids = list(desk.ids)
    assert windows(desk.after(ids[6], 100)[0]) == [7, 8, 9]
    assert windows(desk.after(ids[3], 2)[0]) == [4, 5]
    assert desk.after(ids[9], 100) == ([], True)
    assert windows(desk.after(None, 3)[0]) == [7, 8, 9]


def test_who_names_an_id_that_is_no_longer_known_is_told_so_and_gets_the_newest():
    made = with_desk(RING + 5)
    desk = made.sessions["desk"]
    found, known = desk.after(invented.decision("desk", 0)["id"], 4)
    assert (windows(found), known) == ([RING + 1, RING + 2, RING + 3, RING + 4], False)


def test_decisions_that_are_said_again_are_kept_once():
    made = with_desk(10)
    decide(made, *range(5, 12))
    assert windows(made.sessions["desk"].decisions) == list(range(12))


@given(st.lists(st.integers(0, 30), max_size=60))
def test_whatever_is_repeated_each_decision_comes_once_and_in_order_of_its_first_telling(told):
    made = with_desk()
    decide(made, *told)
    assert windows(made.sessions["desk"].decisions) == list(dict.fromkeys(told))


def test_a_session_that_ended_stays_to_be_looked_at_until_others_have():
    made = with_desk(3)
    made.take({"type": "gone", "session": "desk", "why": "the camera is lost", "exit_code": 3})
    assert made.sessions["desk"].gone == {"why": "the camera is lost", "exit_code": 3}
    for number in range(ENDED_KEPT):
        made.take(invented.session(f"s{number}"))
        made.take({"type": "gone", "session": f"s{number}"})
    assert list(made.sessions) == [f"s{number}" for number in range(ENDED_KEPT)]


def test_a_session_that_begins_anew_has_nothing_of_the_one_before():
    made = with_desk(3)
    made.take({"type": "gone", "session": "desk", "why": "", "exit_code": 0})
    made.take(invented.session("desk"))
    assert (made.sessions["desk"].status, len(made.sessions["desk"].decisions), made.sessions["desk"].gone) == (None, 0, None)


@pytest.mark.parametrize(
    "message",
    [{}, {"type": "new"}, {"type": "status"}, {"type": "status", "session": "nobody", "status": {}}, {"type": "decision", "session": "desk", "decision": 7},
     {"type": "answer", "id": "x"}, {"type": "gone", "session": "nobody"}, {"type": ["a"]}, {"type": "decision", "session": "desk", "decision": {}}],
)  # fmt: skip
def test_what_it_does_not_understand_is_counted_and_changes_nothing(message):
    made = with_desk(2)
    before = (made.listed(), made.engine)
    made.take(message)
    assert (made.listed(), made.engine) == before
    assert made.unknown.total() == 1


def asking(made, timeout_s=1.0):
    return made.ask({"stop": {"session": "desk"}}, timeout_s)


def test_an_answer_finds_the_one_who_asked():
    sent = []
    made = hub(lambda message: sent.append(message) or True)

    async def two():
        first, second = asyncio.ensure_future(asking(made)), asyncio.ensure_future(asking(made))
        await asyncio.sleep(0)
        made.take({"type": "answer", "id": sent[1]["id"], "done": "the second"})
        made.take({"type": "answer", "id": sent[0]["id"], "done": "the first"})
        return (await first)["done"], (await second)["done"]

    assert asyncio.run(two()) == ("the first", "the second")
    assert [message["ask"] for message in sent] == [{"stop": {"session": "desk"}}] * 2


def test_a_refusal_has_its_line_and_its_status():
    sent = []
    made = hub(lambda message: sent.append(message) or True)

    async def refused():
        task = asyncio.ensure_future(asking(made))
        await asyncio.sleep(0)
        made.take({"type": "answer", "id": sent[0]["id"], "refused": "no room", "status": 503})
        await task

    with pytest.raises(Refused, match="no room") as error:
        asyncio.run(refused())
    assert error.value.status == 503


def test_a_supervisor_that_does_not_answer_or_take_the_request_is_told_as_such():
    with pytest.raises(Refused) as late:
        asyncio.run(asking(hub(), 0.01))
    with pytest.raises(Refused) as full:
        asyncio.run(asking(hub(lambda message: False)))
    assert (late.value.status, full.value.status) == (504, 503)


def test_an_answer_that_comes_too_late_is_nobodys():
    made = hub()
    with pytest.raises(Refused):
        asyncio.run(asking(made, 0.01))
    made.take({"type": "answer", "id": 1, "done": "at last"})
    assert made.unknown.total() == 0


def test_the_list_is_told_when_it_changes_and_not_with_every_status():
    made, box = hub(), Mailbox()
    with made.reader("", box):
        made.take(invented.session("desk"))
        for now_ns in range(1, 5):
            made.take({"type": "status", "session": "desk", "status": invented.status("desk", now_ns)})
        made.take({"type": "status", "session": "desk", "status": invented.status("desk", 5, state="degraded")})
        made.take({"type": "status", "session": "desk", "status": invented.status("desk", 6, state="degraded", recording="on")})
        made.take({"type": "gone", "session": "desk"})
    assert [note.kind for note in asyncio.run(box.take())] == ["sessions"] * 5


def test_a_listener_hears_its_session_only_and_only_while_it_listens():
    made, box = with_desk(), Mailbox()
    made.take(invented.session("hall"))
    with made.reader("desk", box):
        assert made.readers() == {"desk": 1}
        decide(made, 0)
        decide(made, 0, session="hall")
    decide(made, 1)
    assert [note.message["decision"]["session"] for note in asyncio.run(box.take())] == ["desk"]
    assert made.readers() == {}


def test_a_slow_listener_loses_the_oldest_and_every_loss_is_counted():
    made, box = with_desk(), Mailbox(max_waiting=3)
    with made.reader("desk", box):
        decide(made, *range(10))
        assert made.dropped_by_kind() == {"decision": 7}
    assert windows(note.message["decision"] for note in asyncio.run(box.take())) == [7, 8, 9]
    assert made.dropped_by_kind() == {"decision": 7}, "also after it has left"


def test_of_pictures_the_newest_of_each_stream_waits():
    box = Mailbox()
    for stream, frame in (("cam.a", b"1"), ("cam.b", b"2"), ("cam.a", b"3")):
        box.put(Picture(stream, frame))
    box.put(Note("level", {}))
    items = asyncio.run(box.take())
    assert [getattr(item, "frame", item.kind) for item in items] == ["level", b"3", b"2"]
    assert box.dropped == {"picture": 1, "level": 0} or box.dropped == {"picture": 1}


def test_a_message_is_written_once_for_all_who_listen():
    made, boxes = with_desk(), [Mailbox(), Mailbox()]
    with made.reader("desk", boxes[0]), made.reader("desk", boxes[1]):
        decide(made, 0)
    first, second = (asyncio.run(box.take())[0] for box in boxes)
    assert first.text() is second.text()


def test_it_is_degraded_while_the_engine_is_down_or_silent_or_a_session_is_not_well():
    clock = FakeClock(1)
    made = with_desk(clock=clock)
    assert made.reasons() == []
    made.take({"type": "status", "session": "desk", "status": invented.status("desk", S, state="degraded")})
    made.take(invented.engine("down", why="its process died"))
    assert made.reasons() == ["the engine is down: its process died", "session desk is degraded"]
    made.take(invented.engine())
    made.take({"type": "gone", "session": "desk"})
    assert made.reasons() == []
    clock.sleep_until(clock.now_ns() + 11 * S)
    assert made.reasons() == ["the supervisor has said nothing of the engine for 10 s"]


def test_before_anything_is_told_it_is_not_ready():
    assert hub().reasons() == ["the engine is starting: it is not ready"]
