"""WebSockets for pages: one session as it happens, and the list of sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Annotated

from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect

from pipeline.api.house import House
from pipeline.api.hub import RING, Refused, Seen
from pipeline.api.mailbox import Mailbox, Note, Picture

MOST_READ = 32
"""So many messages may a page send; nothing is wanted of it."""
POLICY_VIOLATION = 1008


def routes(house: House) -> APIRouter:
    router = APIRouter()

    @router.websocket("/api/live")
    async def everything(socket: WebSocket) -> None:
        """The engine's state and the list of sessions, now and whenever they change."""
        with house.hub.reader("", Mailbox()) as box:
            await socket.accept()
            box.put(Note("engine", {"type": "engine", **house.hub.engine}))
            box.put(Note("sessions", {"type": "sessions", "sessions": house.hub.listed()}))
            await _until_either_ends(socket, lambda: _send_all(socket, box))

    @router.websocket("/api/sessions/{session}/live")
    async def live(socket: WebSocket, session: str, after: Annotated[str | None, Query(max_length=64)] = None) -> None:
        """Text frames are JSON with a type: session, status, decision, level, text, marks, missed, gone. Binary frames are pictures.

        First come the session, its newest status and, with ?after=ID, the decisions since that one.
        """
        seen = await _session(socket, house, session)
        if seen is None:
            return
        with ExitStack() as stack:
            box = stack.enter_context(house.hub.reader(session, Mailbox(max_waiting=2 * RING)))
            if house.view is not None:
                stack.enter_context(house.view.watched(session))
            await socket.accept()
            for note in _first(seen, after):
                box.put(note)
            await _until_either_ends(socket, lambda: _send_all(socket, box))

    return router


async def _session(socket: WebSocket, house: House, name: str) -> Seen | None:
    try:
        return house.session(name)
    except Refused as refused:
        await socket.accept()
        await socket.close(4404, str(refused)[:120])
        return None


def _first(seen: Seen, after: str | None) -> list[Note]:
    notes = [Note("session", seen.said)]
    if seen.status is not None:
        notes.append(Note("status", {"type": "status", "status": seen.status}))
    if after is not None:
        notes += [Note("decision", {"type": "decision", "decision": decision}) for decision in seen.after(after, RING)[0]]
    if seen.gone is not None:
        notes.append(Note("gone", {"type": "gone", "session": seen.said["session"], **seen.gone}))
    return notes


async def _send_all(socket: WebSocket, box: Mailbox) -> None:
    missed = 0
    while True:
        for item in await box.take():
            await (socket.send_bytes(item.frame) if isinstance(item, Picture) else socket.send_text(item.text()))
        # Of pictures only the newest is wanted, so a page that is slow for them has missed nothing.
        if (now := box.dropped.total() - box.dropped["picture"]) > missed:
            missed = now
            await socket.send_text(Note("missed", {"type": "missed", "dropped": dict(box.dropped)}).text())


async def _read_away(socket: WebSocket) -> None:
    for _ in range(MOST_READ):
        if (await socket.receive())["type"] == "websocket.disconnect":
            return
    await socket.close(POLICY_VIOLATION, "nothing is wanted on this socket")


async def _until_either_ends(socket: WebSocket, send: Callable[[], Awaitable[None]]) -> None:
    """The page leaves, or it reads too slowly for what is sent."""
    tasks = [asyncio.ensure_future(send()), asyncio.ensure_future(_read_away(socket))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception) and not isinstance(error, WebSocketDisconnect | TimeoutError | RuntimeError | ConnectionError):
            raise error
