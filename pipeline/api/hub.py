"""What the API knows: the newest of everything that the supervisor said, the decisions of each session, and who listens.

All of it lives in one event loop and may be lost at any time: the supervisor says it again to the next API process.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from operators.errors import SensoriumError
from pipeline.api.mailbox import Item, Mailbox, Note
from pipeline.mask import mask

RING = 1000
ENDED_KEPT = 8
ENGINE_SILENT_NS = 10_000_000_000

Said = dict[str, Any]


class Refused(SensoriumError):
    """The supervisor does not do it; status is that of the HTTP answer."""

    def __init__(self, line: str, status: int = 409) -> None:
        self.status = status
        super().__init__(line)


@dataclass(slots=True)
class Seen:
    """One session as it was last told. gone: why and with which exit code it ended; None: it runs."""

    said: Said
    status: Said | None = None
    gone: Said | None = None
    decisions: deque[Said] = field(default_factory=lambda: deque(maxlen=RING))
    ids: deque[str] = field(default_factory=lambda: deque(maxlen=RING))
    told: int = 0
    """Decisions since this process began."""

    def facts(self) -> Said:
        """As the list of sessions shows it."""
        known = {key: value for key, value in self.said.items() if key != "type"}
        return {**known, "status": self.status, "gone": self.gone}

    def after(self, decision: str | None, limit: int) -> tuple[list[Said], bool]:
        """The oldest `limit` decisions that follow on that id, and whether it is still known. None, or unknown: the newest ones."""
        ids = list(self.ids)
        if decision in ids:
            start = ids.index(decision) + 1
            return list(self.decisions)[start : start + limit], True
        return list(self.decisions)[-limit:] if limit else [], decision is None


class Hub:
    """take() is given every message of the supervisor; ask() sends one back and waits for its answer.

    send: writes a message to the supervisor; False: there is no room, or no supervisor.
    """

    def __init__(self, send: Callable[[Said], bool], now_ns: Callable[[], int]) -> None:
        self._send, self._now_ns = send, now_ns
        self.sessions: OrderedDict[str, Seen] = OrderedDict()
        self.engine: Said = {"state": "starting", "restarts": 0, "why": ""}
        self._engine_ns = now_ns()
        self._asked: dict[int, asyncio.Future[Said]] = {}
        self._last_id = 0
        self._readers: dict[str, set[Mailbox]] = {}
        self.unknown: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        """By kind: what readers that have left, and those that are here, were too slow for."""
        self.on_decision: Callable[[Said], None] = lambda decision: None

    # -- from the supervisor

    def take(self, message: Said) -> None:
        """What is not understood is counted by its type, and passed over: the supervisor may be newer."""
        kind = message.get("type")
        takers = {"engine": self._engine, "session": self._session, "status": self._status, "decision": self._decision}
        takers |= {"gone": self._gone, "answer": self._answer}
        taker = takers.get(str(kind))
        try:
            if taker is None:
                raise KeyError(kind)
            # Who said it has masked it already; a page and a program's answer are no place to find out that one did not.
            taker(message if kind == "decision" else _masked(message))
        except (KeyError, TypeError, ValueError):
            self.unknown[str(kind)[:32]] += 1

    def _engine(self, message: Said) -> None:
        self.engine = {key: value for key, value in message.items() if key != "type"}
        self._engine_ns = self._now_ns()
        self._tell("", "engine", {"type": "engine", **self.engine})

    def _session(self, message: Said) -> None:
        name = str(message["session"])
        seen = self.sessions.get(name)
        if seen is None or seen.gone is not None:
            self.sessions[name] = Seen(said=message)
        else:
            seen.said = message
        self._tell(name, "session", {**message})
        self._tell_list()

    def _status(self, message: Said) -> None:
        seen = self.sessions[message["session"]]
        before, seen.status = seen.status, dict(message["status"])
        self._tell(message["session"], "status", {"type": "status", "status": seen.status})
        if before is None or before["state"] != seen.status["state"] or before.get("recording") != seen.status.get("recording"):
            self._tell_list()

    def _decision(self, message: Said) -> None:
        seen, decision = self.sessions[message["session"]], dict(message["decision"])
        if decision["id"] in seen.ids:
            return  # said again, to an API that may not have known it
        seen.decisions.append(decision)
        seen.ids.append(decision["id"])
        seen.told += 1
        self.on_decision(decision)
        self._tell(message["session"], "decision", {"type": "decision", "decision": decision})

    def _gone(self, message: Said) -> None:
        seen = self.sessions[message["session"]]
        seen.gone = {"why": message.get("why", ""), "exit_code": message.get("exit_code", 0)}
        self.sessions.move_to_end(message["session"])
        ended = [name for name, each in self.sessions.items() if each.gone is not None]
        for name in ended[:-ENDED_KEPT]:
            del self.sessions[name]
        self._tell(message["session"], "gone", {"type": "gone", "session": message["session"], **seen.gone})
        self._tell_list()

    def _answer(self, message: Said) -> None:
        future = self._asked.pop(int(message["id"]), None)
        if future is not None and not future.done():
            future.set_result(message)

    # -- to the supervisor

    async def ask(self, request: Mapping[str, Any], timeout_s: float) -> Said:
        """Its answer: {"done", "values"?}. Raises Refused, also where it does not answer in time."""
        self._last_id += 1
        future: asyncio.Future[Said] = asyncio.get_running_loop().create_future()
        self._asked[self._last_id] = future
        try:
            if not self._send({"type": "ask", "id": self._last_id, "ask": dict(request)}):
                raise Refused("the supervisor takes no requests just now; try again", 503)
            answer = await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            raise Refused(f"the supervisor did not answer within {timeout_s:g} s; see whether it was done all the same", 504) from None
        finally:
            self._asked.pop(self._last_id, None)
        if "refused" in answer:
            raise Refused(str(answer["refused"]), int(answer.get("status", 409)))
        return answer

    # -- to those who listen

    @contextmanager
    def reader(self, session: str, mailbox: Mailbox) -> Iterator[Mailbox]:
        """The mailbox is filled as long as the context lasts. session "": what concerns the list of them."""
        self._readers.setdefault(session, set()).add(mailbox)
        try:
            yield mailbox
        finally:
            self._readers[session].discard(mailbox)
            if not self._readers[session]:
                del self._readers[session]
            self.dropped.update(mailbox.dropped)

    def readers(self) -> dict[str, int]:
        """How many listen, by session."""
        return {session: len(boxes) for session, boxes in self._readers.items()}

    def dropped_by_kind(self) -> Counter[str]:
        total = Counter(self.dropped)
        for boxes in self._readers.values():
            for box in boxes:
                total.update(box.dropped)
        return total

    def tell(self, session: str, item: Item) -> None:
        """Gives it to everyone who listens to this session."""
        for box in self._readers.get(session, ()):
            box.put(item)

    def _tell(self, session: str, kind: str, message: Said) -> None:
        if session in self._readers:
            self.tell(session, Note(kind, message))

    def _tell_list(self) -> None:
        self._tell("", "sessions", {"type": "sessions", "sessions": self.listed()})

    def listed(self) -> list[Said]:
        return [seen.facts() for seen in self.sessions.values()]

    # -- how all is

    def reasons(self) -> list[str]:
        """Why it is degraded; empty: all is well."""
        found = []
        if self.engine.get("state") != "running":
            why = self.engine.get("why") or "it is not ready"
            found.append(f"the engine is {self.engine.get('state')}: {why}")
        if self._now_ns() - self._engine_ns > ENGINE_SILENT_NS:
            found.append("the supervisor has said nothing of the engine for 10 s")
        for name, seen in self.sessions.items():
            if seen.gone is None and (state := (seen.status or {}).get("state")) in ("degraded", "failed"):
                found.append(f"session {name} is {state}")
        return found

    def recording(self) -> list[str]:
        """The sessions that are being recorded now."""
        return [name for name, seen in self.sessions.items() if seen.gone is None and (seen.status or {}).get("recording") == "on"]


def _masked(value: Any) -> Any:  # noqa: ANN401 - plain values
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {name: _masked(item) for name, item in value.items()}
    return [_masked(item) for item in value] if isinstance(value, list) else value
