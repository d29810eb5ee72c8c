"""One fusion process for many sessions: opens seats, and one thread serves them all (`pipeline.runtime.rounds`)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import zmq

from operators.errors import ContractError
from pipeline.clock import Clock
from pipeline.runtime.fusion import FusionSeat
from pipeline.runtime.graphs import Graphs
from pipeline.runtime.keys import Doorman
from pipeline.runtime.parts import RunPlan, make_core
from pipeline.runtime.rounds import Rounds
from pipeline.runtime.wires import Wires
from pipeline.session.layout import Recording

PATIENCE_S = 5.0
"""What close() waits for a backend that does not return."""
IDLE_S = 0.02


@dataclass(slots=True, eq=False)
class _Place:
    """A seat, and how its run() hears of its end."""

    seat: FusionSeat
    engine: tuple[str, str]
    ended: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)
    begin: Mapping[str, Any] | None = None
    error: Exception | None = None


class FusionHost:
    """All methods may be called from any thread.

    stop: asked all the time; once True every run ends in order. A model's engine is loaded once, for all seats that have it and as long as
    there are any.
    """

    def __init__(self, clock: Clock, stop: Callable[[], bool]) -> None:
        self._clock, self._stop = clock, stop
        self._context: zmq.Context[Any] = zmq.Context()
        self._rounds = Rounds(clock)
        self._doorman: Doorman | None = None
        self._places: dict[str, _Place] = {}
        self._engines: dict[tuple[str, str], Graphs] = {}
        self._past: dict[str, Counter[int]] = {}  # batches of engines that are gone
        self._changed = threading.Condition()
        self._loading = threading.Lock()
        self._closed = self._ending = False
        self._thread = threading.Thread(target=self._serve, name="rounds", daemon=True)
        self._thread.start()

    def open(self, seat: str, plan: RunPlan, wires: Wires, generation: int) -> dict[str, Any]:
        """Loads and warms the model, if no other seat has it. cost_ns: of a window. Raises BackendError, ContractError."""
        with self._loading:
            with self._changed:
                if seat in self._places or self._closed:
                    raise ContractError(f"seat {seat} is taken" if seat in self._places else "the fusion process is closing")
            key = (plan.model.digest, plan.config.run.backend)
            graphs = self._engines.get(key) or Graphs(plan.model, plan.make_backend(), self._clock)
            core = make_core(plan, graphs)
            if wires.keys is not None:
                self._doorman = self._doorman or Doorman(self._context)
                self._doorman.admit(wires.keys)
            made = FusionSeat(seat, plan, wires, generation, self._clock, core, self._context)
            with self._changed:
                self._engines[key] = graphs
                self._places[seat] = _Place(made, key)
        about = {"backend": graphs.backend.name, "model": core.config.model, "edges": made.addresses()}
        return {**about, "cost_ns": graphs.costs_ns[plan.config.decide.attribution]}

    def run(self, seat: str, epoch_ns: int, decided: int, resumed: bool) -> None:
        """Until the seat ends; raises what it failed with."""
        place = self._place(seat)
        with self._changed:
            place.begin = {"epoch_ns": epoch_ns, "decided": decided, "resumed": resumed}
            self._changed.notify_all()
        place.ended.wait()
        self._leave(seat, place)
        if place.error is not None:
            raise place.error

    def lose(self, seat: str, names: Sequence[str]) -> None:
        """These inputs will not come back. Nothing, if there is no seat of that name (any more): so with the following."""
        if (place := self._places.get(seat)) is not None:
            place.seat.lose(names)

    def vacate(self, seat: str, names: Sequence[str]) -> None:
        """Nobody feeds these inputs now, and all others somebody does."""
        if (place := self._places.get(seat)) is not None:
            place.seat.vacate(names)

    def record(self, seat: str, recording: Recording | None) -> None:
        """Its events are recorded there from now on; None: no longer."""
        if (place := self._places.get(seat)) is not None:
            place.seat.record(recording)

    def end(self, seat: str) -> threading.Event:
        """In order: what it has said goes out. Gives what will be set when the seat is free."""
        with self._changed:
            place = self._places.get(seat)
            if place is None:
                gone = threading.Event()
                gone.set()
                return gone
            never_ran, place.begin = place.begin is None, {}
            place.ended.set()
            self._ending = True
        if never_ran:
            self._leave(seat, place)
        return place.left

    def close(self) -> None:
        """Ends all seats, and waits for their runs; not for ever, where a backend hangs."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(PATIENCE_S)
        for name in list(self._places):
            self.end(name).wait(PATIENCE_S)
        if self._doorman is not None:
            self._doorman.close()
        if not self._thread.is_alive() and not self._places:
            self._context.term()

    def counts(self) -> dict[str, Any]:
        """Plain values. batches: by stage and size (window: begun together; encode, fuse: rows of one call); rules: of every graph;

        seats: by name; busy: share of the time; usual_batch_ns: what a batch takes.
        """
        with self._changed:
            engines, places = dict(self._engines), dict(self._places)
            stages = {stage: Counter(dict(sizes)) for stage, sizes in self._past.items()}
            stages["window"] = Counter(dict(self._rounds.together))
        for graphs in engines.values():
            for stage, sizes in graphs.batches.items():
                stages.setdefault(stage, Counter()).update(dict(sizes))
        return {
            "rounds": self._rounds.counts["rounds"],
            "batches": {stage: {str(size): count for size, count in sorted(sizes.items())} for stage, sizes in stages.items()},
            "rules": {f"{digest[:12]} {backend}": dict(graphs.rules) for (digest, backend), graphs in engines.items()},
            "usual_batch_ns": self._rounds.usual_batch_ns(),
            "busy": round(self._rounds.busy, 4),
            "seats": {name: place.seat.counts() for name, place in places.items()},
        }

    def _place(self, seat: str) -> _Place:
        with self._changed:
            if seat not in self._places:
                raise ContractError(f"there is no seat {seat}")
            return self._places[seat]

    def _leave(self, seat: str, place: _Place) -> None:
        """On the thread of whoever waited for it: to close what was recorded may take its time."""
        if self._thread.is_alive():
            with self._changed:
                self._changed.wait_for(lambda: seat not in self._rounds.seats or not self._thread.is_alive(), PATIENCE_S)
        try:
            place.seat.close()
        finally:
            with self._changed:
                self._places.pop(seat, None)
                if all(other.engine != place.engine for other in self._places.values()):
                    gone = self._engines.pop(place.engine, None)
                    for stage, sizes in ({} if gone is None else gone.batches).items():
                        self._past.setdefault(stage, Counter()).update(sizes)
            place.left.set()

    # -- the thread

    def _serve(self) -> None:
        try:
            while not self._closed:
                self._seat_those_who_come()
                if self._rounds.seats:
                    self._rounds.round()
                else:
                    with self._changed:
                        self._changed.wait(IDLE_S)
                self._see_off()
        except Exception as error:  # noqa: BLE001 - the thread's edge: every run is told what ended it
            self._rounds.failed |= dict.fromkeys(self._rounds.seats, error)
        with self._changed:
            self._closed = True
        self._see_off()

    def _seat_those_who_come(self) -> None:
        with self._changed:
            coming = [place for name, place in self._places.items() if place.begin and name not in self._rounds.seats]
        for place in coming:
            if place.begin and not place.ended.is_set():
                try:
                    place.seat.begin(**place.begin)
                    self._rounds.add(place.seat)
                except Exception as error:  # noqa: BLE001 - the seat's edge: as above
                    self._rounds.failed[place.seat.name] = error

    def _see_off(self) -> None:
        if not (self._ending or self._rounds.failed or self._closed or self._stop()):
            return
        self._ending = False
        failed, self._rounds.failed = self._rounds.failed, {}
        with self._changed:
            for name, place in self._places.items():
                if name in failed:
                    place.error = failed[name]
                if name in failed or self._stop() or (self._closed and place.begin):
                    place.ended.set()
                if place.ended.is_set() and name in self._rounds.seats:
                    self._rounds.finish(name)
            self._changed.notify_all()
