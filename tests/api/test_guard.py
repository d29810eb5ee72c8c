"""What the guard takes from one client and from all: how much, how fast, how long; and what it tells when something breaks."""

import asyncio
import logging

import pytest
from asgi import HOST, ask
from guarded import Guarded, by_token

from pipeline.api.origins import Origins

MINUTE_NS = 60_000_000_000
OWN = (b"origin", b"http://127.0.0.1:8700")


def statuses(guarded, count, headers=None, **more):
    return [guarded.ask("GET", "/api/health", headers, **more).status for _ in range(count)]


def test_an_address_that_asks_too_often_is_told_when_to_come_back(tmp_path):
    guarded = Guarded(tmp_path, per_minute=60)
    assert statuses(guarded, 10) == [200] * 10
    answer = guarded.ask("GET", "/api/health")
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")
    guarded.clock.sleep_until(guarded.clock.now_ns() + MINUTE_NS // 60)
    assert statuses(guarded, 2) == [200, 429]


def test_others_are_answered_while_one_address_floods(tmp_path):
    guarded = Guarded(tmp_path, per_minute=60)
    assert statuses(guarded, 20, client="10.0.0.1")[-1] == 429
    assert statuses(guarded, 1, client="10.0.0.2") == [200]


def test_who_shows_no_token_uses_up_nothing_of_who_does_even_from_the_same_address(tmp_path):
    guarded = Guarded(tmp_path, per_minute=60)
    assert statuses(guarded, 20, [(b"host", HOST)])[-1] == 429
    assert statuses(guarded, 1) == [200]


def test_wrong_attempts_are_fewer_than_requests_and_never_keep_the_right_one_out(tmp_path):
    guarded = Guarded(tmp_path, failures_per_minute=60)
    tries = [guarded.ask("GET", "/api/health", by_token("wrong")).status for _ in range(12)]
    assert tries == [401] * 10 + [429] * 2
    assert statuses(guarded, 1) == [200]
    assert guarded.guard.refused == {"wrong_token": 10, "attempts": 2}


def test_an_answer_to_a_wrong_token_is_held_back_and_one_without_a_token_is_not(tmp_path):
    guarded = Guarded(tmp_path)
    guarded.guard._failure_s = 60

    async def within(headers):
        async with asyncio.timeout(0.05):
            return (await ask(guarded.guard, "GET", "/api/health", headers)).status

    assert asyncio.run(within([(b"host", HOST)])) == 401
    with pytest.raises(TimeoutError):
        asyncio.run(within(by_token("wrong")))


def test_only_who_shows_the_token_or_the_cookie_has_a_place_of_their_own(tmp_path):
    guarded = Guarded(tmp_path)
    guarded.ask("GET", "/health/live", [(b"host", HOST)])
    guarded.ask("GET", "/api/health", by_token("wrong"))
    guarded.ask("GET", "/api/health", by_token(host=b"evil"))
    assert guarded.proved == []
    guarded.ask("GET", "/api/health")
    guarded.connect("/api/live", [(b"host", HOST), (b"cookie", guarded.cookie()), OWN])
    assert guarded.proved == [("127.0.0.1", 40_000)] * 2


@pytest.mark.parametrize("said", [b"1025", b"99999999999999999999", b"-1", b"1e3", b"\xb2"])
def test_a_length_that_is_too_much_or_none_is_refused_before_anything_is_read(tmp_path, said):
    guarded = Guarded(tmp_path, body_kb=1)
    assert guarded.ask("POST", "/api/sessions", [*by_token(), (b"content-length", said)]).status == 413


def test_a_body_that_grows_too_long_in_pieces_is_refused(tmp_path):
    guarded = Guarded(tmp_path, body_kb=1)
    headers = [*by_token(), (b"content-type", b"application/json")]
    answer = guarded.ask("POST", "/api/sessions", headers, [b" " * 600, b" " * 600, b'{"config": "desk"}'])
    assert (answer.status, answer.json()) == (413, {"error": "at most 1024 bytes are taken"})
    assert guarded.asked == []


def test_a_body_that_does_not_come_in_time_is_given_up(tmp_path):
    guarded = Guarded(tmp_path, seconds=0.05)
    headers = [*by_token(), (b"content-type", b"application/json"), (b"content-length", b"20")]

    async def stuck():
        app, sent = guarded.guard, []
        scope = {"type": "http", "method": "POST", "path": "/api/sessions", "headers": headers, "query_string": b"", "scheme": "http"}
        scope |= {"client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8700), "root_path": "", "raw_path": b"", "http_version": "1.1"}
        parts = [{"type": "http.request", "body": b'{"con', "more_body": True}]

        async def receive():
            return parts.pop() if parts else await asyncio.sleep(60)

        async def send(message):
            sent.append(message)

        await app(scope, receive, send)
        return sent[0]["status"]

    assert asyncio.run(stuck()) == 408
    assert guarded.guard.refused["slow_body"] == 1


def test_an_answer_that_takes_too_long_is_given_up_with_a_line(tmp_path):
    guarded = Guarded(tmp_path, seconds=0.05)

    async def endless(scope, receive, send):
        await asyncio.sleep(60)

    guarded.guard._app = endless
    answer = guarded.ask("GET", "/api/health")
    assert (answer.status, answer.json()) == (504, {"error": "this took longer than 0.05 s"})


def test_a_program_that_reads_a_stream_too_slowly_is_let_go(tmp_path):
    guarded = Guarded(tmp_path, seconds=0.05)

    async def slow():
        asked = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive():
            return asked.pop() if asked else await asyncio.sleep(60)

        async def send(message):
            if message["type"] == "http.response.body":
                await asyncio.sleep(60)  # its window is full

        scope = {"type": "http", "method": "GET", "path": "/api/sessions/desk/decisions/stream", "headers": by_token(), "query_string": b""}
        scope |= {
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8700),
            "scheme": "http",
            "root_path": "",
            "raw_path": b"",
            "http_version": "1.1",
        }
        async with asyncio.timeout(5):
            await guarded.guard({**scope, "asgi": {"spec_version": "2.3"}}, receive, send)

    with pytest.raises(ConnectionAbortedError):
        asyncio.run(slow())
    assert guarded.guard.refused == {"slow": 1}
    assert guarded.hub.readers() == {}


def broken(guarded, path="/api/broken"):
    def fail():
        raise RuntimeError("secret of the inside: hunter2")

    guarded.app.router.routes.insert(0, guarded.app.router.route_class(path, fail, methods=["GET"]))
    return guarded.ask("GET", path)


def test_what_breaks_inside_is_one_line_outside_and_a_trace_in_the_log_only(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    guarded = Guarded(tmp_path)
    answer = broken(guarded)
    assert (answer.status, answer.json()) == (500, {"error": "internal error; the daemon's log has it (sensorium logs)"})
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [RuntimeError]
    assert guarded.guard.refused["internal"] == 1


def test_what_is_wrong_with_a_request_is_one_line_that_does_not_repeat_it(tmp_path):
    guarded = Guarded(tmp_path)
    for body, expected in (
        (b'{"config": 7, "secret": "hunter2"}', "body.config: Input should be a valid string"),
        (b'{"config": "desk", "hunter2": 1}', "body.hunter2: Extra inputs are not permitted"),
        (b'{"config": "desk"', "body.17: JSON decode error"),
        (b'{"config": "desk", "session": "../../etc"}', "body.session: String should match pattern"),
    ):
        answer = guarded.json("POST", "/api/sessions", body)
        assert answer.status == 422
        assert answer.json()["error"].startswith(expected)
    assert guarded.asked == []


def test_a_request_is_one_line_of_the_log_without_its_query(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    guarded = Guarded(tmp_path)
    guarded.ask("GET", "/enter?code=hunter2", [(b"host", HOST)])
    guarded.ask("GET", "/api/sessions/desk?x=hunter2")
    facts = [record.facts for record in caplog.records if record.name == "sensorium.api.access"]
    assert [(fact["method"], fact["path"], fact["status"], fact["by"]) for fact in facts] == [
        ("GET", "/enter", 401, ""),
        ("GET", "/api/sessions/desk", 200, "token"),
    ]
    assert "hunter2" not in str(facts)


def test_a_flood_of_refused_requests_does_not_flood_the_log(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    guarded = Guarded(tmp_path)
    for _ in range(50):
        guarded.ask("GET", "/api/health", [(b"host", HOST)])
    assert len(caplog.records) == 10
    guarded.clock.sleep_until(guarded.clock.now_ns() + MINUTE_NS)
    guarded.ask("GET", "/api/health", [(b"host", HOST)])
    assert caplog.records[-1].facts["not_told_before"] == 40


@pytest.mark.parametrize(
    ("listens", "names", "good", "bad"),
    [
        ("127.0.0.1", (), ["localhost:1", "127.0.0.1", "[::1]:8700", "LOCALHOST"], ["sensor.example", "127.0.0.2", "[::2]"]),
        ("192.168.1.5", (), ["192.168.1.5:8700"], ["localhost", "127.0.0.1:8700", "192.168.1.6"]),
        ("0.0.0.0", ("sensor.example",), ["Sensor.Example:9000", "127.0.0.1"], ["0.0.0.0", "sensor.example.evil", "xsensor.example"]),
        ("::1", (), ["[::1]", "localhost"], ["::1", "[::1]x", "[::1]:x"]),
    ],
)
def test_the_names_of_a_server_are_those_it_listens_on_and_those_it_is_given(listens, names, good, bad):
    origins = Origins(listens, names)
    assert [name for name in good if not origins.is_host(name.encode())] == []
    assert [name for name in bad if origins.is_host(name.encode())] == []


def test_under_tls_the_origin_is_https(tmp_path):
    guarded = Guarded(tmp_path, secure=True)
    cookie = (b"cookie", guarded.cookie())
    for origin, status in ((b"https://127.0.0.1:8700", 200), (b"http://127.0.0.1:8700", 403)):
        assert guarded.ask("GET", "/api/health", [(b"host", HOST), cookie, (b"origin", origin)], secure=True).status == status
