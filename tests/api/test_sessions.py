"""Sessions over HTTP: what is asked of the supervisor, and what comes of its answers."""

import asyncio
import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import inventedsession as invented
import pytest
from guarded import Guarded, by_token

from pipeline.live.text import TextBox
from pipeline.live.token import read_token, token_path
from pipeline.sources.text_post import _Serving

S = 1_000_000_000


@pytest.fixture
def guarded(tmp_path):
    return Guarded(tmp_path)


@pytest.mark.parametrize(
    ("method", "path", "body", "asked", "status"),
    [
        ("GET", "/api/configs", b"", {"configs": {}}, 200),
        ("GET", "/api/presets", b"", {"presets": {}}, 200),
        ("POST", "/api/sessions", b'{"config": "desk"}', {"start": {"config": "desk", "session": None, "record": False}}, 201),
        ("POST", "/api/sessions", b'{"config": "desk", "session": "my-desk", "record": true}',
         {"start": {"config": "desk", "session": "my-desk", "record": True}}, 201),
        ("DELETE", "/api/sessions/desk", b"", {"stop": {"session": "desk"}}, 200),
        ("POST", "/api/sessions/desk/record", b'{"on": false}', {"record": {"session": "desk", "on": False}}, 200),
        ("POST", "/api/sessions/desk/detach", b'{"sources": ["cam", "mic"]}', {"detach": {"session": "desk", "sources": ["cam", "mic"]}}, 200),
        ("POST", "/api/sessions/desk/attach", b'{"preset": "browser"}', {"attach": {"session": "desk", "preset": "browser"}}, 200),
        ("DELETE", "/api/recordings/story", b"", {"purge": {"recording": "story"}}, 200),
        ("POST", "/api/recordings/story/replay", b'{"start_ns": 5, "speed": "max"}',
         {"replay": {"recording": "story", "start_ns": 5, "end_ns": None, "speed": "max", "session": None}}, 201),
    ],
)  # fmt: skip
def test_what_a_page_asks_for_is_asked_of_the_supervisor(guarded, method, path, body, asked, status):
    answer = guarded.json(method, path, body)
    assert (answer.status, guarded.asked) == (status, [asked])
    assert method == "GET" or answer.json()["done"] == "done"


def test_what_the_supervisor_refuses_is_refused_with_its_line_and_status(guarded):
    guarded.answer = {"refused": "heavy needs 1.4 cores, 0.6 of 1.8 are free", "status": 503}
    answer = guarded.json("POST", "/api/sessions", b'{"config": "heavy"}')
    assert (answer.status, answer.json()) == (503, {"error": "heavy needs 1.4 cores, 0.6 of 1.8 are free"})


def test_a_line_of_the_supervisor_is_shown_without_secrets_and_control_characters(guarded):
    guarded.answer = {"refused": "rtsp://me:hunter2@cam/1 \x1b[31mis lost", "status": 409}
    assert guarded.json("DELETE", "/api/sessions/desk", b"").json() == {"error": "rtsp://***@cam/1 �[31mis lost"}


@pytest.mark.parametrize("path", ["", "/record", "/detach", "/attach", "/text", "/offer"])
def test_of_a_session_that_is_not_there_nothing_is_asked(guarded, path):
    bodies = {"/record": b'{"on": true}', "/detach": b'{"sources": ["a"]}', "/attach": b'{"preset": "b"}', "/text": b'{"text": "t"}'}
    headers = [*by_token(), (b"content-type", b"application/sdp" if path == "/offer" else b"application/json")]
    method = "POST" if path else "DELETE"
    for name in ("nobody", "..%2f..", "desk/../desk", "%00"):
        assert guarded.ask(method, f"/api/sessions/{name}{path}", headers, [bodies.get(path, b"")]).status in (404, 405)
    guarded.hub.take({"type": "gone", "session": "desk"})
    answer = guarded.ask(method, f"/api/sessions/desk{path}", headers, [bodies.get(path, b"")])
    assert (answer.status, answer.json()["error"]) == (404, "session desk has ended")
    assert guarded.asked == []


def test_a_session_shows_what_the_supervisor_said_and_its_newest_status(guarded):
    (listed,) = guarded.ask("GET", "/api/sessions").json()
    assert listed == guarded.ask("GET", "/api/sessions/desk").json()
    said = {key: value for key, value in invented.session("desk").items() if key != "type"}
    assert listed == {**said, "status": invented.status("desk", S), "gone": None}


# -- doors: text and a browser's offer go on to the session's source


