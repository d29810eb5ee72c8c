"""Decisions of a session: the newest ones, and as server-sent events that resume from an id."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, cast

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from pipeline.api.answers import Decisions, Problem
from pipeline.api.house import House
from pipeline.api.hub import RING
from pipeline.api.mailbox import Item, Mailbox, Note

QUIET_S = 10.0
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem}}
STREAM = "/api/sessions/{session}/decisions/stream"


def routes(house: House) -> APIRouter:
    router = APIRouter(tags=["decisions"])

    @router.get("/api/sessions/{session}/decisions", summary="The newest decisions", responses=NOT_FOUND)
    async def decisions(
        session: str,
        after: Annotated[str | None, Query(max_length=64, description="an id: only what follows on it")] = None,
        limit: Annotated[int, Query(ge=1, le=RING)] = 100,
    ) -> Decisions:
        found, known = house.session(session).after(after, limit)
        return Decisions(decisions=found, known=known)

    @router.get(
        STREAM,
        summary="Decisions as they are made (server-sent events)",
        responses={**NOT_FOUND, 200: {"content": {"text/event-stream": {}}, "description": "`id:` is the decision's id"}},
        response_class=StreamingResponse,
    )
    async def stream(
        session: str,
        after: Annotated[str | None, Query(max_length=64)] = None,
        last_event_id: Annotated[str | None, Header(max_length=64)] = None,
    ) -> Response:
        """With Last-Event-ID (browsers send it by themselves) or ?after= what was missed comes first, as far as it is kept.

        `event: gone` ends it: the session has ended.
        """
        house.session(session)
        return EventStream(events(house, session, last_event_id or after), media_type="text/event-stream")

    return router


class EventStream(StreamingResponse):
    """One that ends its events together with itself, however it ends: nobody is listened for that is gone."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(cast("AsyncGenerator[str, None]", self.body_iterator)):
            await super().__call__(scope, receive, send)


async def events(house: House, session: str, after: str | None) -> AsyncGenerator[str, None]:
    """Ends with the session."""
    with house.hub.reader(session, Mailbox(frozenset({"decision", "gone"}))) as box:
        seen, missed = house.session(session), 0
        gone = seen.gone  # what comes from now on is in the box
        before, _ = seen.after(after, RING) if after is not None else ([], True)
        yield "retry: 1000\n\n"  # at once, so that a browser knows that it is connected
        for decision in before:
            yield _event(Note("decision", {"decision": decision}))
        if gone is not None:
            yield _event(Note("gone", {"type": "gone", "session": session, **gone}))
            return
        while True:
            try:
                items = await asyncio.wait_for(box.take(), QUIET_S)
            except TimeoutError:
                yield ": nothing new\n\n"
                continue
            if box.dropped.total() > missed:
                missed = box.dropped.total()
                yield _event(Note("missed", {"dropped": dict(box.dropped)}))
            for note in items:
                yield _event(note)
            if any(note.kind == "gone" for note in items):
                return


def _event(note: Item) -> str:
    """A decision is an event without a name, as its data; what else there is has one."""
    if not isinstance(note, Note):
        return ""
    if note.kind == "decision":
        decision = note.message["decision"]
        return f"id: {decision['id']}\ndata: {json.dumps(decision, separators=(',', ':'))}\n\n"
    return f"event: {note.kind}\ndata: {note.text()}\n\n"
