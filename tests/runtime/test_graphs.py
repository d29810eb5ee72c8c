"""Batches that change no bit: what an engine is shown to keep, and what is made of one that does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from fakeplan import MS, ArithmeticBackend, FakePlan, Script
from tiny_model import write_tiny_model

from operators.errors import BackendError
from operators.packet import Embedding, Packet, Series
from operators.window import AlignedWindow, Slot
from pipeline.backends import make_backend
from pipeline.clock import FakeClock
from pipeline.model import load_model
from pipeline.runtime.batcher import Ready, Work, choose, infer, launch_ns
from pipeline.runtime.graphs import FUSE, Graphs
from pipeline.runtime.inference import Inference, Inferred
from pipeline.runtime.samebits import BUCKETS

MODEL = FakePlan({"cam": Script([]), "mic": Script([])}).model


class Drifts(ArithmeticBackend):
    """In company a result differs in its last bit, as where a matrix product takes another way for more than one row."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what

    def encode(self, stream: str, batch: np.ndarray) -> np.ndarray:
        made = super().encode(stream, batch)
        return np.nextafter(made, np.float32(9)) if stream == self._what and len(batch) > 1 else made

    def fuse(self, inputs: Any, presence: Any) -> np.ndarray:
        made = super().fuse(inputs, presence)
        return np.nextafter(made, np.float32(9)) if self._what == FUSE and len(made) == 8 else made


class Padded(ArithmeticBackend):
    """Another result at every size: but at one size always the same."""

    bucket = 32

    def fuse(self, inputs: Any, presence: Any) -> np.ndarray:
        made = super().fuse(inputs, presence)
        return made * np.float32(1 + len(made) / 1024)


def graphs(backend: Any) -> Graphs:
    return Graphs(MODEL, backend, FakeClock())


def test_an_engine_that_keeps_the_bits_runs_batches() -> None:
    assert graphs(ArithmeticBackend()).rules == {"encode cam": "any", "encode mic": "any", FUSE: "any"}


@pytest.mark.parametrize(("what", "graph"), [("cam", "encode cam"), (FUSE, FUSE)])
def test_a_graph_that_does_not_goes_one_by_one_and_the_others_do_not(what: str, graph: str) -> None:
    rules = graphs(Drifts(what)).rules
    assert rules.pop(graph) == "one"
    assert set(rules.values()) == {"any"}


def test_an_engine_with_a_bucket_is_filled_up_to_it() -> None:
    made = graphs(Padded())
    assert made.rules == {"encode cam": "any", "encode mic": "any", FUSE: "padded"}
    assert made.sizes(FUSE, [1] * 40) == [32, 8]


def test_an_engine_for_single_rows_gets_single_rows() -> None:
    class Single(ArithmeticBackend):
        def encode(self, stream: str, batch: np.ndarray) -> np.ndarray:
            if len(batch) > 1:
                raise BackendError("one at a time")
            return super().encode(stream, batch)

    assert graphs(Single()).rules == {"encode cam": "one", "encode mic": "one", FUSE: "any"}


def test_batches_have_no_size_that_was_not_tried() -> None:
    made = graphs(ArithmeticBackend())
    for count in range(1, 100):
        sizes = made.sizes(FUSE, [1] * count)
        assert sum(sizes) == count
        assert set(sizes) <= set(BUCKETS)


def window(values: list[float], number: int = 0) -> AlignedWindow:
    """cam has one packet for each value, mic none."""
    packets = tuple(
        Packet(stream="cam", seq=seq, start_ns=seq * 50 * MS, end_ns=(seq + 1) * 50 * MS, payload=Embedding(data=np.array([v], np.float32)))
        for seq, v in enumerate(values)
    )
    slots = {
        "cam": Slot(packets=packets, missing=None, age_ns=0, complete=True),
        "mic": Slot(packets=(), missing="empty", age_ns=None, complete=True),
    }
    return AlignedWindow(index=number, start_ns=0, end_ns=200 * MS, slots=slots)


def results(made: Graphs, windows: list[AlignedWindow], **options: Any) -> list[Any]:
    works = [Work(inference=Inference(made, **options), window=one) for one in windows]
    return [outcome for _, outcome in infer(works)]


@pytest.mark.parametrize("backend", [ArithmeticBackend, Padded, lambda: Drifts("cam"), lambda: Drifts(FUSE)])
def test_company_changes_no_bit_of_scores_or_coalitions(backend: Any) -> None:
    rng = np.random.default_rng(1)
    windows = [window(rng.normal(size=4).tolist()) for _ in range(11)]
    made = graphs(backend())
    together = results(made, windows, attribute=True)
    alone = [results(made, [one], attribute=True)[0] for one in windows]
    assert [one.logits.tobytes() for one in together] == [one.logits.tobytes() for one in alone]
    assert [one.coalitions.tobytes() for one in together] == [one.coalitions.tobytes() for one in alone]
    assert [one.present for one in together] == [one.present for one in alone]


def test_one_that_fails_fails_alone() -> None:
    backend = ArithmeticBackend()
    made = graphs(backend)
    backend.fail_when = lambda inputs: bool((inputs["cam"] > 5).any())
    good, bad, other = results(made, [window([0.1]), window([7.0]), window([0.2])])
    assert isinstance(bad, BackendError)
    assert (good.logits[1], other.logits[1]) == pytest.approx((-0.4, -0.3))


def test_scores_that_are_not_finite_fail_alone() -> None:
    good, bad = results(graphs(ArithmeticBackend()), [window([0.1]), window([float("nan")])])
    assert isinstance(good, Inferred)
    assert "scores must be finite" in str(bad)


