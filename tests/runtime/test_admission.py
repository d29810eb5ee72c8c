"""Who is let in, and the line for who is not."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clock import FakeClock
from pipeline.runtime.admission import DEFAULT_INGEST, SHELL_NS, Fusion, Newcomer, Running, admit, late
from pipeline.runtime.usage import Usage, read_cpu_s

MS = 1_000_000
LIGHT = Fusion(cost_ns=1 * MS, hop_ns=100 * MS, deadline_ns=250 * MS)
CAMERA = Newcomer(classes=["Camera"], fusion=LIGHT)
FUSION = (1 * MS + SHELL_NS) / (100 * MS)


def running(name: str = "one", classes: tuple[str, ...] = ("Camera",), **measured: float | None) -> Running:
    return Running(session=name, classes=classes, fusion=LIGHT, **measured)


def test_a_first_session_is_expected_to_use_the_default_for_each_source() -> None:
    verdict = admit(CAMERA, [], cores=2, share=0.9)
    assert verdict.admitted
    assert verdict.needs == pytest.approx(DEFAULT_INGEST + FUSION)
    assert (verdict.in_use, verdict.limit) == (0, 1.8)


def test_a_refusal_has_the_figures() -> None:
    verdict = admit(CAMERA, [running(ingest_cores=0.6, fusion_cores=0.1)] * 2, cores=2, share=0.9)
    assert verdict.refused == "needs about 0.63 cores, 1.40 of 1.80 are in use; stop a session, or raise the share of the cores"


def test_what_running_and_past_sessions_with_such_sources_use_is_what_it_is_expected_to_use() -> None:
    past = [running(ingest_cores=0.1), running(ingest_cores=0.3), running(classes=("File",), ingest_cores=1.5)]
    assert admit(CAMERA, [], cores=2, share=0.9, past=past).needs == pytest.approx(0.2 + FUSION)
    now = [running(ingest_cores=0.5, fusion_cores=0.0)]
    assert admit(CAMERA, now, cores=2, share=0.9, past=past).needs == pytest.approx(0.5 + FUSION)


def test_the_order_of_sources_does_not_matter_but_their_number_does() -> None:
    two = running(classes=("Microphone", "Camera"), ingest_cores=0.4)
    pair = Newcomer(classes=["Camera", "Microphone"], fusion=LIGHT)
    assert admit(pair, [], cores=2, share=0.9, past=[two]).needs == pytest.approx(0.4 + FUSION)
    assert admit(CAMERA, [], cores=2, share=0.9, past=[two]).needs == pytest.approx(DEFAULT_INGEST + FUSION)


def test_sessions_that_were_let_in_a_moment_ago_count_before_they_are_measured() -> None:
    let_in: list[Running] = []
    while admit(CAMERA, let_in, cores=2, share=0.9).admitted:
        let_in.append(running(str(len(let_in))))
    assert len(let_in) == int(1.8 / (DEFAULT_INGEST + FUSION))


def test_a_model_that_would_block_the_most_urgent_session_is_refused() -> None:
    heavy = Fusion(cost_ns=60 * MS, hop_ns=1000 * MS, deadline_ns=2000 * MS)
    quick = Fusion(cost_ns=1 * MS, hop_ns=100 * MS, deadline_ns=50 * MS)
    line = late([quick, heavy], share=0.9)
    assert line.startswith("the fusion process may work 62.0 ms without a break, and the most urgent session can wait 47.0 ms")
    assert late([heavy], share=0.9) == ""
    verdict = admit(Newcomer(classes=[], fusion=heavy), [Running(session="a", classes=[], fusion=quick)], cores=64, share=0.9)
    assert verdict.refused == line


def test_a_fusion_process_that_would_be_too_busy_is_refused_though_cores_are_left() -> None:
    fusion = Fusion(cost_ns=13 * MS, hop_ns=100 * MS, deadline_ns=250 * MS)
    others = [Running(session=str(n), classes=[], fusion=fusion, fusion_cores=0.15) for n in range(5)]
    verdict = admit(Newcomer(classes=[], fusion=fusion), others, cores=64, share=0.9)
    assert verdict.refused.startswith(
        "the fusion process would be 90 % busy, and 15 % of the shortest hop may pass until it is free: together 105 %"
    )


def test_a_batch_that_was_measured_to_be_long_counts_as_what_may_have_begun() -> None:
    assert late([LIGHT], share=0.9) == ""
    assert late([LIGHT], share=0.9, batch_ns=80 * MS) == ""
    assert "may work 300.0 ms without a break" in late([LIGHT], share=0.9, batch_ns=300 * MS)


@given(
    tasks=st.lists(st.tuples(st.integers(2, 60), st.integers(50, 200), st.integers(50, 400)), min_size=1, max_size=5),
    phases=st.lists(st.integers(0, 199), min_size=5, max_size=5),
)
def test_whom_it_lets_in_meets_every_deadline(tasks: list[tuple[int, int, int]], phases: list[int]) -> None:
    """By a simulation, in milliseconds, of work by earliest deadline that is not interrupted."""
    fusions = [Fusion(cost_ns=cost * MS - SHELL_NS, hop_ns=hop * MS, deadline_ns=deadline * MS) for cost, hop, deadline in tasks]
    if late(fusions, share=1.0):
        return
    jobs = sorted(
        (phase + hop * k, cost, phase + hop * k + deadline)
        for (cost, hop, deadline), phase in zip(tasks, phases, strict=False)
        for k in range(20)
    )
    now, waiting = 0, list[tuple[int, int, int]]()
    while jobs or waiting:
        now = now if waiting else max(now, jobs[0][0])
        while jobs and jobs[0][0] <= now:
            waiting.append(jobs.pop(0))
        waiting.sort(key=lambda job: job[2])
        _, cost, deadline = waiting.pop(0)
        now += cost
        assert now <= deadline


class Processes:
    def __init__(self) -> None:
        self.used_s: dict[int, float] = {}

    def __call__(self, pid: int) -> float | None:
        return self.used_s.get(pid)


def test_usage_is_the_mean_over_the_span() -> None:
    clock, processes = FakeClock(), Processes()
    usage = Usage(clock, processes, span_ns=3_000 * MS)
    for second in range(10):
        processes.used_s = {7: 0.5 * second if second < 5 else 2.5}
        clock.sleep_until(second * 1000 * MS)
        usage.look([7])
    assert usage.cores(7) == 0.0
    processes.used_s = {7: 4.0}
    clock.sleep_until(10_000 * MS)
    usage.look([7])
    assert usage.cores(7) == pytest.approx(0.5)


def test_a_process_that_is_gone_new_or_another_is_not_known() -> None:
    clock, processes = FakeClock(), Processes()
    usage = Usage(clock, processes)
    processes.used_s = {7: 100.0}
    usage.look([7, 8])
    assert usage.cores(7) is usage.cores(8) is None
    clock.sleep_until(1000 * MS)
    processes.used_s = {7: 0.5}
    usage.look([7])
    assert usage.cores(7) is None
    clock.sleep_until(2000 * MS)
    processes.used_s = {7: 0.75}
    usage.look([7])
    assert usage.cores(7) == pytest.approx(0.25)
    processes.used_s = {}
    usage.look([7])
    assert usage.cores(7) is None


def test_this_process_has_used_cpu_and_one_that_is_not_there_has_not() -> None:
    assert (read_cpu_s(os.getpid()) or 0) > 0
    assert read_cpu_s(2**22 + 1) is None
