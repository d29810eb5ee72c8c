"""Texts from a topic of an MQTT broker, one a message.

    sources: {room: {use: "pipeline.sources.text_mqtt:Mqtt", topic: "room/1/notes"}}
    inputs: {text: room.text}

Only what is said while we listen: no session is kept at the broker, and a retained message, of which nobody knows how old it is, is
dropped and counted. A broker that falls silent is noticed within two keep-alives.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from operators.errors import ContractError, DeviceLost, DeviceNotFound, SourceError
from pipeline.live.captured import Lost, Now
from pipeline.live.text import MAX_BYTES, POLL_S, STREAM, TextFeed, TextItem, text_item
from pipeline.ports import Wanted

CONNECT_S = 3.0
POLLS = 100
"""So many times POLL_S for the broker's answer."""


class Mqtt(TextFeed):
    """topic: may hold wildcards. host, port: of the broker. tls: with the system's certificates.

    user, password_file: to log in; the file holds the password alone. keepalive_s: a silent broker is asked, and left, after so long.
    max_bytes: longer messages are dropped and counted.
    """

    def __init__(
        self,
        *,
        topic: str,
        host: str = "127.0.0.1",
        port: int = 1883,
        tls: bool = False,
        user: str | None = None,
        password_file: Path | None = None,
        keepalive_s: int = 1,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        if not 1 <= port <= 65_535 or not 1 <= keepalive_s <= 3600:
            raise ContractError(f"port of 1 to 65535 and keepalive_s of 1 to 3600 wanted, got {port}, {keepalive_s}")
        if not 1 <= len(topic.encode()) <= 65_535 or "\0" in topic:
            raise ContractError(f"a topic of 1 to 65535 bytes wanted, got {topic[:80]!r}")
        super().__init__(f"mqtt {host}:{port}", max_bytes=max_bytes)
        self._topic, self._host, self._port, self._tls = topic, host, port, tls
        self._user, self._password_file, self._keepalive_s = user, password_file, keepalive_s

    def connect(self, wanted: Mapping[str, Wanted], now_ns: Now) -> _Subscribed:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, clean_session=True)
        client.connect_timeout = CONNECT_S
        if self._tls:
            client.tls_set()
        if self._user is not None:
            client.username_pw_set(self._user, self._password())
        try:
            client.connect(self._host, self._port, self._keepalive_s)
        except (OSError, ValueError) as error:
            raise DeviceNotFound(self.label, f"no broker answers ({error})") from None
        subscribed = _Subscribed(self.label, client, self._topic, now_ns, self.max_bytes)
        subscribed.wait()
        return subscribed

    def _password(self) -> str | None:
        if self._password_file is None:
            return None
        try:
            return self._password_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(self.label, f"the password file {self._password_file} cannot be read ({error})") from None


class _Subscribed:
    """One thread drives the client: its loop is called where its messages are read."""

    details: Mapping[str, str]

    def __init__(self, label: str, client: mqtt.Client, topic: str, now_ns: Now, max_bytes: int) -> None:
        self._label, self._client, self._topic, self._now_ns, self._max_bytes = label, client, topic, now_ns, max_bytes
        self._items: list[TextItem] = []
        self._refused = ""
        self._ready = False
        self.details = {STREAM: f"topic {topic}"}
        client.on_connect, client.on_subscribe, client.on_message = self._connected, self._subscribed, self._message

    def wait(self) -> None:
        """Until the broker has taken our subscription. Raises SourceError."""
        for _ in range(POLLS):
            if self._ready:
                return
            self._turn()
        raise DeviceNotFound(self._label, "the broker took the connection and then said nothing")

    def read(self, stop: threading.Event) -> Iterator[TextItem]:
        while not stop.is_set():
            self._turn()
            items, self._items = self._items, []
            yield from items

    def close(self) -> None:
        self._client.disconnect()

    def _turn(self) -> None:
        code = self._client.loop(POLL_S)
        if self._refused:
            raise SourceError(self._label, self._refused)
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            why = "it fell silent" if code == MQTTErrorCode.MQTT_ERR_KEEPALIVE else mqtt.error_string(code).rstrip(".").lower()
            raise DeviceLost(self._label, f"the broker is gone ({why})")

    def _connected(self, client: mqtt.Client, data: object, flags: object, reason: ReasonCode, properties: object) -> None:
        if reason.is_failure:
            self._refused = f"the broker refuses us ({reason})"
        else:
            client.subscribe(self._topic, qos=1)

    def _subscribed(self, client: mqtt.Client, data: object, mid: int, reasons: list[ReasonCode], properties: object) -> None:
        if any(reason.is_failure for reason in reasons):
            self._refused = f"the broker refuses the topic {self._topic}"
        self._ready = True

    def _message(self, client: mqtt.Client, data: object, message: mqtt.MQTTMessage) -> None:
        if message.retain:
            self._items.append(Lost(stream=STREAM, reason="retained"))
        elif (item := text_item(bytes(message.payload), self._now_ns, self._max_bytes)) is not None:
            self._items.append(item)
