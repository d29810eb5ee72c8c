"""What Prometheus reads, read with its own parser."""

from collections import Counter
from types import SimpleNamespace

import inventedsession as invented
import pytest
from guarded import Guarded
from prometheus_client.parser import text_string_to_metric_families

from pipeline.api.connections import Places
from pipeline.api.latencies import Latencies
from pipeline.api.mailbox import Mailbox
from pipeline.api.metrics import Metrics

S = 1_000_000_000
ORDER = ("session", "sink", "stream", "edge", "stage", "le", "kind", "size", "count", "status", "of", "what", "reason", "fault", "state")


@pytest.fixture
def guarded(tmp_path):
    made = Guarded(tmp_path)
    latencies = Latencies()
    made.hub.on_decision = latencies.add
    link = SimpleNamespace(unread=2, unsent=3)
    view = SimpleNamespace(unfit=1, taken=Counter(picture=7))
    metrics = Metrics(hub=made.hub, latencies=latencies, guard=made.guard, places=Places(4, 4, lambda: 0.0), link=link, view=view)
    made.house.metrics = metrics.text
    return made


def scraped(guarded):
    """{name: {the labels' values, in ORDER: value}}"""
    answer = guarded.ask("GET", "/metrics")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    found = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels[name] for name in ORDER if name in sample.labels)] = sample.value
    return found


def status(guarded, now_ns=40 * S, **changed):
    guarded.hub.take({"type": "status", "session": "desk", "status": invented.status("desk", now_ns, **changed)})


def test_every_queue_drop_drift_age_and_uncertainty_is_there(guarded):
    status(guarded)
    told, found = invented.status("desk", 40 * S), scraped(guarded)
    for edge in told["edges"]:
        labels = ("desk", edge["edge"])
        values = [found[f"sensorium_edge_{key}"][labels] for key in ("entered_total", "left_total", "waiting")]
        assert values == [edge["entered"], edge["left"], edge["waiting"]]
        assert found["sensorium_edge_dropped_total"][(*labels, "overflow")] == edge["dropped"]["overflow"]
    for stream in told["streams"]:
        labels = ("desk", stream["name"])
        assert found["sensorium_stream_packets_total"][labels] == stream["packets"]
        assert found["sensorium_stream_age_seconds"][labels] == stream["age_ns"] / 1e9
        assert found["sensorium_stream_drift_ppm"].get(labels) == stream["drift_ppm"]
        assert (labels in found["sensorium_stream_uncertainty_seconds"]) == (stream["uncertainty_ns"] is not None)
        assert [
            state
            for (*_, state), on in found["sensorium_stream_state"].items()
            if on and (*labels, state) in found["sensorium_stream_state"]
        ]
    assert found["sensorium_stream_dropped_total"][("desk", "video", "no_face")] == 20
    assert found["sensorium_stream_faults_total"][("desk", "audio", "reconnect")] == 2


def test_a_state_is_one_of_all_states(guarded):
    status(guarded, state="degraded")
    states = {state: on for (_, state), on in scraped(guarded)["sensorium_session_state"].items()}
    assert states == {"starting": 0, "running": 0, "degraded": 1, "ended": 0, "failed": 0}


def test_latencies_are_a_histogram_of_each_stage(guarded):
    told = [invented.decision("desk", window) for window in range(100, 140)]
    guarded.decide(*range(100, 140))
    found = scraped(guarded)
    for stage in ("transport", "align", "encode", "fuse", "attribute", "total"):
        took_s = [decision["latency_ns"][stage] / 1e9 for decision in told]
        assert found["sensorium_decision_latency_seconds_count"][("desk", stage)] == 40
        assert found["sensorium_decision_latency_seconds_sum"][("desk", stage)] == pytest.approx(sum(took_s))
        buckets = {float(labels[2]): n for labels, n in found["sensorium_decision_latency_seconds_bucket"].items() if labels[1] == stage}
        assert buckets == {bound: sum(value <= bound for value in took_s) for bound in buckets}


def test_the_engine_its_cores_and_its_batches(guarded):
    guarded.hub.take(
        invented.engine(traces={"sent": 7, "dropped": 1}, restarts=2, fusion={"batches": {"encode": {"1": 5, "4": 2}}, "shed": 9})
    )
    found = scraped(guarded)
    assert found["sensorium_engine_up"][()] == 1
    assert found["sensorium_engine_restarts_total"][()] == 2
    assert found["sensorium_traces_total"] == {("sent",): 7, ("dropped",): 1}
    assert found["sensorium_cores_in_use"][()] == 0.8
    assert found["sensorium_batches_total"] == {("encode", "1"): 5, ("encode", "4"): 2}
    assert found["sensorium_fusion"] == {("shed",): 9}
    guarded.hub.take(invented.engine("down"))
    assert scraped(guarded)["sensorium_engine_up"][()] == 0


def test_what_a_sessions_sinks_sent_and_gave_up_is_there(guarded):
    counts = {"taken": 9, "sent": 4, "retried": 2, "waiting": 3, "dropped": {"overflow": 2}}
    guarded.hub.take(invented.engine(sinks={"desk": {"Webhook": counts}, "hall": {}}))
    found = scraped(guarded)
    plain = {name: value for name, value in counts.items() if name != "dropped"}
    assert found["sensorium_sink"] == {("desk", "Webhook", name): value for name, value in plain.items()}
    assert found["sensorium_sink_dropped_total"] == {("desk", "Webhook", "overflow"): 2}


def test_the_api_counts_itself(guarded):
    guarded.ask("GET", "/api/sessions", [(b"host", b"evil")])
    guarded.ask("GET", "/api/sessions/nobody")
    box = Mailbox(max_waiting=1)
    with guarded.hub.reader("desk", box):
        guarded.decide(200, 201)
        found = scraped(guarded)
    assert found["sensorium_api_refused_total"][("host",)] == 1
    assert found["sensorium_api_answers_total"] == {("421",): 1, ("404",): 1}
    assert found["sensorium_api_listeners"] == {("desk",): 1}
    assert found["sensorium_api_dropped_total"] == {("decision",): 1}
    assert found["sensorium_api_unfit_total"] == {("supervisor",): 2, ("view",): 1}
    assert found["sensorium_api_unsent_total"] == {(): 3}
    assert found["sensorium_view_messages_total"] == {("picture",): 7}


def test_of_a_session_that_has_ended_nothing_stays(guarded):
    guarded.decide(100)
    guarded.hub.take({"type": "gone", "session": "desk"})
    assert b'session="desk"' not in guarded.ask("GET", "/metrics").body


def test_odd_names_do_not_break_the_page(guarded):
    streams = [{**invented.status("desk", S)["streams"][0], "name": 'a"b\nc\\', "dropped": {"why\n": 1}}]
    status(guarded, streams=streams)
    assert scraped(guarded)["sensorium_stream_dropped_total"] == {("desk", 'a"b\nc\\', "why\n"): 1}


def test_before_anything_is_known_there_is_a_page_all_the_same(tmp_path):
    made = Guarded(tmp_path)
    made.hub.sessions.clear()
    made.hub.engine = {}
    metrics = Metrics(
        hub=made.hub,
        latencies=Latencies(),
        guard=made.guard,
        places=Places(4, 4, lambda: 0.0),
        link=SimpleNamespace(unread=0, unsent=0),
        view=None,
    )
    assert b"sensorium_engine_up 0.0" in metrics.text()