def with_doors(guarded, **doors):
    guarded.hub.take({"type": "status", "session": "desk", "status": invented.status("desk", S, doors=doors)})
    return guarded


def say(guarded, text="hello", source=None):
    more = "" if source is None else f', "source": "{source}"'
    return guarded.json("POST", "/api/sessions/desk/text", f'{{"text": "{text}"{more}}}'.encode())


@pytest.fixture
def post(tmp_path, monkeypatch):
    """The server of a real `Post` source."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    serving = _Serving(0, read_token("test", token_path()), TextBox(lambda: 7, 100), 100)
    yield serving
    serving.close()


def test_text_reaches_the_source_that_takes_it(guarded, post):
    answer = say(with_doors(guarded, notes={"text": post.address}, me={"offer": "http://127.0.0.1:1/offer"}), "grüße")
    assert (answer.status, answer.json()) == (200, {"done": "notes has it"})
    assert [item.payload.text for item in post.box.take()] == ["grüße"]


def test_where_several_take_text_it_must_be_said_which(guarded, post):
    with_doors(guarded, a={"text": post.address}, b={"text": "http://127.0.0.1:1/text"})
    assert say(guarded).json() == {"error": "several sources take it: say which of a, b (source)"}
    assert say(guarded, source="a").status == 200
    assert say(guarded, source="c").status == 409


def test_what_the_source_refuses_is_told(guarded, post):
    answer = say(with_doors(guarded, notes={"text": post.address}), "x" * 101)
    assert (answer.status, answer.json()) == (413, {"error": "the source says: at most 100 bytes wanted"})


@pytest.mark.parametrize(
    "address",
    ["http://10.0.0.1:80/text", "https://127.0.0.1:1/text", "file:///etc/passwd", "http://127.0.0.1/text", "http://localhost:1/t"],
)
def test_a_door_that_is_not_on_this_machine_is_not_used(guarded, address):
    answer = say(with_doors(guarded, notes={"text": address}))
    assert (answer.status, answer.json()) == (502, {"error": "the source's door is not on this machine"})


def test_without_a_door_or_with_a_dead_one_it_is_said(guarded, post):
    assert say(guarded).json() == {"error": "no source of this session takes text just now"}
    post.close()
    assert say(with_doors(guarded, notes={"text": post.address})).json() == {"error": "the source does not answer just now"}


@contextlib.contextmanager
def answering(status, body):
    """In place of a browser source."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append(
                (
                    self.path,
                    self.headers["Authorization"],
                    self.headers["Content-Type"],
                    self.rfile.read(int(self.headers["Content-Length"])),
                )
            )
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.02])
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/offer", seen
    server.shutdown()
    server.server_close()
    thread.join()


def offer(guarded, kind=b"application/sdp", path="/api/sessions/desk/offer"):
    return guarded.ask("POST", path, [*by_token(), (b"content-type", kind)], [b"v=0 offer"])


def test_a_browsers_offer_reaches_the_source_with_the_token_and_its_answer_comes_back(guarded, post):
    with answering(201, b"v=0 answer") as (address, seen):
        answer = offer(with_doors(guarded, me={"offer": address}), path="/api/sessions/desk/offer?source=me")
    assert (answer.status, answer.headers["content-type"], answer.body) == (201, "application/sdp", b"v=0 answer")
    assert seen == [("/offer", f"Bearer {read_token('test', token_path())}", "application/sdp", b"v=0 offer")]


def test_an_offer_of_another_kind_is_refused(guarded):
    assert offer(guarded, b"text/html").status == 415


def test_a_source_that_fails_is_a_bad_gateway_with_one_line(guarded, post):
    with answering(500, b"<html>\nTraceback rtsp://me:hunter2@cam</html>" * 100) as (address, _):
        answer = offer(with_doors(guarded, me={"offer": address}))
    assert answer.status == 502
    assert len(answer.body) < 300
    assert b"hunter2" not in answer.body


def test_two_requests_at_a_time_get_their_own_answers(guarded):
    async def both():
        asked = []
        guarded.hub._send = lambda message: asked.append(message) or True
        tasks = [asyncio.ensure_future(guarded.hub.ask({"stop": {"session": name}}, 5)) for name in ("a", "b")]
        await asyncio.sleep(0)
        for message in reversed(asked):
            guarded.hub.take({"type": "answer", "id": message["id"], "done": message["ask"]["stop"]["session"]})
        return [(await task)["done"] for task in tasks]

    assert asyncio.run(both()) == ["a", "b"]
