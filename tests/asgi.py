"""Talks to an ASGI app without a server, with exactly the headers that a test names."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

HOST = b"127.0.0.1:8700"
Headers = list[tuple[bytes, bytes]]


@dataclass
class Answer:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    frames: list[Any] = field(default_factory=list)

    def json(self) -> Any:
        return json.loads(self.body)


def scope_of(kind: str, path: str, headers: Headers, client: str, secure: bool) -> dict[str, Any]:
    path, _, query = path.partition("?")
    scheme = {"http": "http", "websocket": "ws"}[kind] + ("s" if secure else "")
    about = {"path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "", "http_version": "1.1", "state": {}}
    known = {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "scheme": scheme,
        "client": (client, 40_000),
        "server": ("127.0.0.1", 8700),
    }
    return {**known, **about, "headers": headers, "extensions": {"websocket.http.response": {}}, "subprotocols": []}


async def ask(
    app: Any, method: str, path: str, headers: Headers, body: list[bytes] | None = None, *, client: str = "127.0.0.1", secure: bool = False
) -> Answer:
    """An answer that has no end is given up after its first piece."""
    scope = {**scope_of("http", path, headers, client, secure), "method": method}
    parts, answer, enough = list(body or [b""]), Answer(0), asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not parts:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        else:
            answer.body += message.get("body", b"")
            if "text/event-stream" in answer.headers.get("content-type", ""):
                enough.set()

    working = asyncio.ensure_future(app(scope, receive, send))
    waiting = asyncio.ensure_future(enough.wait())
    await asyncio.wait([working, waiting], return_when=asyncio.FIRST_COMPLETED, timeout=20)
    for task in (working, waiting):
        task.cancel()
    ended = await asyncio.gather(working, waiting, return_exceptions=True)
    if isinstance(ended[0], Exception):
        raise ended[0]
    return answer


async def connect(app: Any, path: str, headers: Headers, *, client: str = "127.0.0.1", secure: bool = False, frames: int = 1) -> Answer:
    """A WebSocket, left again after so many frames. status 101: it was accepted; a refusal has its own."""
    answer, leave = Answer(0), asyncio.Event()
    first = True

    async def receive() -> dict[str, Any]:
        nonlocal first
        if first:
            first = False
            return {"type": "websocket.connect"}
        await leave.wait()
        return {"type": "websocket.disconnect", "code": 1000}

    async def send(message: dict[str, Any]) -> None:
        match message["type"]:
            case "websocket.accept":
                answer.status = 101
            case "websocket.http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
            case "websocket.http.response.body":
                answer.body += message.get("body", b"")
            case "websocket.send":
                answer.frames.append(message.get("bytes") or json.loads(message["text"]))
                if len(answer.frames) >= frames:
                    leave.set()
            case "websocket.close":
                answer.frames.append(message.get("code"))

    await asyncio.wait_for(app(scope_of("websocket", path, headers, client, secure), receive, send), 20)
    return answer
