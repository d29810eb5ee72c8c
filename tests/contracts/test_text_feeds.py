"""What every text feed must keep to, each with its real counterpart: a pipe, a file, an HTTP client, a WebSocket client, an MQTT broker."""

import http.client
import os
import socket
import subprocess
from urllib.parse import urlsplit

import pytest
from listening import Listening
from parts import part
from waiting import until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from pipeline.sources.text_mqtt import Mqtt
from pipeline.sources.text_post import Post
from pipeline.sources.text_stdin import STDIN, Stdin
from pipeline.sources.text_tail import Tail
from pipeline.sources.text_websocket import WebSocket

TOKEN = "a-token-for-tests-only"
MS = 1_000_000


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class PipeTalk:
    """A pipe into the command."""

    def __init__(self, folder, monkeypatch):
        read, self._write = os.pipe()
        monkeypatch.setenv(STDIN, f"/proc/self/fd/{read}")
        self._ends = [read, self._write]
        self.source = Stdin(max_bytes=100)

    def say(self, data):
        os.write(self._write, data + b"\n")

    def close(self):
        for end in self._ends:
            os.close(end)


class FileTalk:
    def __init__(self, folder, monkeypatch):
        self.path = folder / "log.txt"
        self.path.write_bytes(b"old news\n")
        self.source = Tail(path=self.path, max_bytes=100)

    def say(self, data):
        with self.path.open("ab") as file:
            file.write(data + b"\n")

    def close(self):
        pass


def token_file(folder):
    path = folder / "token"
    path.touch(mode=0o600)
    path.write_text(f"{TOKEN}\n")
    return path


class PostTalk:
    def __init__(self, folder, monkeypatch):
        self.port = free_port()
        self.source = Post(port=self.port, token_file=token_file(folder), max_bytes=100)

    def say(self, data):
        self.ask(data)

    def ask(self, data, method="POST", path="/text", token=TOKEN):
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            client.request(method, path, data, {"Authorization": f"Bearer {token}"})
            return client.getresponse().status
        finally:
            client.close()

    def close(self):
        pass


class WebSocketTalk:
    def __init__(self, folder, monkeypatch):
        self.port = free_port()
        self.source = WebSocket(port=self.port, token_file=token_file(folder), max_bytes=100)

    def say(self, data):
        with self.connect() as client:
            client.send(data)

    def connect(self, token=TOKEN):
        return connect(f"ws://127.0.0.1:{self.port}/", additional_headers={"Authorization": f"Bearer {token}"})

    def close(self):
        pass


class BrokerTalk:
    """mosquitto, and its own client to publish with."""

    def __init__(self, folder, monkeypatch):
        self._broker, self._publish = part("mosquitto"), part("mosquitto_pub")
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        self.start()
        self.source = Mqtt(topic="room/+/notes", port=self.port, max_bytes=100)

    def start(self):
        self.process = subprocess.Popen([self._broker, "-c", self._config], stderr=subprocess.DEVNULL)
        until(lambda: socket.socket().connect_ex(("127.0.0.1", self.port)) == 0, 5)

    def say(self, data, *more):
        command = [self._publish, "-p", str(self.port), "-t", "room/1/notes", "-q", "1", "-s" if data else "-n", *more]
        subprocess.run(command, input=data, check=True, timeout=10)

    def close(self):
        self.process.kill()
        self.process.wait()


FEEDS = {"stdin": PipeTalk, "tail": FileTalk, "http": PostTalk, "websocket": WebSocketTalk, "mqtt": BrokerTalk}
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(params=FEEDS)
def talk(request, tmp_path, monkeypatch):
    made = FEEDS[request.param](tmp_path, monkeypatch)
    yield made
    made.close()


@pytest.fixture
def heard(talk):
    with Listening(talk.source) as listening:
        listening.live()
        yield listening


def test_what_is_said_is_heard_once_in_order_and_at_once(talk, heard):
    for text in ("one", "zwei äöü", "三"):
        before_ns = heard.now_ns()
        talk.say(text.encode())
        until(lambda text=text: heard.texts()[-1:] == [text], 5)
        packet = heard.packets()[-1]
        assert packet.start_ns == packet.end_ns
        assert before_ns <= packet.start_ns <= heard.now_ns()
    assert heard.texts() == ["one", "zwei äöü", "三"]


