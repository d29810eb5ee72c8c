"""Decisions to every program that connects to a port of this machine, as they are made.

    sinks: [{use: "pipeline.sinks.websocket:WebSocket", port: 8704}]

A client says the token as `Authorization: Bearer TOKEN`, or, where it cannot (a page), in the address: ws://127.0.0.1:8704/?token=TOKEN.
Each message is a decision, as a line of a JSONL file. A client hears what is decided while it is there; one that is slow loses the
oldest of what waits for it, counted, and holds up nobody. The daemon's API (docs/daemon.md) can resume from a decision; this cannot.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from operators.decision import Decision
from operators.errors import ContractError, SourceError
from pipeline.live.loopback import LOOPBACK, checked_port
from pipeline.live.token import bearer, is_token, read_token, token_path
from pipeline.ports import Status
from pipeline.sinks.jsonl import line_of

MAX_CLIENTS = 64
QUEUE = 256
"""Twenty seconds at 12.5 decisions a second."""
HEARD_BYTES = 1024
"""Clients have nothing to say."""
CLOSE_S = 1.0

log = logging.getLogger("sensorium.sinks")


class _Client:
    def __init__(self, most: int) -> None:
        self.waiting: deque[str] = deque(maxlen=most)
        self.news = asyncio.Event()


class WebSocket:
    """port: of 127.0.0.1. token_file: default ~/.local/state/sensorium/token. queue: so many decisions wait for a client."""

    def __init__(self, *, port: int, token_file: Path | None = None, queue: int = QUEUE) -> None:
        if queue < 1:
            raise ContractError(f"queue of 1 or more wanted, got {queue}")
        try:
            self._token = read_token("websocket", token_file or token_path())
        except SourceError as error:
            raise ContractError(error.problem) from None
        self._queue, self._clients = queue, set[_Client]()
        self._counts: Counter[str] = Counter(taken=0, sent=0, refused=0)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="websocket", daemon=True)
        self._thread.start()
        try:
            self._server: Server = asyncio.run_coroutine_threadsafe(self._serve(checked_port(port)), self._loop).result()
        except BaseException:
            self._end_loop()
            raise

    @property
    def port(self) -> int:
        return int(next(iter(self._server.sockets)).getsockname()[1])

    def decision(self, decision: Decision) -> None:
        self._loop.call_soon_threadsafe(self._push, line_of(decision))

    def status(self, status: Status) -> None:
        pass

    def counts(self) -> Mapping[str, int | Mapping[str, int]]:
        """sent: messages, of each decision one a client. refused: clients without the token, or one too many."""
        counts = dict(self._counts)
        return {**counts, "clients": len(self._clients), "dropped": {"slow client": counts.pop("dropped", 0)}}

    def close(self) -> None:
        """Clients get what waits for them, for a second at most, and the end of the connection."""
        ending = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        with suppress(TimeoutError):
            ending.result(4 * CLOSE_S)
        self._end_loop()
        dropped = self._counts["dropped"]
        log.info("websocket: %d messages sent, %d dropped for slow clients", self._counts["sent"], dropped, extra={"facts": self._counts})

    # -- the loop's thread

    async def _serve(self, port: int) -> Server:
        quiet = logging.Logger("websockets", logging.CRITICAL)  # its lines would hold addresses with the token
        return await serve(
            self._client,
            LOOPBACK,
            port,
            process_request=self._admit,
            max_size=HEARD_BYTES,
            max_queue=4,
            compression=None,
            close_timeout=CLOSE_S,
            logger=quiet,
        )

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        asked = parse_qs(urlsplit(request.path).query).get("token", [None])
        if is_token(bearer(request.headers.get("Authorization")) or asked[0], self._token):
            return None
        self._counts["refused"] += 1
        return connection.respond(HTTPStatus.UNAUTHORIZED, "the token is wanted\n")

    async def _client(self, connection: ServerConnection) -> None:
        if len(self._clients) >= MAX_CLIENTS:
            self._counts["refused"] += 1
            await connection.close(CloseCode.TRY_AGAIN_LATER)
            return
        client = _Client(self._queue)
        self._clients.add(client)
        listening = asyncio.create_task(_until_gone(connection, client))
        try:
            await self._feed(connection, client, listening)
        finally:
            listening.cancel()
            self._clients.discard(client)

    async def _feed(self, connection: ServerConnection, client: _Client, listening: asyncio.Task[None]) -> None:
        with suppress(ConnectionClosed):
            while not listening.done():
                await client.news.wait()
                client.news.clear()
                while client.waiting:
                    await connection.send(client.waiting.popleft())
                    self._counts["sent"] += 1

    def _push(self, line: str) -> None:
        self._counts["taken"] += 1
        for client in self._clients:
            self._counts["dropped"] += len(client.waiting) == client.waiting.maxlen
            client.waiting.append(line)
            client.news.set()

    async def _end(self) -> None:
        for _ in range(20):
            if not any(client.waiting for client in self._clients):
                break
            await asyncio.sleep(CLOSE_S / 20)
        self._server.close()
        await self._server.wait_closed()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_S)
        if not self._thread.is_alive():
            self._loop.close()


async def _until_gone(connection: ServerConnection, client: _Client) -> None:
    """Reads what nobody wants, so that a client that goes away is noticed at once."""
    with suppress(ConnectionClosed):
        async for _ in connection:
            pass
    client.news.set()
