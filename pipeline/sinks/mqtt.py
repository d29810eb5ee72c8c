"""Decisions to an MQTT broker (version 5), at least once, and the session's state as a retained message.

    sinks: [{use: "pipeline.sinks.mqtt:Mqtt", host: broker.example.org, port: 8883, tls: true, user: desk, password_file: broker-password}]

Each decision is one message, as a line of a JSONL file. The status topic says {"session", "state"}: running, degraded, ended ..., and
"lost" (the last will) where this process went without a word.
"""

from __future__ import annotations

import json
import string
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from operators.errors import ContractError
from pipeline.backoff import SECOND
from pipeline.clock import SystemClock
from pipeline.outgoing.courier import Item, Undelivered
from pipeline.outgoing.secret import private_text
from pipeline.outgoing.sink import CLOSE_S, QUEUE, Sending
from pipeline.ports import Status

BATCH = 100
ANSWER_S = 10.0
CONNECT_S = 5.0
POLL_S = 0.05
KEEPALIVE_S = 10
FIELDS = {"session", "label"}
HEAD_BYTES = 16
"""What a PUBLISH packet has beside topic and body, at most: the type, its length, the topic's length, an identifier, no properties."""
BUSY = (0x97,)
"""PUBACK "quota exceeded": later, perhaps. Any other refusal stands."""


class Mqtt(Sending):
    """topic, status_topic: {session} and, in topic, {label} are filled in. host, port: of the broker. tls: its certificate is checked.

    ca_file: of its own authority, else the system's. user, password_file (0600): to log in; beyond this machine only over tls.
    queue: so many decisions wait; then the oldest are dropped. spool: a folder for what is not acknowledged; without it, memory only.
    """

    def __init__(
        self,
        *,
        topic: str = "sensorium/{session}/decisions",
        status_topic: str = "sensorium/{session}/status",
        host: str = "127.0.0.1",
        port: int = 1883,
        tls: bool = False,
        ca_file: Path | None = None,
        user: str | None = None,
        password_file: Path | None = None,
        queue: int = QUEUE,
        spool: Path | None = None,
        close_s: float = CLOSE_S,
    ) -> None:
        if not 1 <= port <= 65_535:
            raise ContractError(f"port of 1 to 65535 wanted, got {port}")
        _check_topic(topic, FIELDS)
        _check_topic(status_topic, {"session"})
        if user is not None and not tls and host not in ("127.0.0.1", "localhost", "::1"):
            raise ContractError(f"tls: true wanted to log in at {host}: a password in the clear is for this machine only")
        password = None if password_file is None else private_text(password_file)

        def client() -> mqtt.Client:
            made = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
            made.connect_timeout = CONNECT_S
            if tls:
                made.tls_set(None if ca_file is None else str(ca_file))
            if user is not None:
                made.username_pw_set(user, password)
            return made

        carrier = _Publisher(client, host, port, topic, status_topic)
        super().__init__(f"mqtt {host}:{port}", carrier, queue=queue, spool=spool, close_s=close_s)


def _check_topic(topic: str, fields: set[str]) -> None:
    try:
        named = {name for _, name, form, conversion in string.Formatter().parse(topic) if name is not None and not (form or conversion)}
        odd = [name for _, name, _, _ in string.Formatter().parse(topic) if name is not None and name not in named]
    except ValueError as error:
        raise ContractError(f"topic {topic!r} has an odd brace ({error})") from None
    if not named <= fields or odd:
        raise ContractError(f"topic may hold {', '.join(f'{{{name}}}' for name in sorted(fields))}, got {topic!r}")
    if not topic or len(topic.encode()) > 10_000 or any(letter in topic for letter in "+#\0"):
        raise ContractError(f"a topic of up to 10000 bytes without + and # wanted, got {topic[:80]!r}")


def topic_of(template: str, **values: str) -> str:
    """A name may not add a level to the topic, nor a wildcard."""
    clean = {name: "".join("_" if c in "+#/$" or not c.isprintable() else c for c in value)[:200] or "_" for name, value in values.items()}
    return template.format(**clean)


