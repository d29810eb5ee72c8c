"""What Prometheus reads: made of the newest state whenever it asks, so that nothing of a session stays when it has ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.api.connections import Places
from pipeline.api.guard import Guard
from pipeline.api.hub import Hub, Said
from pipeline.api.latencies import Latencies
from pipeline.api.link import Link
from pipeline.api.view import View

Row = tuple[tuple[str, ...], float]
STATES = ("starting", "running", "degraded", "ended", "failed")
STREAM_STATES = ("waiting", "connecting", "live", "stalled", "lost", "muted", "closed")


@dataclass(slots=True, kw_only=True, eq=False)
class Metrics(Collector):
    """text() is the page."""

    hub: Hub
    latencies: Latencies
    guard: Guard
    places: Places
    link: Link
    view: View | None

    def text(self) -> bytes:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from _engine(self.hub.engine)
        yield from _sinks(self.hub.engine)
        running = {name: seen for name, seen in self.hub.sessions.items() if seen.gone is None}
        known = {name: seen.status for name, seen in running.items() if seen.status is not None}
        yield from _sessions(known)
        yield from _streams(known)
        yield from _edges(known)
        yield self._latency(set(running))
        yield from self._api()

    def _latency(self, running: set[str]) -> Metric:
        about = "From the end of a decision's window on, by stage; since the API's process began"
        family = HistogramMetricFamily("sensorium_decision_latency_seconds", about, labels=["session", "stage"])
        for session, stage, histogram in self.latencies.of(running):
            family.add_metric([session, stage], histogram.buckets(), histogram.sum_s)
        return family

    def _api(self) -> Iterator[Metric]:
        yield _gauge("api_connections", "Open connections", [], [((), len(self.places))])
        readers = [((name,), float(count)) for name, count in self.hub.readers().items() if name]
        yield _gauge("api_listeners", "Pages and programs that follow a session", ["session"], readers)
        answered = [((str(status),), float(count)) for status, count in self.guard.answered.items()]
        yield _counter("api_answers", "Answers by HTTP status", ["status"], answered)
        refused = self.guard.refused + self.places.refused
        yield _counter("api_refused", "What was not let in, or given up, by reason", ["reason"], _by_name(refused))
        yield _counter("api_dropped", "Messages that a listener was too slow for", ["kind"], _by_name(self.hub.dropped_by_kind()))
        unfit = {"supervisor": self.link.unread + self.hub.unknown.total(), "view": 0 if self.view is None else self.view.unfit}
        yield _counter("api_unfit", "Messages to the API that were none", ["of"], _by_name(unfit))
        yield _counter("api_unsent", "Messages that the supervisor did not take", [], [((), float(self.link.unsent))])
        taken = {} if self.view is None else self.view.taken
        yield _counter("view_messages", "Pictures, levels and texts that actors published", ["kind"], _by_name(taken))


def _engine(engine: Said) -> Iterator[Metric]:
    cores = engine.get("cores") or {}
    fusion = engine.get("fusion") or {}
    yield _gauge("engine_up", "1: the engine runs", [], [((), float(engine.get("state") == "running"))])
    yield _counter("engine_restarts", "Starts of the engine after the first", [], [((), _number(engine.get("restarts")))])
    yield _gauge("cores", "Processor cores that are planned with", [], [((), _number(cores.get("all")))])
    yield _gauge("cores_in_use", "Processor cores that the sessions use", [], [((), _number(cores.get("in_use")))])
    yield _gauge("cores_share", "The share of them that may be in use", [], [((), _number(cores.get("share")))])
    yield _gauge("memory_bytes", "Resident memory of all processes", [], [((), _number(engine.get("memory_bytes")))])
    batches = fusion.get("batches") or {}
    sizes = [((kind, str(size)), _number(count)) for kind, found in batches.items() for size, count in found.items()]
    yield _counter("batches", "Runs of a model, by how many windows or packets they took", ["kind", "size"], sizes)
    traces = [((what,), _number(count)) for what, count in (engine.get("traces") or {}).items()]
    yield _counter("traces", "Traces that were sent, dropped before they could be, or not taken", ["what"], traces)
    plain = [((name,), float(value)) for name, value in fusion.items() if isinstance(value, int | float)]
    yield _gauge("fusion", "What else the fusion actors count", ["count"], plain)


def _sinks(engine: Said) -> Iterator[Metric]:
    """taken = sent + waiting + dropped, where each decision goes to one place."""
    found = [(session, sink, counts) for session, sinks in (engine.get("sinks") or {}).items() for sink, counts in sinks.items()]
    labels = ["session", "sink"]
    plain = [((*at, name), float(value)) for *at, counts in found for name, value in counts.items() if isinstance(value, int)]
    yield _gauge("sink", "What a sink that sends counts: taken, sent, retried, waiting", [*labels, "count"], plain)
    dropped = [((*at, why), float(n)) for *at, counts in found for why, n in (counts.get("dropped") or {}).items()]
    yield _counter("sink_dropped", "Decisions that a sink gave up", [*labels, "reason"], dropped)


def _sessions(known: Mapping[str, Said]) -> Iterator[Metric]:
    states = [((name, state), float(status["state"] == state)) for name, status in known.items() for state in STATES]
    yield _gauge("session_state", "1: the session is in this state", ["session", "state"], states)
    for key, about in (
        ("decisions", "Decisions"),
        ("missed_deadlines", "Decisions that came after their deadline"),
        ("skipped", "Hops that nobody decided"),
        ("revisions", "Decisions that were made again because of late data"),
    ):
        yield _counter(f"session_{key}", about, ["session"], [((name,), _number(status.get(key))) for name, status in known.items()])
    yield _gauge("session_time_seconds", "Session time", ["session"], [((name,), _seconds(s["now_ns"])) for name, s in known.items()])
    recording = [((name,), float(status.get("recording") == "on")) for name, status in known.items()]
    yield _gauge("session_recording", "1: it is being recorded", ["session"], recording)


def _streams(known: Mapping[str, Said]) -> Iterator[Metric]:
    streams = [(name, stream["name"], stream) for name, status in known.items() for stream in status["streams"]]
    labels = ["session", "stream"]
    states = [((name, stream, state), float(it["state"] == state)) for name, stream, it in streams for state in STREAM_STATES]
    yield _gauge("stream_state", "1: the stream is in this state", [*labels, "state"], states)
    for key, about in (("packets", "Packets"), ("late", "Packets that came after their window")):
        yield _counter(f"stream_{key}", about, labels, [((name, stream), _number(it.get(key))) for name, stream, it in streams])
    for key, more, about in (("dropped", "reason", "Packets that were dropped"), ("faults", "fault", "What was lived through")):
        found = [((name, stream, why), _number(n)) for name, stream, it in streams for why, n in (it.get(key) or {}).items()]
        yield _counter(f"stream_{key}", about, [*labels, more], found)
    rates = [((name, stream), _number(it.get("rate_hz"))) for name, stream, it in streams]
    yield _gauge("stream_rate_hertz", "Packets a second", labels, rates)
    drifts = [((name, stream), float(it["drift_ppm"])) for name, stream, it in streams if it.get("drift_ppm") is not None]
    yield _gauge("stream_drift_ppm", "How much the device's clock is fast", labels, drifts)
    for key, title, about in (
        ("age_ns", "age", "Age of the newest packet"),
        ("uncertainty_ns", "uncertainty", "Typical error of a time stamp"),
    ):
        found_ns = [((name, stream), _seconds(it[key])) for name, stream, it in streams if it.get(key) is not None]
        yield _gauge(f"stream_{title}_seconds", about, labels, found_ns)


def _edges(known: Mapping[str, Said]) -> Iterator[Metric]:
    """entered = left + waiting + dropped, always."""
    edges = [(name, edge["edge"], edge) for name, status in known.items() for edge in status["edges"]]
    labels = ["session", "edge"]
    for key, about in (("entered", "Packets that were sent"), ("left", "Packets that came")):
        yield _counter(f"edge_{key}", about, labels, [((name, edge), _number(it.get(key))) for name, edge, it in edges])
    waiting = [((name, edge), _number(it.get("waiting"))) for name, edge, it in edges]
    yield _gauge("edge_waiting", "Packets in its queue, or under way", labels, waiting)
    dropped = [((name, edge, why), _number(n)) for name, edge, it in edges for why, n in (it.get("dropped") or {}).items()]
    yield _counter("edge_dropped", "Packets that its policy dropped", [*labels, "reason"], dropped)


def _gauge(name: str, about: str, labels: list[str], rows: Iterable[Row]) -> Metric:
    family = GaugeMetricFamily(f"sensorium_{name}", about, labels=labels)
    for values, value in rows:
        family.add_metric(list(values), value)
    return family


def _counter(name: str, about: str, labels: list[str], rows: Iterable[Row]) -> Metric:
    family = CounterMetricFamily(f"sensorium_{name}", about, labels=labels)
    for values, value in rows:
        family.add_metric(list(values), value)
    return family


def _by_name(counts: Mapping[str, int]) -> list[Row]:
    return [((name,), float(count)) for name, count in counts.items()]


def _number(value: Any) -> float:  # noqa: ANN401 - of a message; what is no number is 0
    return float(value) if isinstance(value, int | float) else 0.0


def _seconds(ns: int) -> float:
    return ns / 1e9
