"""Carries decisions out in order, from a thread of its own: whoever decides never waits for a network.

    taken = sent + dropped (by reason) + waiting, always

A carrier gets batches from the head of the queue and raises Undelivered until they are acknowledged; what is acknowledged leaves the
queue, and the spool where there is one. When the queue is full its oldest go, counted.
"""

from __future__ import annotations

import json
import logging
import random
import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol

from operators.decision import Decision
from operators.errors import ContractError
from pipeline.backoff import SECOND, Backoff
from pipeline.clock import Clock, SystemClock
from pipeline.outgoing.spool import Spool
from pipeline.ports import Status
from pipeline.session.scribe import ThreadScribe
from pipeline.sinks.jsonl import line_of

IDLE_S = 0.25
"""A carrier that has nothing to send is called so often, to keep its connection alive."""
CANCEL_S = 1.0
RETRIES = Backoff(first_ns=SECOND // 5, factor=2.0, most_ns=30 * SECOND, jitter=0.3)

log = logging.getLogger("sensorium.sinks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A decision to be carried out. body: its JSON, as a line of a JSONL file has it. number: grows by 1 in its queue."""

    number: int
    id: str
    session: str
    label: str
    body: bytes


class Undelivered(Exception):
    """A batch is not acknowledged, and will be tried again. why: for a person, without secrets and without what a stranger said."""

    def __init__(self, why: str, *, after_ns: int = 0) -> None:
        super().__init__(why)
        self.after_ns = after_ns


class Carrier(Protocol):
    """One thread calls all but cancel(). No call lasts for ever."""

    most: int
    """So many decisions in a batch."""

    def carry(self, items: Sequence[Item]) -> Mapping[str, int]:
        """Returns when they are acknowledged: how many the other side will never take, by reason. Raises Undelivered."""
        ...

    def tell(self, status: Status) -> None:
        """The newest status. Raises Undelivered."""
        ...

    def idle(self) -> None:
        """Nothing is to be sent. Raises Undelivered where the connection is gone."""
        ...

    def cancel(self) -> None:
        """From another thread: whatever runs ends soon."""
        ...

    def close(self) -> None: ...


class Courier:
    """name: for log lines. most: so many decisions wait. spool: a folder for what is not acknowledged; None: memory only."""

    def __init__(
        self,
        name: str,
        carrier: Carrier,
        *,
        most: int,
        spool: Path | None,
        close_s: float,
        backoff: Backoff = RETRIES,
        clock: Clock | None = None,
    ) -> None:
        if most < 1 or not 0 <= close_s <= 600:
            raise ContractError(f"queue of 1 or more and close_s of 0 to 600 wanted, got {most}, {close_s}")
        self._name, self._carrier, self._most, self._close_s = name, carrier, most, close_s
        self._backoff, self._clock, self._rng = backoff, clock or SystemClock(), random.Random()  # noqa: S311 - no secret
        self._waiting: deque[Item] = deque()
        self._number, self._taken, self._sent, self._retried, self._failures = -1, 0, 0, 0, 0
        self._dropped: Counter[str] = Counter()
        self._told: Status | None = None
        self._changed, self._ended, self._deadline_ns = threading.Condition(), False, 0
        self._spool = None if spool is None else _Spooling(name, spool)
        for line in [] if self._spool is None else self._spool.left:
            self._again(line)
        self._thread = threading.Thread(target=self._run, name=f"courier {name}", daemon=True)
        self._thread.start()

    # -- for whoever decides

    def decision(self, decision: Decision) -> None:
        body = line_of(decision).encode()
        with self._changed:
            if self._ended:
                return
            item = self._take(decision.id, decision.session, decision.label, body)
            if self._spool is not None:
                self._spool.append(item)
            self._make_room()
            self._changed.notify_all()

    def status(self, status: Status) -> None:
        with self._changed:
            self._told = status
            self._changed.notify_all()

    def counts(self) -> Mapping[str, int | Mapping[str, int]]:
        with self._changed:
            return {
                "taken": self._taken,
                "sent": self._sent,
                "retried": self._retried,
                "waiting": len(self._waiting),
                "dropped": dict(self._dropped),
            }

    def close(self) -> None:
        """Sends what waits for as long as close_s, and says what is left. With a spool that is sent by the next run."""
        with self._changed:
            self._ended, self._deadline_ns = True, self._clock.now_ns() + round(self._close_s * SECOND)
            self._changed.notify_all()
        self._thread.join(self._close_s)
        if self._thread.is_alive():
            self._carrier.cancel()
            self._thread.join(CANCEL_S)
        with self._changed:
            left = len(self._waiting)
            if left and self._spool is None:
                self._dropped["unsent at the end"] += left
                self._waiting.clear()
        if self._spool is not None:
            self._spool.close()
        self._tell_end(left)

    def _tell_end(self, left: int) -> None:
        facts = {name: value for name, value in self.counts().items() if isinstance(value, int)} | dict(self._dropped)
        kept = "" if self._spool is None else ", kept for the next run"
        if left or self._dropped:
            log.warning("%s: %d decisions sent, %d not%s", self._name, self._sent, left, kept if left else "", extra={"facts": facts})
        else:
            log.info("%s: %d decisions sent", self._name, self._sent, extra={"facts": facts})

    # -- under the lock

    def _take(self, identity: str, session: str, label: str, body: bytes) -> Item:
        self._number, self._taken = self._number + 1, self._taken + 1
        item = Item(number=self._number, id=identity, session=session, label=label, body=body)
        self._waiting.append(item)
        return item

    def _again(self, line: bytes) -> None:
        """A line of the spool. One that is no decision is counted; it is not worth a stop."""
        try:
            values = json.loads(line)
            identity, session, label = (values[name] for name in ("id", "session", "label"))
        except (ValueError, KeyError, TypeError):
            identity = session = label = None
        if isinstance(identity, str) and isinstance(session, str) and isinstance(label, str):
            self._take(identity, session, label, line)
        else:
            self._number, self._taken = self._number + 1, self._taken + 1
            self._dropped["damaged in the spool"] += 1
        self._make_room()

    def _make_room(self) -> None:
        if len(self._waiting) <= self._most:
            return
        if not self._dropped["overflow"]:
            log.warning("%s: %d decisions wait, which is all there is room for; the oldest are dropped", self._name, self._most)
        self._dropped["overflow"] += len(self._waiting) - self._most
        while len(self._waiting) > self._most:
            oldest = self._waiting.popleft()
        self._forget(oldest.number)

    def _forget(self, number: int) -> None:
        if self._spool is not None:
            self._spool.done(number)

    # -- the thread

    def _run(self) -> None:
        with self._changed:
            batch, told = self._next()
        while batch or told is not None or not self._ended:
            try:
                self._turn(batch, told)
                paused = True
            except Undelivered as error:
                self._retried += bool(batch)
                paused = self._pause(str(error), error.after_ns)
            except Exception as error:  # noqa: BLE001 - a mistake in a client library must not end the deliveries
                paused = self._pause(f"it failed ({type(error).__name__})", 0)
            if not paused:
                break
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._told is not None or self._ended, IDLE_S)
                batch, told = self._next()
        self._carrier.close()

    def _next(self) -> tuple[list[Item], Status | None]:
        return list(islice(self._waiting, self._carrier.most)), self._told

    def _turn(self, batch: Sequence[Item], told: Status | None) -> None:
        if told is not None:
            self._carrier.tell(told)
            with self._changed:
                if self._told is told:
                    self._told = None
        if batch:
            refused = self._carrier.carry(batch)
            self._finish(batch, refused)
        elif told is None:
            self._carrier.idle()
        if self._failures:
            log.warning("%s: it is reached again", self._name, extra={"facts": {"tries": self._failures}})
        self._failures = 0

    def _finish(self, batch: Sequence[Item], refused: Mapping[str, int]) -> None:
        lost = sum(refused.values())
        if lost and not self._dropped.keys() >= refused.keys():
            log.warning("%s: it does not want them (%s)", self._name, ", ".join(refused), extra={"facts": dict(refused)})
        with self._changed:
            last, gone = batch[-1].number, 0
            while self._waiting and self._waiting[0].number <= last:
                self._waiting.popleft()
                gone += 1
            for reason, number in refused.items():  # what was dropped meanwhile is counted as that, and only once
                self._dropped[reason] += min(number, gone)
                gone -= min(number, gone)
            self._sent += gone
            self._forget(last)

    def _pause(self, why: str, after_ns: int) -> bool:
        """False: no further try."""
        self._failures += 1
        if self._failures == 1:
            log.warning("%s: %s; it is tried again", self._name, why, extra={"facts": {"waiting": len(self._waiting)}})
        pause_ns = max(self._backoff.pause_ns(self._failures, self._rng), after_ns)
        with self._changed:
            if not self._ended:
                self._changed.wait_for(lambda: self._ended, pause_ns / 1e9)
                return True  # at the end there is one more try, at once
            left_ns = self._deadline_ns - self._clock.now_ns()
            if self._spool is not None or left_ns <= 0 or after_ns > left_ns:
                return False
        self._clock.sleep_until(self._clock.now_ns() + min(pause_ns, left_ns))
        return True


class _Spooling:
    """The spool behind a thread: the disk is waited for by nobody. A disk that fails ends the keeping, with one line."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name, self._spool, self._failed = name, Spool(folder), False
        self.left = self._spool.left
        self._scribe = ThreadScribe(patient=False)
        self._scribe.each_pause(partial(self._try, self._spool.flush))

    def append(self, item: Item) -> None:
        self._scribe.put(partial(self._spool.append, item.number, item.body), len(item.body))

    def done(self, number: int) -> None:
        self._scribe.put(partial(self._spool.done, number))

    def close(self) -> None:
        self._scribe.close()
        self._try(self._spool.close)

    def _try(self, step: object) -> None:
        if self._failed or not callable(step):
            return
        try:
            step()
        except OSError as error:
            self._failed = True
            log.error("%s: nothing more is kept on disk (%s); what is unsent at the end is lost", self._name, error.strerror or error)