class _Publisher:
    """One thread drives the client; a connection that fails is dropped whole, so that nothing of it can come twice or out of order."""

    most = BATCH

    def __init__(self, make: Callable[[], mqtt.Client], host: str, port: int, topic: str, status_topic: str) -> None:
        self._make, self._host, self._port, self._topic, self._status_topic = make, host, port, topic, status_topic
        self._client: mqtt.Client | None = None
        self._session, self._state, self._told = "", "", ""
        self._reasons: dict[int, ReasonCode] = {}
        self._connack: ReasonCode | None = None
        self._most_bytes = 0
        self._cancelled, self._clock = threading.Event(), SystemClock()

    def carry(self, items: Sequence[Item]) -> Mapping[str, int]:
        client = self._connected(items[-1].session)
        packets = [(topic_of(self._topic, session=item.session, label=item.label), item.body) for item in items]
        fit = [(topic, body) for topic, body in packets if self._fits(topic, body)]
        reasons = self._acknowledged([client.publish(topic, body, qos=1).mid for topic, body in fit])
        if any(reason.value in BUSY for reason in reasons):
            raise Undelivered("it is over its quota")
        refused = Counter(f"refused: {reason}" for reason in reasons if reason.is_failure)
        return refused + Counter({"too large": len(packets) - len(fit)})

    def _fits(self, topic: str, body: bytes) -> bool:
        """A broker ends the connection at a packet that is larger than it said, and would at every further try."""
        return not self._most_bytes or HEAD_BYTES + len(topic.encode()) + len(body) <= self._most_bytes

    def tell(self, status: Status) -> None:
        client = self._connected(status.session)
        self._state = status.state
        self._say_state(client, status.session)

    def idle(self) -> None:
        if self._client is not None:
            self._turn(self._client)
        elif self._session:
            self._connected(self._session)

    def cancel(self) -> None:
        self._cancelled.set()

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()  # so that the will is not sent
            client.loop(POLL_S)

    def _say_state(self, client: mqtt.Client, session: str) -> None:
        if self._state and self._state != self._told:
            body = json.dumps({"session": session, "state": self._state})
            self._acknowledged([client.publish(topic_of(self._status_topic, session=session), body, qos=1, retain=True).mid])
            self._told = self._state

    def _connected(self, session: str) -> mqtt.Client:
        if self._client is not None:
            return self._client
        self._session = self._session or session
        client = self._make()
        client.on_connect, client.on_publish = self._on_connect, self._on_publish
        will = json.dumps({"session": self._session, "state": "lost"})
        client.will_set(topic_of(self._status_topic, session=self._session), will, qos=1, retain=True)
        self._connack, self._reasons, self._told = None, {}, ""
        try:
            client.connect(self._host, self._port, KEEPALIVE_S, clean_start=True)
        except (OSError, ValueError) as error:
            raise Undelivered(f"no broker answers ({getattr(error, 'strerror', None) or type(error).__name__})") from None
        self._client = client
        self._until(client, lambda: self._connack is not None)
        if self._connack is not None and self._connack.is_failure:
            self._drop()
            raise Undelivered(f"the broker refuses us ({self._connack})")
        self._say_state(client, self._session)
        return client

    def _acknowledged(self, numbers: Sequence[int]) -> list[ReasonCode]:
        if self._client is not None:
            self._until(self._client, lambda: all(number in self._reasons for number in numbers))
        return [self._reasons.pop(number) for number in numbers]

    def _until(self, client: mqtt.Client, fact: Callable[[], bool]) -> None:
        limit_ns = self._clock.now_ns() + round(ANSWER_S * SECOND)
        while not fact():
            self._turn(client)
            if self._clock.now_ns() > limit_ns or self._cancelled.is_set():
                self._drop()
                raise Undelivered("the broker does not answer")

    def _turn(self, client: mqtt.Client) -> None:
        code = client.loop(POLL_S)
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS and not (self._connack is not None and self._connack.is_failure):
            self._drop()
            raise Undelivered(f"the broker is gone ({mqtt.error_string(code).rstrip('.').lower()})")

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None and (connection := client.socket()) is not None:
            connection.close()

    def _on_connect(self, client: mqtt.Client, data: object, flags: object, reason: ReasonCode, properties: object) -> None:
        self._connack = reason
        self._most_bytes = getattr(properties, "MaximumPacketSize", 0)

    def _on_publish(self, client: mqtt.Client, data: object, mid: int, reason: ReasonCode, properties: Any) -> None:  # noqa: ANN401
        self._reasons[mid] = reason
