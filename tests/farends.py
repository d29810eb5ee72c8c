"""Where the sinks that send are heard: an HTTP server, an MQTT broker, a Kafka cluster; each can be killed, hung and started again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import paho.mqtt.client as mqtt
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from decisions import decision
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from parts import part
from waiting import until

from pipeline.sinks.kafka import Kafka
from pipeline.sinks.mqtt import Mqtt
from pipeline.sinks.webhook import Webhook

SECRET = "a-secret-for-tests-only"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def secret_file(folder):
    path = folder / "secret"
    path.touch(mode=0o600)
    path.write_text(SECRET)
    return path


class HookEnd:
    """An HTTP server that keeps what it was sent. answers: what to answer next, 204 when it is empty; None: nothing at all."""

    def __init__(self, folder, context=None):
        self.folder, self.port, self.context = folder, free_port(), context
        self.requests, self.answers, self.hung = [], [], threading.Event()
        self.hung.set()
        self.server = None

    def sink(self, **options):
        return Webhook(
            **{
                "url": f"http://127.0.0.1:{self.port}/in",
                "secret_file": secret_file(self.folder),
                "spool": self.folder / "spool",
                **options,
            }
        )

    def start(self):
        end = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                end.hung.wait(30)
                if end.server is not self.server:
                    return  # killed before it could take it
                status, headers = end.answers.pop(0) if end.answers else (204, {})
                end.requests.append((status, dict(self.headers), body))
                self.send_response(status)
                for name, value in {"Content-Length": "0", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, format, *args):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads, block_on_close, allow_reuse_address = True, False, True

            def __init__(self, address, handler):
                self.open_sockets = set()
                super().__init__(address, handler)

            def process_request(self, request, client_address):
                self.open_sockets.add(request)
                super().process_request(request, client_address)

            def handle_error(self, request, client_address):
                pass

        self.server = Server(("127.0.0.1", self.port), Handler)
        if self.context is not None:
            self.server.socket = self.context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def kill(self):
        server, self.server = self.server, None
        server.shutdown()
        server.server_close()
        for connection in list(server.open_sockets):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def hang(self):
        self.hung.clear()

    def go_on(self):
        self.hung.set()

    def received(self):
        return [one for status, _, body in list(self.requests) if status < 300 for one in json.loads(body)["decisions"]]

    def end(self):
        self.go_on()
        if self.server is not None:
            self.kill()


class MqttEnd:
    """mosquitto, which saves every change, and a subscriber for whom it keeps messages while it is away."""

    def __init__(self, folder, *lines, listener=None, client=lambda client: None):
        self.port, self.folder, self.prepare = free_port(), folder, client
        self.command = part("mosquitto")
        config = [f"listener {self.port} 127.0.0.1", "allow_anonymous true", "persistence true", f"persistence_location {folder}/"]
        config += ["autosave_on_changes true", "autosave_interval 1", "user root", *lines]
        (folder / "mosquitto.conf").write_text("\n".join(config) + "\n")
        self.messages, self.states, self.process, self.subscriber = [], [], None, None

    def sink(self, **options):
        return Mqtt(port=self.port, **options)

    def start(self):
        self.process = subprocess.Popen([self.command, "-c", self.folder / "mosquitto.conf"], stderr=subprocess.DEVNULL)
        until(lambda: reachable(self.port), 5)
        if self.subscriber is None:
            self.subscribe()

    def subscribe(self):
        client = self.subscriber = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="ear", protocol=mqtt.MQTTv5)
        client.reconnect_delay_set(0.05, 0.2)
        ready = threading.Event()

        def connected(client, data, flags, reason, properties):
            client.subscribe("sensorium/#", qos=1)

        def message(client, data, message):
            (self.states if message.topic.endswith("status") else self.messages).append((message.topic, message.payload))

        client.on_connect, client.on_message = connected, message
        client.on_subscribe = lambda *_: ready.set()
        self.prepare(client)
        for_an_hour = Properties(PacketTypes.CONNECT)
        for_an_hour.SessionExpiryInterval = 3600
        client.connect("127.0.0.1", self.port, 5, clean_start=False, properties=for_an_hour)
        client.loop_start()
        assert ready.wait(5)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def hang(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def received(self):
        return [json.loads(body) for _, body in list(self.messages)]

    def end(self):
        if self.subscriber is not None:
            self.subscriber.loop_stop()
        if self.process is not None:
            self.go_on()
            self.kill()


MOCK = """
import sys, threading
from confluent_kafka import Producer
cluster = Producer({"bootstrap.servers": "", "test.mock.num.brokers": 1, "log_level": 0})
broker, = cluster.list_topics(timeout=10).brokers.values()
print(broker.port, flush=True)
threading.Event().wait()
"""


class KafkaEnd:
    """librdkafka's own mock cluster in a process. A new one has another port and knows nothing: clients find it by the bootstrap port."""

    def __init__(self, folder):
        self.port, self.process, self.gate, self.heard = free_port(), None, None, []
        self.consumer, self.broker = None, 0

    def sink(self, **options):
        return Kafka(**{"brokers": f"127.0.0.1:{self.port}", "topic": "decisions", **options})

    def start(self):
        self.process = subprocess.Popen([sys.executable, "-c", MOCK], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.broker = int(self.process.stdout.readline())
        self.gate = Gate(self.port, self.broker)

    def received(self):
        if self.consumer is None:
            self.consumer = Consumer(
                {"bootstrap.servers": f"127.0.0.1:{self.broker}", "group.id": "ear", "log_level": 0, "fetch.wait.max.ms": 50}
            )
            self.consumer.assign([TopicPartition("decisions", number, OFFSET_BEGINNING) for number in range(4)])
        while (message := self.consumer.poll(0.3)) is not None:
            if message.error() is None:
                assert message.key() == json.loads(message.value())["session"].encode()
                self.heard.append(json.loads(message.value()))
        return self.heard

    def kill(self):
        if self.consumer is not None:
            self.consumer.close()
        self.consumer = None
        self.gate.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def hang(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def end(self):
        if self.process is not None and self.process.poll() is None:
            self.go_on()
            self.kill()


class Gate:
    """A TCP port that leads to another, until it is closed."""

    def __init__(self, port, target):
        self._server, self._target, self._open = socket.create_server(("127.0.0.1", port)), target, []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._open += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    @staticmethod
    def _carry(one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def close(self):
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


def reachable(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


ENDS = {"webhook": HookEnd, "mqtt": MqttEnd, "kafka": KafkaEnd}
ROOT = os.getuid() == 0


def made(first, last, session="demo"):
    return [replace(decision(window=number), session=session, id=f"{session}-{number}") for number in range(first, last)]


def ids(end, session="demo"):
    """As they came first."""
    return list(dict.fromkeys(one["id"] for one in end.received() if one["session"] == session))


def names(first, last, session="demo"):
    return [f"{session}-{number}" for number in range(first, last)]


def give(sink, decisions):
    for one in decisions:
        sink.decision(one)


def conserved(sink):
    counts = sink.counts()
    return counts["taken"] == counts["sent"] + counts["waiting"] + sum(counts["dropped"].values())
