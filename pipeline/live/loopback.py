"""A small HTTP server of this machine only, for sources that are sent to."""

from __future__ import annotations

import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from typing import Any

from operators.errors import ContractError

LOOPBACK = "127.0.0.1"
PATIENCE_S = 5.0
MAX_CLIENTS = 16


def checked_port(port: int) -> int:
    """0: any that is free. Raises ContractError."""
    if not 0 <= port <= 65_535:
        raise ContractError(f"port of 1 to 65535 wanted, got {port}")
    return port


class LoopbackServer(ThreadingHTTPServer):
    """Serves in threads of its own until close(). At most MAX_CLIENTS at a time, others wait in the backlog. Raises OSError."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self._room = threading.BoundedSemaphore(MAX_CLIENTS)
        super().__init__((LOOPBACK, port), handler)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def alive(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        self.shutdown()
        self.server_close()

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


class Answers(BaseHTTPRequestHandler):
    """What both servers' handlers need: short answers, bodies of a known length, and no log, as a request's line may hold a token."""

    timeout = PATIENCE_S
    protocol_version = "HTTP/1.1"

    def length(self) -> int | None:
        said = self.headers.get("Content-Length", "")
        return int(said) if said.isascii() and said.isdigit() and len(said) < 16 else None

    def answer(self, status: HTTPStatus, text: str, **headers: str) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "sensorium"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""
