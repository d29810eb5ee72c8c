"""MQTT and Kafka: what they are told, what a broker never takes, and what is known of a process that went without a word."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from decisions import status
from farends import KafkaEnd, MqttEnd, conserved, give, ids, made
from waiting import until

from operators.errors import ContractError
from pipeline.sinks.kafka import Kafka, options_of
from pipeline.sinks.mqtt import Mqtt, topic_of

pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.real]

ALIVE = """
import sys, threading
from decisions import status
from pipeline.sinks.mqtt import Mqtt
Mqtt(port=int(sys.argv[1])).status(status(state="running"))
threading.Event().wait()
"""


@pytest.fixture
def mqtt_end(tmp_path):
    end = MqttEnd(tmp_path, "max_packet_size 5000")
    end.start()
    yield end
    end.end()


@pytest.fixture
def kafka_end(tmp_path):
    end = KafkaEnd(tmp_path)
    end.start()
    yield end
    end.end()


def one_too_large(end, size):
    sink = end.sink()
    first, second, third = made(0, 3)
    give(sink, [first, replace(second, label="x" * size), third])
    until(lambda: sink.counts()["waiting"] == 0, 20)
    sink.close()
    until(lambda: ids(end) == ["demo-0", "demo-2"], 10)
    assert conserved(sink)
    return sink.counts()["dropped"]


def test_what_is_too_large_for_the_mqtt_broker_is_counted_and_the_next_ones_go_on(mqtt_end):
    assert one_too_large(mqtt_end, 20_000) == {"too large": 1}


def test_what_is_too_large_for_kafka_is_counted_and_the_next_ones_go_on(kafka_end):
    assert one_too_large(kafka_end, 2_000_000) == {"MSG_SIZE_TOO_LARGE": 1}


def test_the_sessions_state_is_there_for_who_comes_later_and_after_an_orderly_end_it_is_not_lost(mqtt_end):
    sink = mqtt_end.sink()
    for state in ("running", "running", "ended"):
        sink.status(status(state=state))
    sink.close()
    until(lambda: states(mqtt_end)[-1:] == ["ended"], 10)
    assert "lost" not in states(mqtt_end)


def test_of_a_process_that_is_killed_the_broker_says_that_it_is_lost(mqtt_end):
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), str(root / "tests")])
    process = subprocess.Popen([sys.executable, "-c", ALIVE, str(mqtt_end.port)], env={**os.environ, "PYTHONPATH": path})
    until(lambda: states(mqtt_end) == ["running"], 20)
    process.kill()
    process.wait()
    until(lambda: states(mqtt_end) == ["running", "lost"], 10)


def states(end):
    return [json.loads(body)["state"] for _, body in list(end.states)]


def test_a_name_adds_no_level_and_no_wildcard_to_a_topic():
    assert topic_of("a/{session}/{label}", session="x/y#+$", label="") == "a/x_y___/_"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"host": "broker.example.org", "user": "desk"}, "tls: true wanted to log in"),
        ({"topic": "a/{password}"}, "topic may hold"),
        ({"topic": "a/{session!r}"}, "topic may hold"),
        ({"topic": "a/{session"}, "odd brace"),
        ({"topic": "a/#"}, r"without \+ and #"),
        ({"status_topic": "a/{label}"}, "topic may hold"),
        ({"port": 0}, "port of 1 to 65535"),
        ({"queue": 0}, "queue of 1 or more"),
    ],
)
def test_what_mqtt_cannot_be_told_is_one_line(options, why):
    with pytest.raises(ContractError, match=why):
        Mqtt(**options)


@pytest.mark.parametrize("line", ["plugin.library.paths=/tmp/evil.so", "enable.idempotence=false", "acks=0", "sasl.password="])
def test_an_options_file_sets_how_to_log_in_and_nothing_else(line):
    good = "# who we are\nsecurity.protocol=SASL_SSL\nsasl.username = desk\n"
    assert options_of(good, Path("f")) == {"security.protocol": "SASL_SSL", "sasl.username": "desk"}
    with pytest.raises(ContractError, match=r"may not be set here|wants a value"):
        options_of(good + line, Path("f"))


def test_an_option_that_librdkafka_does_not_take_is_told_without_its_value(tmp_path):
    file = tmp_path / "options"
    file.touch(mode=0o600)
    file.write_text("sasl.mechanism=a-secret-in-the-wrong-place\nsecurity.protocol=what-is-this")
    with pytest.raises(ContractError, match="does not take these options") as said:
        Kafka(brokers="127.0.0.1:9", topic="t", options_file=file)
    assert not any(word in str(said.value) for word in ("a-secret", "what-is"))
