"""The API as a process of its own: where it listens, what it refuses to do, how it ends, and what it takes from those who mean harm."""

import contextlib
import http.client
import json
import os
import socket
import ssl
import time
import warnings
from http import HTTPStatus

import inventedsession as invented
import psutil
import pytest
from certificates import certificate
from fakesupervisor import FakeSupervisor
from waiting import until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from pipeline.api.client import ApiError, Client, NoApi

S = 1_000_000_000
CANARY = "canary-3f9a17"


@contextlib.contextmanager
def running(folder, answer=None, **service):
    supervisor = FakeSupervisor(folder, *([] if answer is None else [answer]), **service).start()
    try:
        assert supervisor.address, supervisor.errors
        yield supervisor
    finally:
        if supervisor.process.poll() is None:
            supervisor.end()


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    with running(tmp_path_factory.mktemp("api"), limits={"per_minute": 1_000_000}) as supervisor:
        tell(supervisor, 20)
        yield supervisor


def tell(supervisor, windows):
    supervisor.say(invented.engine())
    supervisor.say(invented.session("desk"))
    supervisor.say({"type": "status", "session": "desk", "status": invented.status("desk", S)})
    for window in range(windows):
        supervisor.say({"type": "decision", "session": "desk", "decision": invented.decision("desk", window)})


