"""Seats of a fusion process in virtual time: scripted events over in-process ZeroMQ, rounds on a clock that only waiting moves."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

import zmq
from fakeplan import MS, ArithmeticBackend, FakePlan

from operators.packet import Dropped, StreamEvent
from pipeline.clock import FakeClock
from pipeline.runtime.bus import EdgePolicy, EdgeSender, Inbox
from pipeline.runtime.fusion import FusionSeat
from pipeline.runtime.graphs import Graphs
from pipeline.runtime.parts import make_core
from pipeline.runtime.rounds import Rounds
from pipeline.runtime.wires import Wires
from pipeline.session.layout import Recording

Script = Sequence[tuple[int, StreamEvent]]


class InprocWires(Wires):
    """Without files, so that what was sent is there at once."""

    def edge(self, name: str) -> str:
        return f"inproc://{self.folder}/{name}"

    @property
    def engine(self) -> str:
        return f"inproc://{self.folder}/engine"


class Feeder:
    """Sends a seat's events when they are due."""

    def __init__(self, world: World, wires: Wires, script: Script, policy: EdgePolicy) -> None:
        self._clock = world.clock
        self.edges = {
            name: EdgeSender(world.context, wires.edge(name), policy, world.clock, stream=number, generation=0)
            for number, name in enumerate(wires.inputs)
        }
        self.left = deque(sorted(script, key=lambda item: item[0]))

    def feed(self) -> None:
        for edge in self.edges.values():
            edge.flush()
        while self.left and self.left[0][0] <= self._clock.now_ns():
            event = self.left[0][1]
            if isinstance(event, Dropped) or self.edges[event.stream].full:
                break
            self.left.popleft()
            self.edges[event.stream].put(event)

    def due_ns(self) -> int | None:
        return self.left[0][0] if self.left else None


class World:
    """Rounds with some seats; decisions[name], reports[name] and lines[name] are what each told the engine."""

    def __init__(self) -> None:
        self.clock, self.context = FakeClock(), zmq.Context()
        self.rounds = Rounds(self.clock)
        self.decisions: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.reports: dict[str, dict[str, Any]] = {}
        self.lines: dict[str, list[str]] = defaultdict(list)
        self._graphs: dict[int, Graphs] = {}
        self._feeders: dict[str, Feeder] = {}
        self._inboxes: dict[str, Inbox] = {}
        self._seats: list[FusionSeat] = []

    def add(
        self,
        name: str,
        plan: FakePlan,
        script: Script = (),
        policy: EdgePolicy | None = None,
        *,
        recording: Recording | None = None,
        **begin: Any,
    ) -> FusionSeat:
        """Session time begins now, unless told otherwise; the script's times are of the session."""
        wires = InprocWires(folder=name, inputs=("cam", "mic"), recording=recording)
        self._inboxes[name] = Inbox(self.context, wires.engine)
        graphs = self._graphs.setdefault(id(plan.backend), Graphs(plan.model, plan.backend, self.clock))
        seat = FusionSeat(name, plan, wires, 0, self.clock, make_core(plan, graphs), self.context)
        epoch_ns = self.clock.now_ns()
        seat.begin(**{"epoch_ns": epoch_ns, "decided": -1, "resumed": False, **begin})
        moved = [(due_ns + epoch_ns, event) for due_ns, event in script]
        self._feeders[name] = Feeder(self, wires, moved, policy or EdgePolicy(policy="lossless"))
        self._seats.append(seat)
        self.rounds.add(seat)
        return seat

    def run(self, until_ns: int) -> None:
        """Until then, on the clock, or a little longer where a round took it."""
        while self.clock.now_ns() < until_ns:
            self.step()
            if not self.more:
                dues = [due for feeder in self._feeders.values() if (due := feeder.due_ns()) is not None]
                self.clock.sleep_until(min([until_ns, self.rounds.wake_ns(), *dues]))
        self.step()

    def step(self) -> None:
        """One round."""
        for feeder in self._feeders.values():
            feeder.feed()
        self.more = self.rounds.round(0)
        for name, inbox in self._inboxes.items():
            for message in inbox.messages(0):
                self._take(name, message)

    def _take(self, name: str, message: dict[str, Any]) -> None:
        if "decision" in message:
            self.decisions[name].append(message["decision"])
        elif "event" in message:
            self.lines[name].append(message["event"])
        else:
            self.reports[name] = message

    def leave(self, name: str) -> None:
        """Ends the seat in order, and finishes what it recorded."""
        seat = self.rounds.seats[name]
        self.rounds.finish(name)
        self._seats.remove(seat)
        self.step()
        seat.close()

    def close(self) -> None:
        for seat in self._seats:
            seat.close()
        for feeder in self._feeders.values():
            for edge in feeder.edges.values():
                edge.close()
        for inbox in self._inboxes.values():
            inbox.close()
        self.context.term()


class Costly(ArithmeticBackend):
    """A fused window takes cost_ms of the clock."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.cost_ms, self._clock = 0.0, clock

    def fuse(self, inputs: Any, presence: Any) -> Any:
        rows = len(presence["cam"])
        self._clock.sleep_until(self._clock.now_ns() + round(rows * self.cost_ms * MS))
        return super().fuse(inputs, presence)


def told(decisions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """All of them but what was measured."""
    return [{key: value for key, value in decision.items() if key != "latency_ns"} for decision in decisions]