def ready(seat: str, deadline_ms: int, made: Graphs) -> Ready:
    return Ready(seat=seat, deadline_ns=deadline_ms * MS, work=Work(inference=Inference(made), window=window([0.0])))


class Timed(ArithmeticBackend):
    """cost_ns(rows) of a fusion, on the clock."""

    def __init__(self, clock: FakeClock, cost_ms: Mapping[int, float]) -> None:
        super().__init__()
        self._clock, self._cost_ms = clock, cost_ms

    def fuse(self, inputs: Any, presence: Any) -> np.ndarray:
        rows = len(presence["cam"])
        self._clock.sleep_until(self._clock.now_ns() + round(self._cost_ms.get(rows, 10) * MS))
        return super().fuse(inputs, presence)


@pytest.fixture
def shares() -> Graphs:
    """A batch costs 10 ms, whatever its size."""
    clock = FakeClock()
    return Graphs(MODEL, Timed(clock, {}), clock)


@pytest.fixture
def alike() -> Graphs:
    """10 ms a row."""
    clock = FakeClock()
    return Graphs(MODEL, Timed(clock, {n: 10 * n for n in BUCKETS}), clock)


def test_the_most_urgent_leads_and_only_its_model_goes_along(shares: Graphs, alike: Graphs) -> None:
    chosen = choose([ready("a", 300, shares), ready("b", 100, shares), ready("c", 200, alike)], 0)
    assert [one.seat for one in chosen] == ["b", "a"]


def test_where_company_saves_nothing_a_batch_is_done_by_its_first_deadline(alike: Graphs) -> None:
    some = [ready(str(number), 45 + number, alike) for number in range(8)]
    assert len(choose(some, 0)) == 4
    assert len(choose(some, 40 * MS)) == 1  # late already, and nobody else is made so


def test_where_company_is_free_all_that_are_ready_go(shares: Graphs) -> None:
    assert len(choose([ready(str(number), 5, shares) for number in range(8)], 0)) == 8


def test_a_batch_waits_for_others_only_where_it_pays_and_the_time_is_needed(shares: Graphs, alike: Graphs) -> None:
    two = [ready("a", 100, shares), ready("b", 120, shares)]
    assert launch_ns(two, 4, busy=0.9, now_ns=0, spare_ns=3 * MS) == 87 * MS
    assert launch_ns(two, 4, busy=0.9, now_ns=95 * MS, spare_ns=3 * MS) == 95 * MS
    assert launch_ns(two, 2, busy=0.9, now_ns=0, spare_ns=3 * MS) == 0  # all are there
    assert launch_ns(two, 4, busy=0.1, now_ns=0, spare_ns=3 * MS) == 0  # there is time for each
    assert launch_ns([ready("a", 100, alike)], 4, busy=0.9, now_ns=0, spare_ns=3 * MS) == 0


def test_a_stall_of_the_machine_while_it_is_measured_does_not_make_company_look_cheap() -> None:
    clock = FakeClock()

    class Stalls(Timed):
        calls = 0

        def fuse(self, inputs: Any, presence: Any) -> np.ndarray:
            self.calls += 1
            if self.calls % 4 == 0:
                self._clock.sleep_until(self._clock.now_ns() + 500 * MS)
            return super().fuse(inputs, presence)

    made = Graphs(MODEL, Stalls(clock, {n: 10 * n for n in BUCKETS}), clock)
    assert not made.pays
    assert made.expected_ns(1) == 10 * MS


def test_the_estimate_follows_what_batches_take(alike: Graphs) -> None:
    assert alike.expected_ns(1) == 10 * MS
    assert alike.expected_ns(8) == 80 * MS
    for _ in range(200):
        alike.took(2, 40 * MS)
    assert alike.expected_ns(2) == pytest.approx(40 * MS, rel=0.01)


CARRIED = {"use": "operators.encoders_carried:PacketGRU", "dim": 8, "carry": True}


def test_real_engines_give_each_session_its_own_bits(tmp_path: Any) -> None:
    model = load_model(
        write_tiny_model(tmp_path / "tiny", ("imu",), encoders={"imu": CARRIED}, takes={"imu": {"take": "window", "steps": 4}})
    )
    made = Graphs(model, make_backend("onnx", model), FakeClock())
    sessions = [[imu(number, hop) for hop in range(3)] for number in range(7)]
    company = [Inference(made) for _ in sessions]
    together = [list(infer([Work(inference=one, window=of[hop]) for one, of in zip(company, sessions, strict=True)])) for hop in range(3)]
    for number, windows in enumerate(sessions):
        lone = Inference(made)
        for hop, one in enumerate(windows):
            ((_, alone),) = infer([Work(inference=lone, window=one)])
            assert together[hop][number][1].logits.tobytes() == alone.logits.tobytes()


def imu(number: int, hop: int) -> AlignedWindow:
    """Windows of 4 packets that move on by 2; sessions have different numbers of them."""
    first = hop * 2
    packets = tuple(
        Packet(
            stream="imu", seq=seq, start_ns=seq * 40 * MS, end_ns=seq * 40 * MS, payload=Series(values=np.sin(np.arange(3) + seq * number))
        )
        for seq in range(first, first + 4 - number % 2)
    )
    slot = Slot(packets=packets, missing=None, age_ns=0, complete=True)
    return AlignedWindow(index=hop, start_ns=first * 40 * MS, end_ns=(first + 4) * 40 * MS, slots={"imu": slot})