def ask(supervisor, path, method="GET", body=None, token=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", supervisor.port, timeout=10)
    try:
        connection.request(method, path, body, {"Authorization": f"Bearer {token or supervisor.token}", **headers})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def client_of(supervisor, certificate=""):
    return Client(address=supervisor.address, token=supervisor.token, certificate=str(certificate), run_dir=supervisor.run_dir)


# -- where it listens, and when it does not


def listeners(pid):
    return {connection.laddr[0] for connection in psutil.Process(pid).net_connections("inet") if connection.status == psutil.CONN_LISTEN}


def test_it_listens_on_loopback_only(api):
    assert listeners(api.process.pid) == {"127.0.0.1"}


def test_the_token_is_made_at_the_first_start_for_its_owner_only(api):
    path = api.folder / "state" / "sensorium" / "token"
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(api.token) >= 32


@pytest.mark.parametrize(
    ("service", "line"),
    [
        ({"listen": "0.0.0.0:0"}, "is beyond this machine, where the token would go in the clear; set tls:"),
        ({"listen": "[::]:0"}, "is beyond this machine"),
        ({"listen": "192.0.2.1:0"}, "is beyond this machine"),
        (
            {"listen": "127.0.0.1:0", "tls": {"certificate": "nowhere.pem", "key": "nowhere.key"}},
            "cannot be read (No such file or directory: ",
        ),
    ],
)
def test_what_may_not_be_listened_on_ends_it_with_one_line(tmp_path, service, line):
    supervisor = FakeSupervisor(tmp_path, **service).start()
    assert supervisor.end() == 2
    (said,) = supervisor.errors
    assert said.startswith("sensorium: ")
    assert line in said


def test_a_wildcard_address_wants_the_names_it_is_called_by(tmp_path):
    pem, key = certificate(tmp_path)
    supervisor = FakeSupervisor(tmp_path, listen="0.0.0.0:0", tls={"certificate": str(pem), "key": str(key)}).start()
    assert supervisor.end() == 2
    assert "hosts: is empty" in supervisor.errors[-1]


def test_a_port_that_is_taken_is_told(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        supervisor = FakeSupervisor(tmp_path, listen=f"127.0.0.1:{holder.getsockname()[1]}").start()
        assert supervisor.end() == 2
    assert "cannot be listened on (Address already in use)" in supervisor.errors[-1]


@pytest.mark.parametrize("which", ["token", "key"])
def test_a_secret_that_others_can_read_ends_it_with_one_line(tmp_path, which):
    pem, key = certificate(tmp_path)
    token = tmp_path / "state" / "sensorium" / "token"
    token.parent.mkdir(parents=True)
    token.touch(mode=0o600)
    token.write_text("0123456789abcdef")
    {"token": token, "key": key}[which].chmod(0o640)
    supervisor = FakeSupervisor(tmp_path, tls={"certificate": str(pem), "key": str(key)}).start()
    assert supervisor.end() == 2
    assert "can be read by others" in supervisor.errors[-1]
    assert "0123456789abcdef" not in str(supervisor.errors)


def test_without_a_daemon_it_says_what_starts_it(tmp_path):
    supervisor = FakeSupervisor(tmp_path)
    supervisor.say = lambda message: FakeSupervisor.say(supervisor, {"odd": 1})
    assert supervisor.start().end() == 2
    assert "sensorium run --daemon" in supervisor.errors[-1]


# -- its life with the supervisor


def test_it_says_that_it_lives_and_ends_with_its_supervisor(tmp_path):
    with running(tmp_path) as supervisor:
        until(lambda: supervisor.beats >= 3, 10)
        assert supervisor.end() == 0


def test_a_page_that_is_open_does_not_keep_it_from_ending(tmp_path):
    with running(tmp_path) as supervisor:
        tell(supervisor, 1)
        with connect(
            supervisor.address.replace("http", "ws") + "/api/live", additional_headers={"Authorization": f"Bearer {supervisor.token}"}
        ) as page:
            page.recv(5)
            begun = time.monotonic()
            assert supervisor.end() == 0
            assert time.monotonic() - begun < 5


def test_lines_of_the_supervisor_that_are_none_cost_nothing(api):
    for line in ("not json", "[1, 2]", "{", "[" * 100_000, '{"type": "answer", "id": 99, "done": ""}', '{"type": "new"}'):
        api.process.stdin.write(line + "\n")
    api.process.stdin.flush()
    until(lambda: b'sensorium_api_unfit_total{of="supervisor"} 5.0' in ask(api, "/metrics")[1], 5)
    assert ask(api, "/api/sessions")[0] == HTTPStatus.OK


def test_a_new_process_resumes_where_a_reader_was_and_knows_its_browser(tmp_path):
    with running(tmp_path) as supervisor:
        tell(supervisor, 10)
        connection = http.client.HTTPConnection("127.0.0.1", supervisor.port, timeout=10)
        connection.request("GET", supervisor.enter().removeprefix(supervisor.address))
        cookie = connection.getresponse().headers["Set-Cookie"].partition(";")[0]
        connection.close()
        last = invented.decision("desk", 6)["id"]
        supervisor.service = {**supervisor.service, "listen": f"127.0.0.1:{supervisor.port}"}
        supervisor.kill()
        supervisor.start()
        tell(supervisor, 12)
        until(lambda: len(json.loads(ask(supervisor, "/api/sessions/desk/decisions")[1])["decisions"]) == 12, 5)
        found = json.loads(ask(supervisor, f"/api/sessions/desk/decisions?after={last}")[1])
        assert [decision["window"] for decision in found["decisions"]] == [7, 8, 9, 10, 11]
        assert found["known"]
        connection = http.client.HTTPConnection("127.0.0.1", supervisor.port, timeout=10)
        connection.request("GET", "/api/service", headers={"Cookie": cookie})
        assert connection.getresponse().status == HTTPStatus.OK
        connection.close()


# -- the client of the commands


def test_the_client_asks_for_what_the_commands_want(tmp_path):
    asked = []

    def answer(request):
        asked.append(request)
        return (
            {"refused": "heavy needs 1.4 cores", "status": 503} if request.get("start", {}).get("config") == "heavy" else {"done": "done"}
        )

    with running(tmp_path, answer) as supervisor:
        tell(supervisor, 1)
        client = client_of(supervisor)
        until(lambda: client.sessions() and client.sessions()[0]["status"], 5)
        assert client.service()["engine"]["state"] == "running"
        assert client.session("desk")["session"] == "desk"
        lines = [
            client.start("desk", record=True),
            client.record("desk", on=True),
            client.detach("desk", ["cam"]),
            client.attach("desk", "browser"),
            client.stop("desk"),
        ]
        assert lines == ["done"] * 5
        assert [next(iter(request)) for request in asked] == ["start", "record", "detach", "attach", "stop"]
        with pytest.raises(ApiError, match=r"heavy needs 1\.4 cores") as refused:
            client.start("heavy")
        assert refused.value.status == 503
        with pytest.raises(ApiError, match="no session of that name runs") as missing:
            client.stop("nobody")
        assert missing.value.status == 404
        assert any(line["line"] == "listening" for line in client.logs())


def test_a_one_time_address_lets_one_browser_in(api):
    code = client_of(api).one_time_address().removeprefix(api.address)
    statuses = []
    for _ in range(2):
        connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=10)
        connection.request("GET", code)
        statuses.append(connection.getresponse().status)
        connection.close()
    assert statuses == [303, 401]


def test_a_daemon_that_cannot_be_reached_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with pytest.raises(NoApi, match="is not ready"):
        Client.of(tmp_path)
    for content in ("{", "[]", "{}"):
        (tmp_path / "api.json").write_text(content)
        with pytest.raises(NoApi, match="is not ready"):
            Client.of(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    (tmp_path / "api.json").write_text(json.dumps({"address": address, "certificate": "x.pem"}))
    assert (Client.of(tmp_path).address, Client.of(tmp_path).certificate, Client.of(tmp_path).run_dir) == (address, "x.pem", tmp_path)
    with pytest.raises(NoApi, match=r"does not answer \(Connection refused\)"):
        Client.of(tmp_path).sessions()


# -- TLS


def test_under_tls_the_client_talks_to_that_very_certificate_and_to_no_other(tmp_path):
    pem, key = certificate(tmp_path)
    other, _ = certificate(tmp_path, "other")
    with running(tmp_path, tls={"certificate": str(pem), "key": str(key)}) as supervisor:
        assert supervisor.address.startswith("https://127.0.0.1:")
        client = client_of(supervisor, certificate=pem)
        assert client.sessions() == []
        with pytest.raises(ApiError, match="the token was not sent"):
            client_of(supervisor, certificate=other).sessions()
        context = ssl.create_default_context(cafile=str(pem))
        url = supervisor.address.replace("https", "wss") + "/api/live"
        with connect(url, ssl=context, additional_headers={"Authorization": f"Bearer {supervisor.token}"}) as page:
            assert json.loads(page.recv(5))["type"] == "engine"
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with socket.create_connection(("127.0.0.1", supervisor.port), timeout=5) as plain, pytest.raises(ssl.SSLError):
            old.wrap_socket(plain)


def test_beyond_this_machine_it_listens_with_tls_and_by_its_names_only(tmp_path):
    pem, key = certificate(tmp_path)
    with running(tmp_path, listen="0.0.0.0:0", hosts=["sensor.example"], tls={"certificate": str(pem), "key": str(key)}) as supervisor:
        assert listeners(supervisor.process.pid) == {"0.0.0.0"}
        context = ssl.create_default_context(cafile=str(pem))
        statuses = {}
        for name in ("sensor.example", "evil.example", "127.0.0.1"):
            connection = http.client.HTTPSConnection("127.0.0.1", supervisor.port, timeout=10, context=context)
            connection.request("GET", "/health/live", headers={"Host": f"{name}:{supervisor.port}"})
            statuses[name] = connection.getresponse().status
            connection.close()
        assert statuses == {"sensor.example": 200, "evil.example": 421, "127.0.0.1": 200}


def test_handshakes_that_are_never_finished_are_given_up_and_keep_nobody_out(tmp_path):
    pem, key = certificate(tmp_path)
    limits = {"connections": 8, "connections_of_one": 8, "seconds": 0.5}
    with running(tmp_path, tls={"certificate": str(pem), "key": str(key)}, limits=limits) as supervisor, contextlib.ExitStack() as stack:
        half = [stack.enter_context(socket.create_connection(("127.0.0.1", supervisor.port))) for _ in range(20)]
        assert client_of(supervisor, certificate=pem).sessions() == []
        for each in half:
            each.settimeout(5)
            with contextlib.suppress(ConnectionResetError):
                assert each.recv(1) == b""


# -- who means harm


def refused_by(supervisor, reason):
    text = ask(supervisor, "/metrics")[1].decode()
    return next(
        (
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith(f'sensorium_api_refused_total{{reason="{reason}"}}')
        ),
        0.0,
    )


def half_open(supervisor, stack, count, data=b"GET / HTTP/1.1\r\nHost: 127."):
    made = []
    for _ in range(count):
        each = stack.enter_context(socket.create_connection(("127.0.0.1", supervisor.port)))
        each.settimeout(10)
        if data:
            each.sendall(data)
        made.append(each)
    return made


def is_closed(each):
    try:
        return each.recv(4096) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\nHost: 127."], ids=["silent", "half a head"])
def test_slow_connections_keep_nobody_out_and_are_given_up(tmp_path, data):
    with (
        running(tmp_path, limits={"connections": 16, "connections_of_one": 16, "seconds": 0.5}) as supervisor,
        contextlib.ExitStack() as stack,
    ):
        slow = half_open(supervisor, stack, 60, data)
        assert [ask(supervisor, "/api/sessions")[0] for _ in range(5)] == [200] * 5
        assert all(is_closed(each) for each in slow)
        until(lambda: psutil.Process(supervisor.process.pid).num_fds() < 40, 5, "its sockets are closed")
        assert refused_by(supervisor, "slow_head") > 0
        assert refused_by(supervisor, "address_connections") >= 44


def test_a_head_that_drips_in_is_given_up_however_often_a_byte_comes(tmp_path):
    with running(tmp_path, limits={"seconds": 0.5}) as supervisor, contextlib.ExitStack() as stack:
        (slow,) = half_open(supervisor, stack, 1)
        begun = time.monotonic()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() - begun < 5:
                slow.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() - begun < 3


def test_a_second_request_on_the_same_connection_has_no_more_time_than_the_first(tmp_path):
    with running(tmp_path, limits={"seconds": 0.5}) as supervisor, contextlib.ExitStack() as stack:
        (each,) = half_open(supervisor, stack, 1, b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b"200 OK" in each.recv(4096)
        each.sendall(b"GET /health/li")
        begun = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            while each.recv(4096):
                pass
        assert time.monotonic() - begun < 3


def test_a_page_that_is_in_keeps_its_place_while_others_flood(tmp_path):
    limits = {"connections": 8, "connections_of_one": 8, "seconds": 5.0}
    with running(tmp_path, limits=limits) as supervisor, contextlib.ExitStack() as stack:
        tell(supervisor, 1)
        url = supervisor.address.replace("http", "ws") + "/api/sessions/desk/live"
        until(lambda: b"desk" in ask(supervisor, "/api/sessions")[1], 5)
        with connect(url, additional_headers={"Authorization": f"Bearer {supervisor.token}"}) as page:
            assert json.loads(page.recv(5))["type"] == "session"
            half_open(supervisor, stack, 100)
            supervisor.say({"type": "decision", "session": "desk", "decision": invented.decision("desk", 5)})
            while json.loads(page.recv(5))["type"] != "decision":
                pass


def test_when_all_places_are_taken_by_those_who_may_a_new_one_is_told_to_come_back(tmp_path):
    limits = {"connections": 2, "connections_of_one": 2}
    with running(tmp_path, limits=limits) as supervisor, contextlib.ExitStack() as stack:
        url = supervisor.address.replace("http", "ws") + "/api/live"
        for _ in range(2):
            page = stack.enter_context(connect(url, additional_headers={"Authorization": f"Bearer {supervisor.token}"}))
            page.recv(5)
        assert ask(supervisor, "/api/sessions")[0] == 503
        page.close()
        until(lambda: ask(supervisor, "/api/sessions")[0] == 200, 5)


def test_while_one_floods_without_a_token_others_are_answered(tmp_path):
    with running(tmp_path, limits={"per_minute": 600}) as supervisor:
        flood = http.client.HTTPConnection("127.0.0.1", supervisor.port, timeout=10)
        statuses = []
        for _ in range(300):
            flood.request("GET", "/api/sessions")
            answer = flood.getresponse()
            answer.read()
            statuses.append(answer.status)
        flood.close()
        assert statuses[:50] == [401] * 50
        assert statuses[-1] == 429
        assert ask(supervisor, "/api/sessions")[0] == 200


def test_a_head_that_is_too_large_or_none_is_refused(api):
    for data in (
        b"GET / HTTP/1.1\r\nX: " + b"y" * 40_000,
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", api.port), timeout=5) as each:
            each.sendall(data)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := each.recv(4096):
                    answer += piece
            assert answer.startswith(b"HTTP/1.1 4")
            assert b"Traceback" not in answer


def test_a_message_that_is_too_long_closes_its_socket_and_no_other(api):
    url = api.address.replace("http", "ws") + "/api/live"
    head = {"Authorization": f"Bearer {api.token}"}
    with connect(url, additional_headers=head) as good, connect(url, additional_headers=head) as bad:
        good.recv(5)
        bad.send("x" * 5000)
        with contextlib.suppress(ConnectionClosed):
            while True:
                bad.recv(5)
        assert bad.close_code == 1009
        api.say(invented.engine(restarts=1))
        while json.loads(good.recv(5)).get("restarts") != 1:
            pass


@pytest.mark.parametrize("origin", ["http://evil.example", "null"])
def test_a_page_of_another_site_opens_no_socket(api, origin):
    with pytest.raises(InvalidStatus) as refused:
        connect(api.address.replace("http", "ws") + "/api/live", origin=origin, additional_headers={"Authorization": f"Bearer {api.token}"})
    assert refused.value.response.status_code == 403


def test_who_does_not_read_its_stream_is_let_go_and_costs_bounded_memory(tmp_path):
    with running(tmp_path, limits={"seconds": 1.0}) as supervisor:
        tell(supervisor, 1000)
        until(lambda: len(json.loads(ask(supervisor, "/api/sessions/desk/decisions?limit=1000")[1])["decisions"]) == 1000, 10)
        with socket.socket() as lazy:
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            lazy.settimeout(10)
            lazy.connect(("127.0.0.1", supervisor.port))
            first = invented.decision("desk", 0)["id"]
            lazy.sendall(
                f"GET /api/sessions/desk/decisions/stream?after={first} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {supervisor.token}\r\n\r\n".encode()
            )
            until(lambda: b'sensorium_api_listeners{session="desk"} 1.0' in ask(supervisor, "/metrics")[1], 5)
            for window in range(1000, 6000):
                supervisor.say({"type": "decision", "session": "desk", "decision": invented.decision("desk", window)})
            until(lambda: refused_by(supervisor, "slow") > 0, 10, "it is let go")
            assert b'sensorium_api_listeners{session="desk"}' not in ask(supervisor, "/metrics")[1]


# -- secrets


def test_no_secret_is_in_anything_that_it_says(tmp_path):
    """The token, secrets of the environment, of addresses of sources and of the settings' file."""
    secret = {"service_file_password": f"rtsp://me:{CANARY}-url@cam/1?token={CANARY}-query"}
    seen = []
    supervisor = FakeSupervisor(
        tmp_path,
        lambda request: {"refused": f"cannot open {secret['service_file_password']}", "status": 409},
        traces=f"http://me:{CANARY}-otlp@127.0.0.1:1",
    )
    supervisor.env |= {"SENSORIUM_TOKEN": f"{CANARY}-env", "OTEL_EXPORTER_OTLP_HEADERS": f"key={CANARY}-otel"}
    supervisor.start()
    try:
        tell(supervisor, 3)
        events = [f"the stream {secret['service_file_password']} is lost"]
        supervisor.say({"type": "status", "session": "desk", "status": invented.status("desk", S, events=events)})
        supervisor.say(invented.engine(why=events[0]))
        supervisor.say({"type": "gone", "session": "hall"})
        until(lambda: b"is lost" in ask(supervisor, "/api/sessions")[1], 5)
        paths = [
            "/",
            "/metrics",
            "/api/openapi.json",
            "/api/service",
            "/api/health",
            "/api/sessions",
            "/api/sessions/desk",
            "/api/sessions/desk/decisions",
            "/api/recordings",
            "/api/logs",
            "/api/configs",
            f"/api/sessions/{CANARY}",
            "/nowhere",
        ]
        for path in paths:
            seen += [str(ask(supervisor, path)[1]), str(ask(supervisor, path, token="wrong-" + "x" * 20)[1])]
        for method, path, body in (
            ("POST", "/api/sessions", '{"config": "desk"}'),
            ("DELETE", "/api/sessions/desk", ""),
            ("POST", "/api/sessions", "{"),
        ):
            seen.append(str(ask(supervisor, path, method, body, **{"Content-Type": "application/json"})[1]))
        with connect(
            supervisor.address.replace("http", "ws") + "/api/live", additional_headers={"Authorization": f"Bearer {supervisor.token}"}
        ) as page:
            seen += [str(page.recv(5)) for _ in range(2)]
        ask(supervisor, f"/enter?code={CANARY}-code")
        token = supervisor.token
        seen += [(supervisor.run_dir / "log-api.jsonl").read_text()]
    finally:
        supervisor.end()
    said = "".join(seen) + "".join(supervisor.errors) + "".join(psutil.Process(os.getpid()).cmdline())
    seen_canaries = {name for name in ("url", "query", "otlp", "env", "otel", "code") if f"{CANARY}-{name}" in said}
    assert seen_canaries == set()
    assert token not in said
    assert "rtsp://***@cam/1?token=***" in said
