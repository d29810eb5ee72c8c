"""How much the sessions use, and what the fusion processes count together."""

from __future__ import annotations

from fakeplan import MS, FakePlan, Script

from pipeline.clock import FakeClock
from pipeline.runtime.load import Load, together
from pipeline.runtime.stage import FUSION

S = 1000 * MS


def plan() -> FakePlan:
    return FakePlan({"cam": Script([]), "mic": Script([])}, speed=1)


class Machine:
    """Processes that use so many cores each."""

    def __init__(self, **cores: float) -> None:
        self.clock = FakeClock()
        self.cores = {int(name[1:]): used for name, used in cores.items()}
        self.load = Load(self.clock, 2.0, 0.9, read=lambda pid: self.cores[pid] * self.clock.now_ns() / 1e9 if pid in self.cores else None)
        self.pids: dict[tuple[str, str], int] = {}
        self.used: dict[str, int] = {}

    def run(self, session: str, pid: int, fusion: int, used_ns: int) -> None:
        self.load.begin(session, plan())
        self.load.learn(session, MS)
        self.pids |= {(session, "cam"): pid, (session, "mic"): pid, (session, FUSION): fusion}
        self.used[session] = used_ns

    def look(self) -> None:
        for _ in range(3):
            self.load.measure(self.pids, self.used)
            self.clock.sleep_until(self.clock.now_ns() + S)


def test_a_shared_process_counts_once_and_each_session_for_its_part_of_it() -> None:
    machine = Machine(p1=0.5, p2=0.3, p9=0.4)
    machine.run("a", 1, 9, used_ns=3 * S)
    machine.run("b", 2, 9, used_ns=1 * S)
    machine.look()
    figures = machine.load.figures(machine.pids)
    assert figures["cores"] == {"in_use": 1.2, "all": 2.0, "share": 0.9}
    assert figures["cores_by_session"] == {"a": 1.3, "b": 0.7}  # both of its sources are in one process here


def test_who_is_alone_is_never_refused_and_who_would_be_too_much_is_with_the_figure() -> None:
    machine = Machine(p1=0.8, p9=0.1)
    assert machine.load.refusal("a", plan(), [], 0) is None
    machine.run("a", 1, 9, used_ns=S)
    machine.look()
    assert machine.load.refusal("b", plan(), ["a"], 0) == (
        "needs about 1.63 cores, 1.70 of 1.80 are in use; stop a session, or raise the share of the cores"
    )


def test_what_ended_is_remembered_for_what_its_sources_used() -> None:
    machine = Machine(p1=0.1, p2=0.1, p9=0.1)
    machine.run("a", 1, 9, used_ns=S)
    machine.look()
    machine.load.end("a")
    machine.run("b", 2, 9, used_ns=S)
    assert machine.load.refusal("c", plan(), ["b"], 0) is None


def test_a_session_that_nobody_waits_for_is_not_counted() -> None:
    machine = Machine()
    idle = FakePlan({"cam": Script([]), "mic": Script([])}, speed="max")
    machine.load.begin("slow", idle)
    assert machine.load.refusal("slow", idle, [], 0) is None
    assert machine.load.figures({})["cores_by_session"] == {}


def test_processes_together_count_as_one() -> None:
    one = {"batches": {"fuse": {"1": 3, "2": 1}}, "rounds": 5, "busy": 0.2, "seats": {"a": {"waiting": 1, "overload": 2}}}
    other = {"batches": {"fuse": {"1": 4}, "encode": {"8": 1}}, "rounds": 7, "busy": 0.6, "seats": {"b": {"waiting": 0, "overload": 1}}}
    counts = together([one, other, {}])
    assert counts["batches"] == {"fuse": {"1": 7, "2": 1}, "encode": {"8": 1}}
    assert (counts["processes"], counts["seats"], counts["rounds"], counts["busy"]) == (3, 2, 12, 0.6)
    assert (counts["waiting"], counts["overload"]) == (1, 3)