def test_silence_is_a_promise(talk, heard):
    since_ns = heard.now_ns()
    until(lambda: heard.promised_ns() > since_ns, 5)
    assert heard.promised_ns() <= heard.now_ns()
    talk.say(b"after the silence")
    until(heard.texts, 5)
    assert heard.dropped() == {}


def test_what_is_too_long_or_no_utf8_is_dropped_and_counted_and_the_next_is_heard(talk, heard):
    talk.say(b"x" * 101)
    until(lambda: heard.dropped()["oversize"] == 1, 5)
    talk.say(b"\xff\xfe")
    until(lambda: heard.dropped()["bad_utf8"] == 1, 5)
    talk.say(b"y" * 100)
    until(lambda: heard.texts() == ["y" * 100], 5)


def test_an_empty_line_is_nothing(talk, heard):
    talk.say(b"")
    talk.say(b"  ")
    talk.say(b"word")
    until(heard.texts, 5)
    assert heard.texts() == ["word"]
    assert heard.dropped() == {}


def test_it_is_quiet_and_live_and_says_what_it_listens_to(talk, heard):
    assert heard.state() == "live"
    assert heard.source.health()["text"].detail
    assert TOKEN not in f"{heard.source.health()} {heard.source.news()}"


def test_stopped_it_closes_its_stream(talk):
    with Listening(talk.source) as listening:
        listening.live()
    assert listening.closed()


# -- of one feed each


@pytest.fixture
def posting(tmp_path, monkeypatch):
    talk = PostTalk(tmp_path, monkeypatch)
    with Listening(talk.source) as listening:
        listening.live()
        yield talk, listening


def test_http_answers_what_it_did(posting):
    talk, heard = posting
    assert talk.ask(b"hello") == 204
    assert talk.ask(b"\xff") == 400
    assert talk.ask(b"hello", token="wrong") == 401
    assert talk.ask(b"hello", path="/") == 404
    assert talk.ask(None, method="GET") == 405
    assert talk.ask(b"x" * 101) == 413
    until(lambda: heard.texts() == ["hello"], 5)
    until(lambda: heard.faults().get("refused") == 1, 5)


def test_http_without_a_length_is_refused_and_a_body_cut_short_is_counted(posting):
    talk, heard = posting
    head = f"POST /text HTTP/1.1\r\nHost: me\r\nAuthorization: Bearer {TOKEN}\r\n"
    with socket.create_connection(("127.0.0.1", talk.port)) as client:
        client.sendall(f"{head}\r\n".encode())
        assert b" 411 " in client.recv(100)
    with socket.create_connection(("127.0.0.1", talk.port)) as client:
        client.sendall(f"{head}Content-Length: 50\r\n\r\nshort".encode())
    until(lambda: heard.dropped()["cut_short"] == 1, 5)


@pytest.fixture
def chatting(tmp_path, monkeypatch):
    talk = WebSocketTalk(tmp_path, monkeypatch)
    with Listening(talk.source) as listening:
        listening.live()
        yield talk, listening


def test_a_websocket_without_the_token_is_refused(chatting):
    talk, heard = chatting
    with pytest.raises(Exception, match="401"):
        talk.connect(token="wrong")
    with pytest.raises(Exception, match="401"):
        connect(f"ws://127.0.0.1:{talk.port}/?token=wrong")
    until(lambda: heard.faults().get("refused") == 2, 5)


def test_a_page_says_the_token_in_the_address(chatting):
    talk, heard = chatting
    with connect(f"ws://127.0.0.1:{talk.port}/?token={TOKEN}") as client:
        client.send("typed")
        until(lambda: heard.texts() == ["typed"], 5)


def test_a_message_that_is_too_long_closes_its_websocket_and_no_other(chatting):
    talk, heard = chatting
    with talk.connect() as good, talk.connect() as bad:
        bad.send("x" * 500)
        with pytest.raises(ConnectionClosed):
            bad.recv(timeout=5)
        good.send("still here")
        until(lambda: heard.texts() == ["still here"], 5)


def test_a_port_that_is_taken_is_told_and_tried_again(tmp_path):
    port = free_port()
    holder = socket.create_server(("127.0.0.1", port))
    with Listening(Post(port=port, token_file=token_file(tmp_path))) as listening:
        until(lambda: any("cannot be listened on" in line for line in listening.source.news()), 5)
        holder.close()
        listening.live()


