"""Spans of decisions through OpenTelemetry's SDK: made with our times and ids, and sent by its OTLP exporter. One thread uses it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import set_span_in_context

from operators.decision import Decision
from pipeline import __version__

if TYPE_CHECKING:
    from pipeline.traces import Stage


class Otlp:
    """endpoint: the whole URL. timeout_s: for one batch, attempts included."""

    def __init__(self, endpoint: str, timeout_s: float) -> None:
        for name in ("opentelemetry.exporter.otlp.proto.http", "opentelemetry.exporter.otlp.common"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # it tells every attempt; here they are counted
        self._exporter = OTLPSpanExporter(endpoint=endpoint, timeout=timeout_s)
        self._ids, self._ended = _Ids(), _Ended()
        resource = Resource({"service.name": "sensorium", "service.version": __version__})
        self._provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(self._ended)
        self._tracer = self._provider.get_tracer("sensorium")

    def send(self, batch: Sequence[tuple[Decision, Sequence[Stage]]]) -> bool:
        """Whether the collector took it. The first stage of each is its root."""
        for decision, (root, *parts) in batch:
            self._ids.begin(decision.id)
            span = self._tracer.start_span(root.name, attributes=attributes(decision), start_time=root.start_ns)
            for part in parts:
                self._tracer.start_span(part.name, set_span_in_context(span), start_time=part.start_ns).end(part.end_ns)
            span.end(root.end_ns)
        return self._exporter.export(self._ended.take()) is SpanExportResult.SUCCESS

    def close(self) -> None:
        """Also ends an attempt that is under way."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


def attributes(decision: Decision) -> dict[str, str | int | float]:
    """What a person wants to search by."""
    found: dict[str, str | int | float] = {
        "sensorium.session": decision.session,
        "sensorium.decision": decision.id,
        "sensorium.window": decision.window,
        "sensorium.label": decision.label,
        "sensorium.score": decision.scores.get(decision.label, 0.0),
        "sensorium.revision": decision.revision,
        "sensorium.model": decision.model,
    }
    return found | {f"sensorium.presence.{stream}": how for stream, how in decision.presence.items()}


class _Ids(IdGenerator):
    """Made of the decision's id, and the span's place in it."""

    def __init__(self) -> None:
        self.begin("")

    def begin(self, decision: str) -> None:
        self._decision, self._place = decision, 0

    def generate_trace_id(self) -> int:
        return int.from_bytes(hashlib.sha256(self._decision.encode()).digest()[:16], "big") or 1

    def generate_span_id(self) -> int:
        self._place += 1
        return int.from_bytes(hashlib.sha256(f"{self._decision} {self._place}".encode()).digest()[:8], "big") or 1


class _Ended(SpanProcessor):
    """Keeps the spans that have ended until they are taken."""

    def __init__(self) -> None:
        self._spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self._spans.append(span)

    def take(self) -> list[ReadableSpan]:
        spans, self._spans = self._spans, []
        return spans
