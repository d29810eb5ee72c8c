"""What takes long is done beside the loop that passes decisions on: sessions are opened, configs read, recordings deleted there."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pipeline.daemon.opening import told

CONFLICT, BUSY = 409, 503
THREADS = 4
ENDS = "the daemon ends"

Reply = Callable[..., None]
"""reply(done="a line", values={...}) or reply(refused="a line", status=409)."""


@dataclass(slots=True)
class _Work:
    about: str
    future: Future[Any]
    then: Callable[[Any], None]
    late: Callable[[Any], None]
    reply: Reply
    must: bool


class Asides:
    """put, and `turn` again and again in the thread of that loop. Whoever waits is answered once, also where work fails."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS)
        self._works: list[_Work] = []

    def put(
        self,
        work: Callable[[], Any],
        then: Callable[[Any], None],
        reply: Reply,
        late: Callable[[Any], None] = lambda result: None,
        about: str = "",
        must: bool = False,
    ) -> None:
        """then: is given what work gave, in a turn, and sees to the answer. late: the same, where everything ends before that.

        must: it is also done where everything ends before it has begun.
        """
        self._works.append(_Work(about, self._pool.submit(work), then, late, reply, must))

    def under_way(self) -> set[str]:
        """What it is about, of all that has not had its turn."""
        return {work.about for work in self._works}

    def turn(self) -> None:
        done, self._works = [work for work in self._works if work.future.done()], [work for work in self._works if not work.future.done()]
        for work in done:
            try:
                work.then(work.future.result())
            except Exception as error:  # noqa: BLE001 - the daemon's edge: one request must not end the sessions of others
                work.reply(refused=told(error), status=CONFLICT)

    def close(self) -> None:
        """Waits for what has begun, or must be done; nothing else begins."""
        for work in self._works:
            if not work.must:
                work.future.cancel()
        self._pool.shutdown(wait=True)
        for work in self._works:
            work.reply(refused=self._ended(work) or ENDS, status=BUSY)
        self._works = []

    def _ended(self, work: _Work) -> str:
        """Why it did not do what it should have; empty: it did, or has not begun."""
        try:
            if not work.future.cancelled():
                work.late(work.future.result())
        except Exception as error:  # noqa: BLE001 - as above
            return told(error)
        return ""