def test_a_source_on_any_free_port_tells_where_it_takes_text(tmp_path):
    source = Post(port=0, token_file=token_file(tmp_path))
    assert source.doors() == {}
    with Listening(source) as heard:
        heard.live()
        where = urlsplit(source.doors()["text"])
        client = http.client.HTTPConnection(where.hostname, where.port, timeout=5)
        client.request("POST", where.path, b"by the door", {"Authorization": f"Bearer {TOKEN}"})
        assert client.getresponse().status == 204
        client.close()
        until(lambda: heard.texts() == ["by the door"], 5)
    assert source.doors() == {}


def test_a_broker_that_is_killed_is_waited_for(tmp_path, monkeypatch):
    talk = BrokerTalk(tmp_path, monkeypatch)
    with Listening(talk.source) as heard:
        heard.live()
        talk.close()
        until(lambda: heard.state() == "lost", 3)
        talk.start()
        heard.live(within_s=5)
        talk.say(b"again")
        until(lambda: heard.texts() == ["again"], 5)
        assert heard.faults()["reconnect"] == 1
    talk.close()


def test_a_broker_that_hangs_is_noticed_and_left(tmp_path, monkeypatch):
    talk = BrokerTalk(tmp_path, monkeypatch)
    with Listening(talk.source) as heard:
        heard.live()
        talk.process.send_signal(19)
        until(lambda: heard.state() == "lost", 4)
        talk.process.send_signal(18)
        heard.live(within_s=5)
    talk.close()


def test_a_retained_message_is_of_no_known_age_and_dropped(tmp_path, monkeypatch):
    talk = BrokerTalk(tmp_path, monkeypatch)
    talk.say(b"from yesterday", "-r")
    with Listening(talk.source) as heard:
        heard.live()
        until(lambda: heard.dropped() == {"retained": 1}, 5)
        assert heard.texts() == []
    talk.close()


def test_the_end_of_stdin_closes_the_stream_after_its_last_line(tmp_path, monkeypatch):
    path = tmp_path / "words.txt"
    path.write_bytes(b"one\ntwo\nno newline")
    monkeypatch.setenv(STDIN, str(path))
    with Listening(Stdin()) as heard:
        until(heard.closed, 5)
    assert heard.texts() == ["one", "two", "no newline"]


def test_a_tail_begins_at_the_end_or_where_it_is_told(tmp_path):
    path = tmp_path / "log"
    path.write_text("old\n")
    with Listening(Tail(path=path, from_start=True)) as heard:
        until(lambda: heard.texts() == ["old"], 5)


def test_a_file_that_is_not_there_yet_is_read_from_its_first_line(tmp_path):
    path = tmp_path / "log"
    with Listening(Tail(path=path)) as heard:
        until(lambda: heard.source.news() != [], 5)
        path.write_text("first\n")
        until(lambda: heard.texts() == ["first"], 5)


def test_a_log_that_is_rotated_or_truncated_loses_no_line(tmp_path):
    path = tmp_path / "log"
    path.write_text("")
    with Listening(Tail(path=path)) as heard:
        heard.live()
        path.write_text("one\n")
        until(lambda: heard.texts() == ["one"], 5)
        path.rename(tmp_path / "log.1")
        path.write_text("two\n")
        until(lambda: heard.texts() == ["one", "two"], 5)
        path.write_text("3\n")
        until(lambda: heard.texts() == ["one", "two", "3"], 5)
        assert {"rotated", "truncated"} <= heard.faults().keys()


def test_a_line_that_comes_in_pieces_is_one(tmp_path):
    path = tmp_path / "log"
    path.write_text("")
    with Listening(Tail(path=path)) as heard, path.open("ab", buffering=0) as file:
        heard.live()
        for piece in (b"he", b"llo ", "ü".encode()[:1], "ü".encode()[1:], b"\r\n"):
            file.write(piece)
        until(lambda: heard.texts() == ["hello ü"], 5)


def test_lines_typed_into_a_terminal_are_heard_as_they_are_entered(monkeypatch):
    keyboard, terminal = os.openpty()
    monkeypatch.setenv(STDIN, os.ttyname(terminal))
    with Listening(Stdin()) as heard:
        heard.live()
        assert heard.source.health()["text"].detail == "terminal"
        os.write(keyboard, b"half a li")
        os.write(keyboard, b"ne\n")
        until(lambda: heard.texts() == ["half a line"], 5)
        os.write(keyboard, b"\x04")  # control-D
        until(heard.closed, 5)
    os.close(keyboard)
    os.close(terminal)
