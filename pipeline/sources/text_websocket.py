"""Texts that programs and pages send over a WebSocket, one a message.

    sources: {chat: {use: "pipeline.sources.text_websocket:WebSocket", port: 8702}}
    inputs: {text: chat.text}

A client says the token as `Authorization: Bearer TOKEN`, or, where it cannot (a page), in the address: ws://127.0.0.1:8702/?token=TOKEN.
A message that is too long closes its connection (code 1009), as the protocol has it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from operators.errors import SourceError
from pipeline.live.captured import Now
from pipeline.live.loopback import LOOPBACK, checked_port
from pipeline.live.text import MAX_BYTES, BoxConnection, TextBox, TextFeed
from pipeline.live.token import bearer, is_token, read_token, token_path
from pipeline.ports import Wanted

MAX_CLIENTS = 64


class WebSocket(TextFeed):
    """port: of 127.0.0.1. token_file: default ~/.local/state/sensorium/token. max_bytes: longer messages are refused and counted."""

    def __init__(self, *, port: int, token_file: Path | None = None, max_bytes: int = MAX_BYTES) -> None:
        super().__init__(f"websocket port {port}", max_bytes=max_bytes, exclusive=True)
        self._port, self._token_file = checked_port(port), token_file or token_path()

    def connect(self, wanted: Mapping[str, Wanted], now_ns: Now) -> _Serving:
        token = read_token(self.label, self._token_file)
        try:
            return _Serving(self._port, token, TextBox(now_ns, self.max_bytes), self.max_bytes)
        except OSError as error:
            raise SourceError(self.label, f"{LOOPBACK}:{self._port} cannot be listened on ({error.strerror})") from None


class _Serving(BoxConnection):
    def __init__(self, port: int, token: str, box: TextBox, max_bytes: int) -> None:
        self._token, self._clients = token, threading.BoundedSemaphore(MAX_CLIENTS)
        quiet = logging.Logger("websockets", logging.CRITICAL)  # its lines would hold addresses with the token
        self._server: Server = serve(
            self._client, LOOPBACK, port, process_request=self._admit, max_size=max_bytes, max_queue=4, compression=None, logger=quiet
        )
        super().__init__(box, f"ws://{LOOPBACK}:{self.port}/")
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.socket.getsockname()[1])

    def alive(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(1.0)

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        asked = parse_qs(urlsplit(request.path).query).get("token", [None])
        if is_token(bearer(request.headers.get("Authorization")) or asked[0], self._token):
            return None
        self.box.happened("refused")
        return connection.respond(HTTPStatus.UNAUTHORIZED, "the token is wanted\n")

    def _client(self, connection: ServerConnection) -> None:
        if not self._clients.acquire(blocking=False):
            self.box.happened("too_many_clients")
            connection.close(CloseCode.TRY_AGAIN_LATER)
            return
        try:
            for message in connection:
                self.box.put(message.encode("utf-8", "replace") if isinstance(message, str) else message)
        except ConnectionClosedError as error:
            sent = error.sent
            if sent is not None and sent.code in (CloseCode.MESSAGE_TOO_BIG, CloseCode.INVALID_DATA):
                self.box.lost("oversize" if sent.code == CloseCode.MESSAGE_TOO_BIG else "bad_utf8")
        except ConnectionClosed:
            pass
        finally:
            self._clients.release()
