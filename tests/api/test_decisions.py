"""Decisions as they are made: over HTTP, as server-sent events, over a WebSocket; each resumes from an id."""

import asyncio
import json

import inventedsession as invented
import pytest
from guarded import Guarded

from pipeline.api.decisions import events
from pipeline.api.hub import RING
from pipeline.api.live import MOST_READ

ID = {window: invented.decision("desk", window)["id"] for window in range(RING + 50)}


@pytest.fixture
def guarded(tmp_path):
    return Guarded(tmp_path)  # windows 0 to 4 are decided


def windows(decisions):
    return [decision["window"] for decision in decisions]


def test_the_newest_decisions_and_those_after_an_id(guarded):
    def ask(query):
        return guarded.ask("GET", f"/api/sessions/desk/decisions{query}").json()

    assert windows(ask("")["decisions"]) == [0, 1, 2, 3, 4]
    assert windows(ask("?limit=2")["decisions"]) == [3, 4]
    assert windows(ask(f"?after={ID[1]}&limit=2")["decisions"]) == [2, 3]
    assert ask(f"?after={ID[4]}") == {"decisions": [], "known": True}
    assert ask("?after=no-such-id")["known"] is False
    assert ask("")["decisions"][0] == json.loads(json.dumps(invented.decision("desk", 0)))


@pytest.mark.parametrize("query", ["?limit=0", "?limit=1001", "?limit=x", f"?after={'x' * 65}"])
def test_a_query_that_is_none_is_refused(guarded, query):
    assert guarded.ask("GET", f"/api/sessions/desk/decisions{query}").status == 422


# -- server-sent events


async def read(guarded, after, count, then=lambda: None):
    """The first `count` events; `then` happens after the first of them."""
    found = []
    stream = events(guarded.house, "desk", after)
    async for event in stream:
        found.append(event)
        if len(found) == 1:
            then()
        if len(found) == count:
            break
    await stream.aclose()
    return found


def parsed(event):
    return dict(line.split(": ", 1) for line in event.strip().splitlines())


def test_events_begin_with_what_was_missed_and_go_on_with_what_is_made(guarded):
    _, *found = asyncio.run(read(guarded, ID[2], 5, lambda: guarded.decide(5, 6)))
    assert [parsed(event)["id"] for event in found] == [ID[3], ID[4], ID[5], ID[6]]
    assert json.loads(parsed(found[0])["data"]) == json.loads(json.dumps(invented.decision("desk", 3)))


def test_without_an_id_only_what_is_made_from_now_on_comes(guarded):
    _, found = asyncio.run(read(guarded, None, 2, lambda: guarded.decide(5)))
    assert parsed(found)["id"] == ID[5]


def test_an_event_stream_ends_with_its_session(guarded):
    def end():
        guarded.decide(5)
        guarded.hub.take({"type": "gone", "session": "desk", "why": "stopped", "exit_code": 0})

    _, decided, gone = asyncio.run(read(guarded, None, 99, end))
    assert parsed(decided)["id"] == ID[5]
    assert parsed(gone) == {"event": "gone", "data": '{"type":"gone","session":"desk","why":"stopped","exit_code":0}'}
    _, *again = asyncio.run(read(guarded, ID[4], 99))
    assert again == [decided, gone], "also for who comes after it"
    assert guarded.hub.readers() == {}


def test_a_slow_reader_of_events_is_told_how_many_it_missed(guarded):
    _, missed, first = asyncio.run(read(guarded, None, 3, lambda: guarded.decide(*range(5, 5 + 520))))
    assert parsed(missed) == {"event": "missed", "data": '{"dropped":{"decision":8}}'}
    assert parsed(first)["id"] == ID[13]


def test_statuses_are_no_events(guarded):
    def both():
        guarded.hub.take({"type": "status", "session": "desk", "status": invented.status("desk", 10)})
        guarded.decide(5)

    _, found = asyncio.run(read(guarded, None, 2, both))
    assert parsed(found)["id"] == ID[5]


def test_a_browser_resumes_by_last_event_id(guarded):
    from guarded import by_token

    answer = guarded.ask("GET", "/api/sessions/desk/decisions/stream", [*by_token(), (b"last-event-id", ID[3].encode())])
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert guarded.ask("GET", "/api/sessions/nobody/decisions/stream").status == 404


# -- WebSockets


def test_a_page_gets_the_session_its_status_and_what_it_missed(guarded):
    answer = guarded.connect(f"/api/sessions/desk/live?after={ID[2]}", frames=4)
    assert [frame["type"] for frame in answer.frames] == ["session", "status", "decision", "decision"]
    assert answer.frames[0] == invented.session("desk")
    assert [frame["decision"]["id"] for frame in answer.frames[2:]] == [ID[3], ID[4]]


def test_a_page_of_a_session_that_has_ended_gets_its_last_words(guarded):
    guarded.hub.take({"type": "gone", "session": "desk", "why": "the camera is lost", "exit_code": 3})
    answer = guarded.connect("/api/sessions/desk/live", frames=3)
    assert answer.frames[2] == {"type": "gone", "session": "desk", "why": "the camera is lost", "exit_code": 3}


def test_a_page_of_a_session_that_is_not_there_is_closed_with_a_reason(guarded):
    assert guarded.connect("/api/sessions/nobody/live").frames == [4404]


def test_the_list_begins_with_the_engine_and_the_sessions(guarded):
    engine, sessions = guarded.connect("/api/live", frames=2).frames
    assert (engine["type"], engine["state"]) == ("engine", "running")
    assert [session["session"] for session in sessions["sessions"]] == ["desk"]


def test_when_a_page_leaves_nothing_of_it_stays(guarded):
    guarded.connect("/api/sessions/desk/live")
    guarded.connect("/api/live")
    assert guarded.hub.readers() == {}


def test_a_page_that_talks_too_much_is_sent_away(guarded):
    from asgi import scope_of
    from guarded import by_token

    async def chat():
        sent, said = [], iter([{"type": "websocket.connect"}, *[{"type": "websocket.receive", "text": "x"}] * MOST_READ])

        async def receive():
            return next(said)

        async def send(message):
            sent.append(message)

        await asyncio.wait_for(guarded.guard(scope_of("websocket", "/api/live", by_token(), "127.0.0.1", False), receive, send), 5)
        return sent[-1]

    assert asyncio.run(chat()) == {"type": "websocket.close", "code": 1008, "reason": "nothing is wanted on this socket"}
