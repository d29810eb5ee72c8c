"""The rounds of the fusion process: one thread, many seats.

A round: wait for messages or for the earliest seat  ->  ask those concerned, the most urgent first  ->  one batch  ->  look after them
    live sessions     a batch holds at most the oldest window of each, and nobody gets a second turn before all who wait had one
    full speed        only while no live window waits or will be cut off soon, and for SLICE_NS at most
What a seat raises ends that seat alone.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import zmq

from pipeline.clock import Clock
from pipeline.runtime.batcher import Ready, choose, infer, launch_ns
from pipeline.runtime.fusion import POLL_NS, SPARE_NS, FusionSeat

SLICE_NS = 5_000_000
"""So long, about, nobody who hurries waits for those who do not, nor for the reading of others' packets."""
MOST_SLICES = 64
SECOND_NS = 1_000_000_000
REMEMBERED_BATCHES = 256


class Rounds:
    """Not for more than one thread. failed: seat -> what it raised, for the caller to take away.

    together: how many windows were begun as one batch -> how often.
    """

    def __init__(self, clock: Clock) -> None:
        self.seats: dict[str, FusionSeat] = {}
        self.failed: dict[str, Exception] = {}
        self.counts: Counter[str] = Counter()
        self.together: Counter[int] = Counter()
        self.busy = 0.0
        self._batches_ns: deque[int] = deque(maxlen=REMEMBERED_BATCHES)
        self._clock, self._busy_at_ns = clock, clock.now_ns()
        self._wakes: dict[str, int] = {}
        self._sockets: dict[str, list[zmq.Socket[Any]]] = {}
        self._turn = 0
        self._had_turn: set[str] = set()
        self._served: Counter[str] = Counter()
        self._hurry = False
        self._launch_ns: int | None = None

    def add(self, seat: FusionSeat) -> None:
        self.seats[seat.name] = seat
        self._served[seat.name] = max(self._served.values(), default=0)
        self._plan(seat)

    def remove(self, name: str) -> None:
        for table in (self.seats, self._wakes, self._sockets, self._served):
            table.pop(name, None)

    def wake_ns(self) -> int:
        """When, on the clock, there will be something to do though no message came."""
        now_ns = self._clock.now_ns()
        if self._hurry:
            return now_ns
        return min([now_ns + POLL_NS, *self._wakes.values(), *([] if self._launch_ns is None else [self._launch_ns])])

    def finish(self, name: str) -> None:
        """Decides what the seat has waiting, so that its recording says no more than it did, and lets it go."""
        while name in self.seats and (batch := self._ready([self.seats[name]])):
            self._run(batch)
        if name in self.seats:
            self._guarded(self.seats[name], partial(self.seats[name].look_after, last=True))
        self.remove(name)

    def round(self, most_wait_ns: int = POLL_NS) -> bool:
        """False: there was nothing to do."""
        came = self._wait(most_wait_ns)
        begun_ns = self._clock.now_ns()
        asked = self._ask(came, begun_ns)
        worked = self._work()
        for seat in dict.fromkeys([*asked, *worked]):
            if seat.name in self.seats:
                self._guarded(seat, seat.look_after)
                self._plan(seat)
        self.counts["rounds"] += 1
        self._note_busy(begun_ns)
        return self._hurry or bool(asked or worked)

    # -- waiting

    def _wait(self, most_wait_ns: int) -> set[str]:
        """Until a message comes or a seat wants to be asked; gives the seats with messages."""
        now_ns = self._clock.now_ns()
        left_ns = max(0, min(most_wait_ns, self.wake_ns() - now_ns))
        owners = {socket: name for name, sockets in self._sockets.items() for socket in sockets}
        if left_ns and (left_ns < 1_000_000 or not owners):
            self._clock.sleep_until(now_ns + left_ns)  # a poll knows no less than a millisecond
            left_ns = 0
        if not owners:
            return set()
        ready = zmq.zmq_poll([(socket, zmq.POLLIN) for socket in owners], left_ns // 1_000_000)
        return {owners[socket] for socket, _ in ready}

    def _plan(self, seat: FusionSeat) -> None:
        """When to ask it again."""
        if seat.name in self.seats:
            self._sockets[seat.name] = self._guarded(seat, seat.sockets) or []
            self._wakes[seat.name] = self._guarded(seat, seat.wake_ns) or 0

    # -- asking

    def _ask(self, came: set[str], now_ns: int) -> list[FusionSeat]:
        asked = []
        for seat in self._in_turn(came, now_ns):
            asked.append(seat)
            self._guarded(seat, seat.advance)
            if self._clock.now_ns() - now_ns > SLICE_NS:
                break  # the others' messages wait at their edges; what is due is asked first in the next round
        return asked

    def _in_turn(self, came: set[str], now_ns: int) -> Iterator[FusionSeat]:
        """Those who are due, then those with messages, beginning with another one each time."""
        due = sorted((name for name, wake_ns in self._wakes.items() if wake_ns <= now_ns), key=lambda name: self._wakes[name])
        others = [name for name in self.seats if name in came and name not in set(due)]
        self._turn += 1
        start = self._turn % max(1, len(others))
        for name in [*due, *others[start:], *others[:start]]:
            if name in self.seats:
                yield self.seats[name]

    # -- working

    def _work(self) -> list[FusionSeat]:
        self._hurry, self._launch_ns = False, None
        ready = self._ready(seat for seat in self.seats.values() if seat.hurries)
        if not ready:
            return self._spare_time()
        now_ns = self._clock.now_ns()
        batch = choose(self._unserved(ready), now_ns)
        company = sum(seat.hurries and seat.core.graphs is batch[0].graphs for seat in self.seats.values())
        launch = launch_ns(batch, company, self.busy, now_ns, SPARE_NS)
        if launch > now_ns:
            self._launch_ns = launch
            return self._spare_time()
        self._hurry = True
        self._had_turn |= {one.seat for one in batch}
        return self._run(batch)

    def _unserved(self, ready: list[Ready]) -> list[Ready]:
        """Those who have not had a turn since everybody who wanted one had; where there are none, all begin anew."""
        left = [one for one in ready if one.seat not in self._had_turn]
        if not left:
            self._had_turn.clear()
        return left or ready

    def _spare_time(self) -> list[FusionSeat]:
        """For those who do not hurry, by turns."""
        seats = [seat for seat in self.seats.values() if not seat.hurries]
        begun_ns, worked = self._clock.now_ns(), list[FusionSeat]()
        for _ in range(MOST_SLICES if seats else 0):
            ready = self._ready(seat for seat in seats if seat.name in self.seats)
            if ready:
                begins_ns = self._clock.now_ns()
                until_ns = begins_ns + SLICE_NS  # at most: the one who was served least comes first
                batch = choose([replace(one, deadline_ns=until_ns + self._served[one.seat]) for one in ready], begins_ns)
                if not self._is_free_for(batch[0].graphs.expected_ns(len(batch))):
                    return worked
                worked += self._run(batch)
            elif not sum(bool(self._guarded(seat, seat.advance)) for seat in seats if seat.name in self.seats):
                return worked
            if self._clock.now_ns() - begun_ns > SLICE_NS:
                break
        self._hurry = bool(seats)
        return worked or seats

    def _is_free_for(self, cost_ns: int) -> bool:
        """No live window will be cut off, or must be begun, before so much work is done."""
        until_ns = self._clock.now_ns() + cost_ns
        ticks = (seat.tick_at_ns() for seat in self.seats.values() if seat.hurries)
        return all(at_ns is None or at_ns > until_ns for at_ns in (*ticks, self._launch_ns))

    def _ready(self, seats: Iterable[FusionSeat]) -> list[Ready]:
        found = [self._guarded(seat, seat.ready) for seat in [*seats] if seat.core.waiting]
        return [one for one in found if one is not None]

    def _run(self, batch: list[Ready]) -> list[FusionSeat]:
        """One batch; each window is decided as soon as it is inferred."""
        begun_ns = last_ns = self._clock.now_ns()
        worked = []
        for one, (_, outcome) in zip(batch, infer([one.work for one in batch]), strict=True):
            seat = self.seats.get(one.seat)
            if seat is None:
                continue
            self._served[seat.name] += 1
            now_ns = self._clock.now_ns()
            seat.used_ns += now_ns - last_ns
            self._guarded(seat, seat.decide, outcome)
            last_ns = self._clock.now_ns()
            worked.append(seat)
        self.together[len(batch)] += 1
        batch[0].graphs.took(len(batch), last_ns - begun_ns)
        self._batches_ns.append(last_ns - begun_ns)
        return worked

    def usual_batch_ns(self) -> int:
        """The median of the last ones: stalls of the machine are nobody's doing, and say nothing of what one more session would cost."""
        return round(median(self._batches_ns)) if self._batches_ns else 0

    def _guarded(self, seat: FusionSeat, call: Callable[..., Any], *given: Any) -> Any:  # noqa: ANN401 - whatever the call gives
        """None if it raised: then the seat is out."""
        begun_ns = self._clock.now_ns()
        try:
            return call(*given)
        except Exception as error:  # noqa: BLE001 - the seat's edge: its session ends with this, the others go on
            self.failed[seat.name] = error
            self.remove(seat.name)
            return None
        finally:
            seat.used_ns += self._clock.now_ns() - begun_ns

    def _note_busy(self, begun_ns: int) -> None:
        """busy: the share of the last second, about, that rounds took."""
        now_ns = self._clock.now_ns()
        span_ns = max(1, now_ns - self._busy_at_ns)
        share = (now_ns - begun_ns) / span_ns
        self.busy += (share - self.busy) * min(1.0, span_ns / SECOND_NS)
        self._busy_at_ns = now_ns
