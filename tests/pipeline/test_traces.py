"""A trace a decision, as a collector gets it: over HTTP, in OTLP's protobuf, with the session's times."""

import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from decisions import decision, status
from waiting import until

from operators.errors import SensoriumError
from pipeline.clock import FakeClock
from pipeline.traces import Traces, endpoint_of

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="opentelemetry is not installed")

MS, S = 1_000_000, 1_000_000_000
NOW_NS, WALL_NS, EPOCH_NS = 100 * S, 1_700_000_000 * S, 40 * S
LATENCY = {"transport": 3 * MS, "align": 5 * MS, "encode": 7 * MS, "fuse": 2 * MS, "total": 20 * MS}


class Collector:
    """Takes POST /v1/traces; `busy` answers 400, which is not tried again."""

    def __init__(self):
        self.spans, self.heads, self.busy, self.hold = [], [], False, threading.Event()
        self.hold.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.hold.wait(10)
                outer.took(self.path, dict(self.headers), body)
                self.send_response(400 if outer.busy else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=[0.02])
        self.thread.start()
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"

    def took(self, path, headers, body):
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        self.heads.append((path, headers))
        if self.busy:
            return
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            self.spans += [(about, span) for scope in resource.scope_spans for span in scope.spans]

    def close(self):
        self.hold.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def collector():
    made = Collector()
    yield made
    made.close()


def traces(collector, **more):
    return Traces(collector.address, FakeClock(NOW_NS), lambda: WALL_NS, **more)


def begun(made, lag_ns=200 * MS, **changed):
    sink = made.sink(lag_ns)
    sink.status(replace(status(), epoch_ns=EPOCH_NS, **changed))
    return sink


def decided(window=0, **changed):
    return replace(decision(window=window), **{"end_ns": 10 * S, "latency_ns": LATENCY, **changed})


def test_a_decision_is_one_trace_with_a_span_a_stage_at_the_sessions_times(collector):
    made = traces(collector)
    begun(made).decision(decided())
    made.close()
    assert made.counts() == {"sent": 1, "dropped": 0, "failed": 0}
    spans = {span.name: span for _, span in collector.spans}
    # The window ended 200 ms after the decision's span, 10.2 s after the epoch, which was 49.8 s before now.
    end_ns = WALL_NS - NOW_NS + EPOCH_NS + 10 * S + 200 * MS
    at = {name: (span.start_time_unix_nano - end_ns, span.end_time_unix_nano - end_ns) for name, span in spans.items()}
    assert at == {
        "decision": (0, 20 * MS),
        "transport": (-3 * MS, 0),
        "align": (0, 5 * MS),
        "encode": (5 * MS, 12 * MS),
        "fuse": (12 * MS, 14 * MS),
    }
    root = spans["decision"]
    assert not root.parent_span_id
    assert {span.parent_span_id for name, span in spans.items() if name != "decision"} == {root.span_id}
    assert {span.trace_id for span in spans.values()} == {root.trace_id}
    assert len({span.span_id for span in spans.values()}) == 5


def test_the_trace_says_what_was_decided_and_by_what(collector):
    made = traces(collector)
    begun(made).decision(decided())
    made.close()
    (resource, root), *_ = [(about, span) for about, span in collector.spans if span.name == "decision"]
    values = {pair.key: pair.value.string_value or pair.value.int_value or pair.value.double_value for pair in root.attributes}
    told = decided()
    assert resource["service.name"] == "sensorium"
    assert (values["sensorium.session"], values["sensorium.label"], values["sensorium.decision"]) == (told.session, told.label, told.id)
    assert values["sensorium.score"] == told.scores[told.label]
    assert {key for key in values if "presence" in key} == {f"sensorium.presence.{stream}" for stream in told.presence}


def test_a_decision_that_is_told_twice_is_one_trace_and_two_decisions_are_two(collector):
    made = traces(collector)
    sink = begun(made)
    for told in (decided(0, id="a" * 16), decided(0, id="a" * 16), decided(1, id="b" * 16)):
        sink.decision(told)
    made.close()
    roots = [span for _, span in collector.spans if span.name == "decision"]
    assert len(roots) == 3
    assert len({span.trace_id for span in roots}) == 2
    assert len({span.span_id for span in roots}) == 2


def test_at_double_speed_the_session_passes_twice_as_fast_on_the_wall(collector):
    made = traces(collector)
    begun(made, lag_ns=0, speed=2.0).decision(decided())
    made.close()
    root = next(span for _, span in collector.spans if span.name == "decision")
    assert root.start_time_unix_nano == WALL_NS - NOW_NS + EPOCH_NS + 5 * S


def test_a_decision_made_before_its_windows_end_has_no_negative_spans(collector):
    made = traces(collector)
    begun(made).decision(decided(latency_ns={"align": -50 * MS, "encode": 4 * MS, "total": -40 * MS}))
    made.close()
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for _, span in collector.spans)
    assert len(collector.spans) == 3


def test_before_the_session_has_begun_and_without_a_clock_nothing_is_sent(collector):
    made = traces(collector)
    sink = made.sink(0)
    sink.decision(decided())
    sink.status(status())  # keeps to no clock
    sink.decision(decided())
    made.close()
    assert made.counts() == {"sent": 0, "dropped": 0, "failed": 0}


def test_a_collector_that_hangs_costs_traces_and_no_time(collector):
    collector.hold.clear()
    made = traces(collector, most_waiting=10)
    sink = begun(made)
    sink.decision(decided())
    until(lambda: collector.server and not made._waiting, 10, "the first is under way")
    for window in range(1, 31):
        sink.decision(decided(window))  # would block here
    assert made.counts()["dropped"] == 20
    collector.hold.set()
    made.close()
    assert made.counts() == {"sent": 11, "dropped": 20, "failed": 0}


def test_what_the_collector_refuses_is_counted_and_told_once(collector, caplog):
    collector.busy = True
    made = traces(collector)
    sink = begun(made)
    for window in range(3):
        sink.decision(decided(window))
        until(lambda window=window: made.counts()["failed"] == window + 1, 10, "it failed")
    made.close()
    assert [record.getMessage() for record in caplog.records if record.name == "sensorium.traces"] == ["the collector takes no traces"]


def test_headers_for_the_collector_come_from_the_environment(collector, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=abc")
    made = traces(collector)
    begun(made).decision(decided())
    made.close()
    assert [(path, headers["x-key"]) for path, headers in collector.heads] == [("/v1/traces", "abc")]


@pytest.mark.parametrize("address", ["127.0.0.1:4318", "ftp://collector/", "http://"])
def test_an_address_that_is_none_is_refused_with_what_is_wanted(address):
    with pytest.raises(SensoriumError, match="an address like"):
        endpoint_of(address)


def test_an_address_with_a_path_is_taken_as_it_is_and_a_secret_in_a_wrong_one_is_not_shown():
    assert endpoint_of("http://c:4318") == endpoint_of("http://c:4318/") == "http://c:4318/v1/traces"
    assert endpoint_of("https://c/otlp/v1/traces") == "https://c/otlp/v1/traces"
    with pytest.raises(SensoriumError) as error:
        endpoint_of("ftp://me:hunter2@c")
    assert "hunter2" not in str(error.value)
