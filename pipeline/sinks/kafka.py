"""Decisions to a Kafka topic, at least once, in order by session.

    sinks: [{use: "pipeline.sinks.kafka:Kafka", brokers: "kafka.example.org:9093", topic: decisions, options_file: kafka.options}]

The key is the session, the value a line as in a JSONL file, the header `id` the decision's. The producer is idempotent: its own retries
make no duplicates; a restart of this process may. options_file (0600): lines `security.protocol=SASL_SSL`, `sasl.mechanism=PLAIN`,
`sasl.username=...`, `sasl.password=...`, `ssl.ca.location=...`, in librdkafka's names.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from operators.errors import ContractError
from pipeline.outgoing.courier import Item, Undelivered
from pipeline.outgoing.secret import private_text
from pipeline.outgoing.sink import CLOSE_S, QUEUE, Sending
from pipeline.ports import Status

BATCH = 500
ANSWER_MS = 10_000
POLL_S = 0.05
ALLOWED = ("security.protocol", "sasl.", "ssl.", "client.id")
"""What an options file may set: how to log in. Not `plugin.library.paths`, which loads code, nor what the guarantees rest on."""
NEVER = (
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_MSG,
    KafkaError.INVALID_RECORD,
    KafkaError.POLICY_VIOLATION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_EXCEPTION,
)


class Kafka(Sending):
    """brokers: HOST:PORT, some of them, with commas. options_file: TLS and log-in, see above. queue: so many decisions wait, then the
    oldest are dropped. spool: a folder for what is not acknowledged; without it, memory only. close_s: to send the rest at the end.
    """

    def __init__(
        self,
        *,
        brokers: str,
        topic: str,
        options_file: Path | None = None,
        queue: int = QUEUE,
        spool: Path | None = None,
        close_s: float = CLOSE_S,
    ) -> None:
        if not brokers or not topic:
            raise ContractError("brokers: HOST:PORT and a topic wanted")
        config: dict[str, Any] = {} if options_file is None else options_of(private_text(options_file), options_file)
        config |= {
            "bootstrap.servers": brokers,
            "enable.idempotence": True,
            "message.timeout.ms": ANSWER_MS,
            "socket.timeout.ms": ANSWER_MS,
            "linger.ms": 0,
            "reconnect.backoff.max.ms": 2000,
            "log_level": 0,
        }
        try:
            carrier = _Producing(config, topic)
        except (KafkaException, ValueError) as error:
            raise ContractError(f"librdkafka does not take these options ({_reason(error)})") from None
        super().__init__(f"kafka {topic}", carrier, queue=queue, spool=spool, close_s=close_s)


def options_of(text: str, path: Path) -> dict[str, str]:
    """NAME=VALUE a line; `#` begins a comment line. Raises ContractError, without a value."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    options = {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines)}
    for name, value in options.items():
        if not name.startswith(ALLOWED):
            raise ContractError(f"{path}: {name.partition(' ')[0][:40]!r} may not be set here; {', '.join(ALLOWED)} may")
        if not value:
            raise ContractError(f"{path}: {name} wants a value")
    return options


def _reason(error: Exception) -> str:
    """Its name for a mistake of ours; librdkafka's text may quote a value."""
    found = error.args[0] if error.args and isinstance(error.args[0], KafkaError) else None
    return found.name() if found is not None else type(error).__name__


def _refusal(error: Exception) -> KafkaError | None:
    """Of this message only: the next ones may go."""
    found = error.args[0] if error.args and isinstance(error.args[0], KafkaError) else None
    return found if found is not None and found.code() in NEVER else None


class _Producing:
    """A batch is produced, and then its delivery reports are waited for, each of which comes within ANSWER_MS."""

    most = BATCH

    def __init__(self, config: dict[str, Any], topic: str) -> None:
        self._config, self._topic = config | {"error_cb": self._on_error}, topic
        self._fatal = ""
        self._producer: Producer | None = Producer(self._config)  # here, so that wrong options are told at once
        self._cancelled = threading.Event()

    def carry(self, items: Sequence[Item]) -> Mapping[str, int]:
        producer = self._producer = self._producer or Producer(self._config)
        reports: list[KafkaError | None] = []

        def report(error: KafkaError | None, message: Message) -> None:
            reports.append(error)

        for index, item in enumerate(items):
            try:
                producer.produce(self._topic, item.body, item.session, headers={"id": item.id}, on_delivery=report)
            except (KafkaException, BufferError) as error:
                refusal = _refusal(error)
                if refusal is None:
                    reports += [KafkaError(KafkaError._FAIL)] * (len(items) - index)
                    self._fatal = self._fatal or _reason(error)
                    break
                reports.append(refusal)  # librdkafka does not even take it: of this one there is no delivery report
        self._await(producer, reports, len(items))
        return self._outcome(reports)

    def _await(self, producer: Producer, reports: list[KafkaError | None], wanted: int) -> None:
        while len(reports) < wanted:
            producer.poll(POLL_S)
            if self._cancelled.is_set():
                producer.purge()
                producer.flush(1.0)
                return

    def _outcome(self, reports: Sequence[KafkaError | None]) -> Mapping[str, int]:
        failed = [error for error in reports if error is not None and error.code() not in NEVER]
        if self._fatal or any(error.fatal() for error in failed):
            self._producer, self._fatal = None, ""  # of no use any more
        if failed or self._cancelled.is_set():
            raise Undelivered(f"not acknowledged ({failed[0].name() if failed else 'ended'})")
        return Counter(error.name() for error in reports if error is not None)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._FATAL:
            self._fatal = error.name()

    def tell(self, status: Status) -> None:
        """A topic of decisions holds decisions."""

    def idle(self) -> None:
        if self._producer is not None:
            self._producer.poll(0)

    def cancel(self) -> None:
        self._cancelled.set()

    def close(self) -> None:
        if self._producer is not None:
            self._producer.purge()
            self._producer.flush(0.2)
            self._producer = None
