"""Texts that are sent by HTTP POST, one a request.

    sources: {notes: {use: "pipeline.sources.text_post:Post", port: 8701}}
    inputs: {text: notes.text}

    curl -H "Authorization: Bearer $(cat ~/.local/state/sensorium/token)" --data 'hello' http://127.0.0.1:8701/text

204: taken. 400: not UTF-8. 401: no token or a wrong one. 404, 405: not POST /text. 411, 413: without its length, too long.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket
from typing import Any

from operators.errors import ContractError, SourceError
from pipeline.live.captured import Lost, Now
from pipeline.live.text import MAX_BYTES, BoxConnection, TextBox, TextFeed
from pipeline.live.token import bearer, is_token, read_token, token_path
from pipeline.ports import Wanted

LOOPBACK = "127.0.0.1"
PATIENCE_S = 5.0
MAX_CLIENTS = 16


class Post(TextFeed):
    """port: of 127.0.0.1. token_file: default ~/.local/state/sensorium/token. max_bytes: longer texts are refused and counted."""

    def __init__(self, *, port: int, token_file: Path | None = None, max_bytes: int = MAX_BYTES) -> None:
        if not 0 <= port <= 65_535:
            raise ContractError(f"port of 1 to 65535 wanted, got {port}")
        super().__init__(f"http port {port}", max_bytes=max_bytes, exclusive=True)
        self._port, self._token_file = port, token_file or token_path()

    def connect(self, wanted: Mapping[str, Wanted], now_ns: Now) -> _Serving:
        token = read_token(self.label, self._token_file)
        try:
            return _Serving(self._port, token, TextBox(now_ns, self.max_bytes), self.max_bytes)
        except OSError as error:
            raise SourceError(self.label, f"{LOOPBACK}:{self._port} cannot be listened on ({error.strerror})") from None


class _Server(ThreadingHTTPServer):
    """At most MAX_CLIENTS at a time; whoever comes then waits in the backlog."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self._room = threading.BoundedSemaphore(MAX_CLIENTS)
        super().__init__((LOOPBACK, port), handler)

    def process_request(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:  # noqa: ANN401 - as in socketserver
        self._room.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:  # noqa: ANN401
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is nobody's fault, and the default writes a traceback to stderr."""


class _Serving(BoxConnection):
    def __init__(self, port: int, token: str, box: TextBox, max_bytes: int) -> None:
        class Handler(_Handler):
            pass

        Handler.box, Handler.token, Handler.max_bytes = box, token, max_bytes
        self._server = _Server(port, Handler)
        super().__init__(box, f"POST http://{LOOPBACK}:{self.port}/text")
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def alive(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    box: TextBox
    token: str
    max_bytes: int
    timeout = PATIENCE_S
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.close_connection = True  # what was refused has not been read
        if not is_token(bearer(self.headers.get("Authorization")), self.token):
            self.box.happened("refused")
            self._answer(HTTPStatus.UNAUTHORIZED, "Authorization: Bearer TOKEN wanted")
        elif self.path != "/text":
            self._answer(HTTPStatus.NOT_FOUND, "POST /text wanted")
        elif (length := self._length()) is None:
            self._answer(HTTPStatus.LENGTH_REQUIRED, "Content-Length wanted")
        elif length > self.max_bytes:
            self.box.lost("oversize")
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {self.max_bytes} bytes wanted")
        else:
            self._take(self.rfile.read(length), length)

    def _take(self, data: bytes, length: int) -> None:
        if len(data) < length:
            self.box.lost("cut_short")
            return
        if isinstance(self.box.put(data), Lost):
            self._answer(HTTPStatus.BAD_REQUEST, "UTF-8 wanted")
        else:
            self.close_connection = False
            self._answer(HTTPStatus.NO_CONTENT, "")

    def _refuse(self) -> None:
        self.close_connection = True
        self._answer(HTTPStatus.METHOD_NOT_ALLOWED, "POST /text wanted")

    do_GET = do_PUT = do_HEAD = do_DELETE = do_OPTIONS = _refuse

    def _length(self) -> int | None:
        said = self.headers.get("Content-Length", "")
        return int(said) if said.isascii() and said.isdigit() and len(said) < 16 else None

    def _answer(self, status: HTTPStatus, text: str) -> None:
        body = f"{text}\n".encode() if text else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "sensorium"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a request's line may hold secrets."""
