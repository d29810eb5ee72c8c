"""A session's seat at the fusion process: what comes over its edges goes into its core, what the core says goes to the engine.

A seat never waits: `pipeline.runtime.rounds` asks many of them in turn. It says when it wants to be asked again (`wake_ns`) and which of
its windows is to be inferred next (`ready`).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any

import zmq

from operators.decision import Decision
from operators.packet import Closed, CoreEvent, Dropped, Tick, Watermark
from operators.window import Late, Skipped
from pipeline.clock import Clock
from pipeline.runtime.batcher import Ready
from pipeline.runtime.bus import EdgeReceiver, Outbox
from pipeline.runtime.core import DECISIONS, FusionCore, unused
from pipeline.runtime.inference import Inferred
from pipeline.runtime.pace import Pace
from pipeline.runtime.parts import RunPlan, fed_inputs, kinds_of, session_of, speed_of, takes_changes
from pipeline.runtime.readahead import ReadAhead
from pipeline.runtime.tally import Tallies
from pipeline.runtime.view import View
from pipeline.runtime.viewfeed import Feed
from pipeline.runtime.wires import Wires
from pipeline.session.layout import Recording
from pipeline.session.replay import Replayed, Resume, replayed

MS = 1_000_000
REPORT_NS = 200 * MS
POLL_NS = 20 * MS
SOON_NS = 2 * MS
"""When to ask again whether a disk has caught up."""
SPARE_NS = 3 * MS
"""What a decision takes from the core to the one who reads it."""
AHEAD_NS = 5_000 * MS
"""At full speed no input is read further ahead of the slowest than this: what waits, waits at its source."""
STUCK_NS = 1_000 * MS
"""... unless the slow ones say nothing for so long of real time: a source that makes no promises must not stop the others."""
MOST_MESSAGES = 64
"""Of an edge are taken at once."""
MOST_LETTERS = 20
"""A session that nobody waits for, waits for its reader when so many decisions do."""


class FusionSeat:
    """One start of the core of one session. begin; then advance, ready and decide, look_after as often as one likes; close.

    Only `lose`, `vacate` and `record` may be called from another thread. Whatever a call raises has ended this session.
    """

    def __init__(
        self, name: str, plan: RunPlan, wires: Wires, generation: int, clock: Clock, core: FusionCore, context: zmq.Context[Any]
    ) -> None:
        self.name, self.core = name, core
        self.used_ns = 0  # of this process's time, as its rounds count it
        self._plan, self._generation, self._clock = plan, generation, clock
        self._speed = speed_of(plan)
        self._tallies = Tallies(kinds_of(plan))
        self._lost: SimpleQueue[str] = SimpleQueue()
        self._vacancies: SimpleQueue[list[str]] = SimpleQueue()
        # Where streams may come and go, an input that nobody feeds is not closed, but vacant: we promise that it has nothing.
        self._vacant = sorted(kinds_of(plan).keys() - fed_inputs(plan).keys()) if takes_changes(plan) else []
        self._promise_due_ns = 0
        self._wires, self._recordings = wires, SimpleQueue[Recording | None]()
        self._outbox = Outbox(context, wires.engine, keys=wires.keys)
        self._view = View(Feed(context, wires.view, session_of(plan)), clock)
        self._edges = {
            name: EdgeReceiver(context, wires.edge(name), wires.inputs, replays=self._speed is None, keys=wires.keys)
            for name in (kinds_of(plan) if takes_changes(plan) else fed_inputs(plan))
        }
        self._recorder = wires.recorder(generation, clock, paced=self._speed is not None)
        self._log = None if self._recorder is None else self._recorder.core()
        self._replay: ReadAhead[tuple[int, Replayed]] | None = None
        self._pace: Pace | None = None
        self._at_ns = 0  # of the newest event of a replay
        self._over = False
        self._report_due_ns = self._heard_ns = clock.now_ns()

    def addresses(self) -> dict[str, str]:
        """Input -> where its source is to send."""
        return {name: edge.address for name, edge in self._edges.items()}

    # -- the life of a seat

    def begin(self, epoch_ns: int, decided: int, resumed: bool) -> None:
        """resumed: the session ran before; decided: the last window that was decided then, -1: none."""
        if self._plan.replay is not None:  # from its beginning, whoever ran it before: the engine knows what it had
            self._replay = ReadAhead(replayed(self._plan.replay))
            return
        if self._speed is not None:  # else all is read again from the start: the engine knows what it had
            self._start(Pace(clock=self._clock, epoch_ns=epoch_ns, speed=self._speed), decided, resumed)
        for close in unused(self._plan.align, self._edges):
            self._feed(close)

    def lose(self, names: Sequence[str]) -> None:
        """These streams will not come back."""
        for name in names:
            self._lost.put(name)

    def vacate(self, names: Sequence[str]) -> None:
        """Nobody feeds these inputs now, and all others somebody does."""
        self._vacancies.put(list(names))

    def record(self, recording: Recording | None) -> None:
        """The core's events are recorded there from now on; None: no longer."""
        self._recordings.put(recording)

    def _heed_recordings(self) -> None:
        while not self._recordings.empty():
            before = self._recorder
            self._wires = replace(self._wires, recording=self._recordings.get())
            self._recorder = self._wires.recorder(self._generation, self._clock, paced=self._speed is not None)
            self._log = None if self._recorder is None else self._recorder.core()
            if before is not None:
                threading.Thread(target=before.close).start()  # the disk may take its time; decisions may not

    def close(self) -> None:
        """Waits for the disk, where it is recorded."""
        for edge in self._edges.values():
            edge.close()
        self._view.close()
        self._outbox.close()
        if self._replay is not None:
            self._replay.close()
        if self._recorder is not None:
            self._recorder.close()

    def _start(self, pace: Pace, decided: int, resumed: bool) -> None:
        self._pace = pace
        first = max(decided + 1, self.core.first_open_window(pace.now_ns()) if resumed else 0)
        self.core.start(pace, first_window=first, spare_ns=SPARE_NS)
        if first > decided + 1:
            self._skipped(decided + 1, first)

    def _skipped(self, index: int, until: int) -> None:
        align = self._plan.align
        start_ns, end_ns = align.window_start_ns(index), align.window_start_ns(until)
        self.core.counts["skipped"] += until - index
        self._gave(Skipped(index=index, count=until - index, start_ns=start_ns, end_ns=end_ns))

    # -- when, for who asks many seats in turn

    @property
    def hurries(self) -> bool:
        """Session time runs: what is done late is late. The others get what is left.

        Of a replay it begins to run where decisions are wanted: the way there is made as fast as there is time for it.
        """
        return self._speed is not None and (self._replay is None or self._pace is not None)

    def sockets(self) -> list[zmq.Socket[Any]]:
        """Those whose messages it would take now."""
        return [] if self._replay is not None or self._held() else [edge.socket for edge in self._readable()]

    def tick_at_ns(self) -> int | None:
        """When, on the clock, the next window is cut off."""
        tick_ns = None if self._pace is None or self._replay is not None else self.core.next_tick_ns()
        return None if tick_ns is None or self._pace is None else self._pace.clock_ns(tick_ns)

    def wake_ns(self) -> int:
        """When, on the clock, there will be something to do though no message came."""
        now_ns = self._clock.now_ns()
        wakes = [self._report_due_ns, now_ns + POLL_NS]
        if (tick_ns := self.tick_at_ns()) is not None:
            wakes.append(tick_ns)
        if self._vacant and self._pace is not None:
            wakes.append(self._pace.clock_ns(self._promise_due_ns))
        if self._recorder is not None and not self._recorder.has_room:
            wakes.append(now_ns + SOON_NS)
        if self._replay is not None and not self._held() and not self._exhausted():
            wakes.append(self._replay_due_ns(self._replay, now_ns))
        return min(wakes)

    def _replay_due_ns(self, replay: ReadAhead[tuple[int, Replayed]], now_ns: int) -> int:
        following = replay.peek()
        if following is None:
            return now_ns + SOON_NS
        return now_ns if self._pace is None else self._pace.clock_ns(following[0])

    def ready(self) -> Ready | None:
        """Its oldest window that waits and is not too late. deadline_ns: for a session that hurries, on the clock; else 0."""
        self._shed()
        if not self.core.waiting:
            return None
        oldest = self.core.waiting[0]
        due_ns = oldest.due_ns if self._replay is None else self._at_ns + self.core.config.align.hop_ns
        deadline_ns = 0 if self._pace is None else self._pace.clock_ns(due_ns)
        return Ready(seat=self.name, deadline_ns=deadline_ns, work=oldest.work, budget_ns=self.core.budget_ns)

    def decide(self, outcome: Inferred | Exception) -> None:
        """What `ready` gave was inferred."""
        self._gave(self.core.decide(self.core.waiting.popleft(), outcome))

    # -- in

    def advance(self) -> bool:
        """Takes what has come and what is due, some of it at most. False: there was nothing."""
        heard = self._again(self._replay) if self._replay is not None else self._hear()
        if self._replay is None:
            self._lose_streams()
            self._promise_for_vacant()
            self._tick()
            self._shed()
        return heard

    def _held(self) -> bool:
        """Where nobody waits for it, or a late window is made all the same, nothing is read while there is something to do."""
        if self.core.sheds:
            return False
        full = self._recorder is not None and not self._recorder.has_room
        return bool(self.core.waiting) or full or self._outbox.waiting > MOST_LETTERS

    def _hear(self) -> bool:
        heard = False
        for edge in self._readable():
            for item in edge.receive(MOST_MESSAGES):
                heard = True
                if not isinstance(item, Dropped):  # else counted by the edge
                    self._feed(item.event, self._clock.now_ns() - item.sent_ns)
                if self._held():
                    break
            if self._held():
                break
        if heard:
            self._heard_ns = self._clock.now_ns()
        return heard

    def _readable(self) -> list[EdgeReceiver]:
        """All edges; at full speed those that are not far ahead of the slowest."""
        if self._held():
            return []
        if self._pace is not None or self._clock.now_ns() - self._heard_ns > STUCK_NS:
            return list(self._edges.values())
        tallies = self._tallies.streams
        open_names = [name for name in self._edges if not tallies[name].closed]
        slowest_ns = min((tallies[name].promised_ns for name in open_names), default=0)
        return [self._edges[name] for name in open_names if tallies[name].promised_ns <= slowest_ns + AHEAD_NS]

    def _again(self, replay: ReadAhead[tuple[int, Replayed]]) -> bool:
        """What is due of a recorded session."""
        count = 0
        while count < MOST_MESSAGES and not self._held() and not self._over and (following := replay.peek()) is not None:
            at_ns, event = following
            if self._pace is None and self._speed is not None and self._plan.replay is not None and at_ns >= self._plan.replay.start_ns:
                epoch_ns = self._clock.now_ns() - round(at_ns / self._speed)
                self._pace = Pace(clock=self._clock, epoch_ns=epoch_ns, speed=self._speed)
            if self._pace is not None and self._pace.clock_ns(at_ns) > self._clock.now_ns():
                break
            replay.take()
            self._at_ns, count = at_ns, count + 1
            if isinstance(event, Resume):
                self.core.restore(event.state)
            else:
                self._feed(event)
        return count > 0

    def _exhausted(self) -> bool:
        return self._replay is not None and (self._over or self._replay.ended) and not self.core.waiting

    def _feed(self, event: CoreEvent | Dropped, transport_ns: int = 0) -> None:
        if isinstance(event, Closed) and event.stream in self.core.closed:
            return  # said again for a core that does not know it yet
        if not isinstance(event, Dropped) or event.stream != DECISIONS:
            self._tallies.take(event)
            if isinstance(event, Dropped):
                return
        self._record(event)
        for out in self.core.take(event, transport_ns):
            self._gave(out)

    def _record(self, event: CoreEvent | Dropped) -> None:
        if self._log is not None:
            self._log.event(event, self._session_ns(), self.core.snapshot)

    def _lose_streams(self) -> None:
        try:
            while True:
                name = self._lost.get_nowait()
                promised_ns = self._tallies.streams[name].promised_ns
                now_ns = promised_ns if self._pace is None else max(promised_ns, self._pace.now_ns())
                self._feed(Watermark(stream=name, time_ns=now_ns))
                self._feed(Closed(stream=name, time_ns=now_ns))
        except Empty:
            return

    def _promise_for_vacant(self) -> None:
        while not self._vacancies.empty():
            self._vacant = self._vacancies.get()
        now_ns = self._session_ns()
        if not self._vacant or now_ns < self._promise_due_ns:
            return
        self._promise_due_ns = now_ns + POLL_NS
        fed = self._edges.keys() - set(self._vacant)
        ended = bool(fed) and fed <= self.core.closed
        for name in self._vacant:
            if name not in self.core.closed:
                promise_ns = max(now_ns, self._tallies.streams[name].promised_ns)
                self._feed(Closed(stream=name, time_ns=promise_ns) if ended else Watermark(stream=name, time_ns=promise_ns))

    def _tick(self) -> None:
        while (tick_ns := self.tick_at_ns()) is not None and self._pace is not None and self._clock.now_ns() >= tick_ns:
            deadline_ns = self.core.next_deadline_ns() or 0
            self._feed(Tick(now_ns=max(deadline_ns, self._pace.now_ns())))

    def _shed(self) -> None:
        """Written down where it happened, so that a replay sheds the same."""
        while (overdue := self.core.overdue()) is not None:
            self._record(overdue.dropped())
            self._gave(self.core.shed())

    # -- out

    def _gave(self, out: Any) -> None:  # noqa: ANN401 - whatever a core says
        self._tallies.gave(out)
        if isinstance(out, Late):
            self._view.late(out)
        if isinstance(out, Decision):
            if (replay := self._plan.replay) is not None:
                if not self._over and replay.is_over(out):
                    self._over = True
                    self.core.waiting.clear()
                if not replay.wants(out):
                    return
            self._outbox.letter({"from": "fusion", "generation": self._generation, "decision": out.to_json()})

    def look_after(self, *, last: bool = False) -> None:
        """Sends what is to be sent, and a report and what there is to tell when it is time, or for the last time."""
        self._heed_recordings()
        now_ns = self._clock.now_ns()
        if last or now_ns >= self._report_due_ns:
            self._tell()
        waiting = self._outbox.flush()
        self._view.look_after(now_ns)
        ended = (self.core.ended if self._plan.replay is None else self._exhausted()) and not waiting
        if now_ns >= self._report_due_ns:
            self._report_due_ns = now_ns + (POLL_NS if ended else REPORT_NS)
            self._report(ended)
        elif ended:
            self._report_due_ns = min(self._report_due_ns, now_ns + POLL_NS)

    def _tell(self) -> None:
        for line in [*self._tallies.take_events(), *([] if self._recorder is None else self._recorder.take_lines())]:
            self._outbox.letter({"from": "fusion", "generation": self._generation, "event": line})

    def counts(self) -> dict[str, Any]:
        """Of this seat, as plain values: windows that wait, letters that do, windows dropped because their turn came too late."""
        counts = self.core.counts
        return {
            "waiting": len(self.core.waiting),
            "letters": self._outbox.waiting,
            "buffered_bytes": self.core.buffered_bytes(),
            "decisions": counts["decisions"],
            "overload": counts["overload"],
            "used_ns": self.used_ns,
        }

    def _report(self, ended: bool) -> None:
        now_ns = self._session_ns()
        edges = {name: _plain(edge.counts) for name, edge in self._edges.items()}
        self._outbox.report(
            {
                "from": "fusion",
                "generation": self._generation,
                "now_ns": now_ns,
                "counts": dict(self.core.counts),
                "streams": [_plain(status) for status in self._tallies.statuses(now_ns, paced=self._pace is not None)],
                "edges": edges,
                "lost_letters": dict(self._outbox.dropped),
                "ended": ended,
                "unrecorded": None if self._recorder is None else self._recorder.stopped,
            }
        )

    def _session_ns(self) -> int:
        if self._pace is not None:
            return self._pace.now_ns()
        return max((tally.promised_ns for tally in self._tallies.streams.values()), default=0)


def _plain(record: Any) -> dict[str, Any]:  # noqa: ANN401 - a dataclass of plain values with slots
    return {name: getattr(record, name) for name in record.__slots__}
