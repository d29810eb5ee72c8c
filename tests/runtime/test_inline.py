"""The reference runner in virtual time: what comes out, when, and what is said of it."""

from __future__ import annotations

import pytest
from fakeplan import MS, FakePlan, Notes, Script, regular, value

from operators.errors import ConfigError, DeviceNotFound
from operators.packet import Watermark
from pipeline.clock import FakeClock
from pipeline.runtime.inline import run_inline


def run(plan: FakePlan, clock: FakeClock | None = None, **kwargs: object) -> tuple[Notes, object]:
    notes = Notes()
    return notes, run_inline(plan, [notes], clock or FakeClock(), **kwargs)  # type: ignore[arg-type]


def complete(**kwargs: object) -> FakePlan:
    return FakePlan({"cam": Script(regular("cam", 20)), "mic": Script(regular("mic", 20))}, **kwargs)  # type: ignore[arg-type]


def test_decisions_tile_the_session() -> None:
    notes, status = run(complete())
    assert [(d.start_ns // MS, d.end_ns // MS) for d in notes.decisions] == [(100 * i, 100 * (i + 1)) for i in range(10)]
    assert all(d.presence == {"cam": "present", "mic": "present"} for d in notes.decisions[1:])
    assert status.decisions == 10
    assert status.final
    assert status.state == "ended"


def test_pace_changes_nothing_but_the_latency() -> None:
    def told(plan: FakePlan) -> list[tuple[object, ...]]:
        return [(d.id, d.label, tuple(d.scores.items()), tuple(d.presence.items())) for d in run(plan)[0].decisions]

    assert told(complete(speed="max")) == told(complete(speed=1)) == told(complete(speed=7.3))


def test_latency_is_told_only_where_a_clock_paces() -> None:
    assert all(d.latency_ns == {} for d in run(complete())[0].decisions)
    latencies = [d.latency_ns for d in run(complete(speed=1))[0].decisions]
    assert all(latency == {"transport": 0, "align": 0, "encode": 0, "fuse": 0, "total": 0} for latency in latencies)


def test_each_packet_is_encoded_once_and_forgotten() -> None:
    plan = complete()
    run(plan)
    values = [float(value("cam", seq, 0).payload.data[0]) for seq in range(20)]
    told = {number: values.count(number) for number in values if number}  # zeros also warm up
    assert {name: {n: plan.backend.encoded[name, n] for n in told} for name in ("cam", "mic")} == {"cam": told, "mic": told}


def test_a_dead_stream_is_masked_at_its_deadline() -> None:
    cut = [item for item in regular("mic", 20) if item[0] <= 500 * MS]
    plan = FakePlan({"cam": Script(regular("cam", 40)), "mic": Script([*cut, (2000 * MS, Watermark(stream="mic", time_ns=0))])}, speed=1)
    notes, status = run(plan)
    assert [d.window for d in notes.decisions] == list(range(20))
    by_end = {d.end_ns // MS: d for d in notes.decisions}
    assert by_end[500].latency_ns["total"] == 0
    assert by_end[600].presence["mic"] == "partial"
    assert by_end[800].presence == {"cam": "present", "mic": "timeout"}
    assert by_end[800].latency_ns["total"] == 150 * MS
    assert status.missed_deadlines == 0


def test_an_input_that_nothing_feeds_is_closed_from_the_start() -> None:
    notes, status = run(FakePlan({"cam": Script(regular("cam", 20))}))
    assert len(notes.decisions) == 10
    assert {d.presence["mic"] for d in notes.decisions} == {"closed"}
    assert [s.state for s in status.streams] == ["closed", "closed"]


def test_a_source_without_the_wanted_stream_closes_it() -> None:
    plan = FakePlan({"cam": Script(regular("cam", 20)), "mic": Script([])})
    assert {d.presence["mic"] for d in run(plan)[0].decisions} == {"closed"}


@pytest.mark.parametrize("speed", [1, "max"])
def test_a_source_that_dies_is_lost_and_the_session_goes_on(speed: float | str) -> None:
    broken = [*[item for item in regular("mic", 20) if item[0] <= 500 * MS], ValueError("cable eaten")]
    notes, status = run(FakePlan({"cam": Script(regular("cam", 20)), "mic": Script(broken)}, speed=speed))
    assert len(notes.decisions) == 10
    assert notes.decisions[-1].presence == {"cam": "present", "mic": "closed"}
    assert {s.name: s.state for s in status.streams} == {"cam": "closed", "mic": "lost"}
    assert notes.events() == ["source mic is lost: cable eaten"]


def test_a_source_that_cannot_be_opened_ends_the_run() -> None:
    plan = FakePlan({"cam": Script(regular("cam", 1)), "mic": Script([], fails=DeviceNotFound("mic", "no such device"))})
    with pytest.raises(DeviceNotFound):
        run(plan)
    assert [source.closed for source in plan.sources.values()] == [1, 1]


def test_a_live_source_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"run\.runner"):
        run(FakePlan({"cam": Script([], live=True)}))


def test_duration_cuts_the_session_cleanly() -> None:
    notes, status = run(complete(duration=0.45, speed=1))
    assert [d.end_ns // MS for d in notes.decisions] == [100, 200, 300, 400, 500]
    assert status.end_ns == 450 * MS


def test_stop_is_heard_between_events() -> None:
    plan, clock = complete(speed=1), FakeClock()
    notes, status = run(plan, clock, stop=lambda: clock.now_ns() > 500 * MS)
    assert 4 <= len(notes.decisions) <= 5
    assert status.final


def test_status_comes_four_times_a_second() -> None:
    notes, _ = run(complete(speed=1))
    assert len(notes.statuses) == 1 + 4
    assert sum(status.final for status in notes.statuses) == 1
    assert notes.statuses[-1].streams[0].rate_hz == pytest.approx(20)


def test_conservation_holds_on_every_edge() -> None:
    for status in run(complete(speed=1))[0].statuses:
        assert all(e.entered == e.left + e.waiting + sum(e.dropped.values()) for e in status.edges)


def test_one_bad_window_is_dropped_and_counted() -> None:
    plan = complete()
    plan.backend.fail_when = lambda inputs: abs(float(inputs["cam"][0, 0, 0]) - 4 / 7) < 1e-6
    notes, _ = run(plan)
    assert 0 < len(notes.decisions) < 10
    assert f"{10 - len(notes.decisions)} decisions dropped: backend_error" in notes.events()


def test_a_window_that_fails_with_every_packet_ends_the_run() -> None:
    from operators.errors import BackendError

    plan = FakePlan({"cam": Script(regular("cam", 60)), "mic": Script(regular("mic", 60))})
    plan.backend.fail_when = lambda inputs: bool(inputs["cam"].any())
    with pytest.raises(BackendError):
        run(plan)


def test_a_time_jump_is_skipped_said_and_counted() -> None:
    gap = [*regular("cam", 4)[:-1], (60_000 * MS, value("cam", 4, 59_950)), (60_000 * MS, Watermark(stream="cam", time_ns=60_000 * MS))]

    class Suspended(FakeClock):
        """The machine slept for a minute at 250 ms."""

        def sleep_until(self, time_ns: int) -> None:
            super().sleep_until(time_ns if time_ns < 250 * MS else max(time_ns, 60_000 * MS))

    notes, status = run(FakePlan({"cam": Script(gap), "mic": Script(regular("mic", 4))}, speed=1), Suspended())
    assert status.skipped > 400
    assert status.decisions + status.skipped == 600
    assert any(line.startswith("skipped") for line in notes.events())
