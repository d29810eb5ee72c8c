"""The fusion process as its owner sees it: seats that are opened, run and ended from other threads, on the real clock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import zmq
from fakeplan import MS, ArithmeticBackend, FakePlan, Script, regular
from waiting import until

from operators.errors import BackendError, ContractError
from pipeline.clock import SystemClock
from pipeline.runtime import fusion_host
from pipeline.runtime.bus import EdgePolicy, EdgeSender, Inbox
from pipeline.runtime.fusion_host import FusionHost
from pipeline.runtime.wires import Wires

RUN = {"epoch_ns": 0, "decided": -1, "resumed": False}


class Session:
    """The rest of a session: its sources, which have said everything at once, and its engine."""

    def __init__(self, folder: Path, name: str, plan: FakePlan) -> None:
        (folder / name).mkdir()
        self.name, self.plan = name, plan
        self.wires = Wires(folder=str(folder / name), inputs=("cam", "mic"))
        self._context = zmq.Context()
        self._inbox = Inbox(self._context, self.wires.engine)
        self._edges = [
            EdgeSender(
                self._context,
                self.wires.edge(stream),
                EdgePolicy(policy="lossless", max_packets=10_000),
                SystemClock(),
                stream=n,
                generation=0,
            )
            for n, stream in enumerate(self.wires.inputs)
        ]
        for edge, stream in zip(self._edges, self.wires.inputs, strict=True):
            for _, event in regular(stream, 200):
                edge.put(event)
        self.decisions: list[dict[str, Any]] = []
        self.report: dict[str, Any] = {}

    def look(self) -> bool:
        """Takes what the seat said; True once it said that it has ended."""
        for edge in self._edges:
            edge.flush()
        for message in self._inbox.messages(1):
            if "decision" in message:
                self.decisions.append(message["decision"])
            elif "counts" in message:
                self.report = message
        return bool(self.report.get("ended"))

    def close(self) -> None:
        for part in (*self._edges, self._inbox):
            part.close()
        self._context.term()


class Desk:
    """A host with sessions, each run in a thread as Ray would."""

    def __init__(self, folder: Path) -> None:
        self.stop = threading.Event()
        self.host = FusionHost(SystemClock(), self.stop.is_set)
        self._folder, self._pool = folder, ThreadPoolExecutor(8)
        self._sessions: list[Session] = []

    def begin(self, name: str, plan: FakePlan) -> tuple[Session, Future[None]]:
        session = Session(self._folder, name, plan)
        self._sessions.append(session)
        self.host.open(name, plan, session.wires, 0)
        return session, self._pool.submit(self.host.run, name, **RUN)

    def close(self) -> None:
        self.host.close()
        self._pool.shutdown()
        for session in self._sessions:
            session.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


def plan(fail_when: Callable[[Any], bool] = lambda inputs: False) -> FakePlan:
    made = FakePlan({"cam": Script([]), "mic": Script([])})
    made.backend.fail_when = fail_when
    return made


def test_sessions_run_beside_each_other_and_share_one_engine(desk: Desk) -> None:
    (one, ran), (other, _) = desk.begin("one", plan()), desk.begin("other", plan())
    until(lambda: one.look() & other.look(), 20, "both have ended")
    assert one.decisions == other.decisions
    assert len(one.decisions) == 100
    counts = desk.host.counts()
    assert len(counts["rules"]) == 1
    assert sum(int(size) * count for size, count in counts["batches"]["fuse"].items()) == 200
    assert {name: seat["decisions"] for name, seat in counts["seats"].items()} == {"one": 100, "other": 100}
    desk.host.end("one")
    assert ran.result(10) is None
    assert set(desk.host.counts()["seats"]) == {"other"}


def test_a_session_may_come_and_end_while_another_runs(desk: Desk) -> None:
    stays, _ = desk.begin("stays", plan())
    until(lambda: len(stays.decisions) > 5 or stays.look(), 20, "it decides")
    comes, ran = desk.begin("comes", plan())
    until(lambda: comes.look() or comes.report, 20, "it runs")
    desk.host.end("comes")
    ran.result(10)
    again, _ = desk.begin("again", plan())
    until(lambda: stays.look() & again.look(), 20, "both have ended")
    assert len(stays.decisions) == len(again.decisions) == 100


def test_what_a_session_fails_with_is_raised_by_its_run_alone(desk: Desk) -> None:
    bad = plan(lambda inputs: bool(inputs["cam"].any()))
    bad.config = bad.config.model_copy(update={"run": bad.config.run.model_copy(update={"backend": "torch"})})
    good, _ = desk.begin("good", plan())
    said, ran = desk.begin("bad", bad)
    until(lambda: said.look() or ran.done(), 20, "it fails")
    with pytest.raises(BackendError, match="told to fail"):
        ran.result(20)
    until(good.look, 20, "it has ended")
    assert len(good.decisions) == 100


def test_a_seat_that_is_taken_is_refused_and_what_is_told_to_one_that_is_gone_is_for_nobody(desk: Desk) -> None:
    one, _ = desk.begin("one", plan())
    with pytest.raises(ContractError, match="seat one is taken"):
        desk.host.open("one", plan(), one.wires, 0)
    desk.host.lose("two", ["cam"])
    assert desk.host.end("two").is_set()


def test_a_seat_that_never_ran_can_be_ended_and_its_sockets_are_free_again(desk: Desk, tmp_path: Path) -> None:
    session = Session(tmp_path, "one", plan())
    for _ in range(2):
        desk.host.open("one", session.plan, session.wires, 0)
        desk.host.end("one")
    session.close()


def test_stop_ends_every_run_in_order(desk: Desk) -> None:
    begun = [desk.begin(name, plan()) for name in ("one", "two")]
    until(lambda: all(session.look() or session.report for session, _ in begun), 20, "both run")
    desk.stop.set()
    for _, ran in begun:
        assert ran.result(10) is None


class Hangs(ArithmeticBackend):
    """Once a packet is there, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.armed, self.hung, self.go = False, threading.Event(), threading.Event()

    def fuse(self, inputs: Any, presence: Any) -> Any:
        if self.armed:
            self.hung.set()
            self.go.wait(60)
        return super().fuse(inputs, presence)


def test_a_backend_that_hangs_is_seen_by_the_silence_and_does_not_hold_up_the_close(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fusion_host, "PATIENCE_S", 0.2)
    hangs = plan()
    hangs.backend = backend = Hangs()
    session, ran = desk.begin("one", hangs)
    backend.armed = True
    until(lambda: session.look() or backend.hung.is_set(), 20, "it hangs")
    session.look()
    session.report = {}
    until_ns = SystemClock().now_ns() + 500 * MS
    while SystemClock().now_ns() < until_ns:
        session.look()
    assert session.report == {}
    desk.host.close()
    assert ran.result(10) is None
    backend.go.set()
