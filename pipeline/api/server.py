"""uvicorn behind our own door: where it listens, TLS, and what is refused before it starts."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from operators.errors import ConfigError
from pipeline.api.connections import Door, Places, patient
from pipeline.api.origins import is_loopback, is_wildcard
from pipeline.service import Service

if TYPE_CHECKING:
    from pipeline.api.guard import App

HEAD_BYTES = 16 << 10
MESSAGE_BYTES = 4 << 10
PING_S = 20.0
SWEEP_S = 1.0
BACKLOG = 256


class Server(uvicorn.Server):
    """Serves on a socket that is listened on already. refused: connections and heads of requests, by reason."""

    def __init__(self, app: App, service: Service, listener: socket.socket, context: ssl.SSLContext | None, places: Places) -> None:
        limits = service.limits
        self._listener, self._context, self.places, self._seconds = listener, context, places, limits.seconds
        super().__init__(
            uvicorn.Config(
                app,
                http=patient(limits.seconds, places.refused),
                ws="websockets-sansio",
                ws_max_size=MESSAGE_BYTES,
                ws_max_queue=4,
                ws_ping_interval=PING_S,
                ws_ping_timeout=PING_S,
                ws_per_message_deflate=False,  # pictures are compressed, and a compressor for each page costs memory
                h11_max_incomplete_event_size=HEAD_BYTES,
                timeout_keep_alive=min(30, max(1, round(limits.seconds))),
                timeout_graceful_shutdown=2,
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                lifespan="off",
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, but that every connection meets our door first."""
        await self.lifespan.startup()
        loop = asyncio.get_running_loop()

        def http() -> asyncio.Protocol:
            made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state, _loop=loop
            )
            return made

        def door() -> Door:
            return Door(self.places, http, self._context, self._seconds)

        self.servers = [await loop.create_server(door, sock=self._listener, backlog=BACKLOG)]
        self.started = True
        self._sweeping = asyncio.ensure_future(self._sweep())

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self.places.sweep()


def listen(service: Service) -> socket.socket:
    """The socket that it says. Raises ConfigError, also where it would be beyond this machine without TLS."""
    host, port = address_of(service)
    if not is_loopback(host) and service.tls is None:
        problem = f"{service.listen} is beyond this machine, where the token would go in the clear"
        raise _wrong(service, "listen", problem, "set tls: {certificate: ..., key: ...}, or listen on 127.0.0.1")
    if is_wildcard(host) and not service.hosts:
        raise _wrong(service, "hosts", f"is empty, and {service.listen} is no name", "list the names that browsers use for this server")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise _wrong(service, "listen", f"{service.listen} cannot be listened on ({error.strerror})", "choose another port") from None
    return made


def address_of(service: Service) -> tuple[str, int]:
    host, _, port = service.listen.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def url_of(service: Service, listener: socket.socket) -> str:
    """By which a program of this machine reaches it."""
    host, port = address_of(service)[0], listener.getsockname()[1]
    if is_wildcard(host):
        host = "::1" if ":" in host else "127.0.0.1"
    scheme = "http" if service.tls is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def context_of(service: Service) -> ssl.SSLContext | None:
    """None: no TLS. Raises ConfigError, also where others may read the key."""
    if service.tls is None:
        return None
    certificate, key = (service.folder / Path(name).expanduser() for name in (service.tls.certificate, service.tls.key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        about = key.stat()
        if stat.S_IMODE(about.st_mode) & 0o077 or about.st_uid not in (os.getuid(), 0):
            raise _wrong(service, "tls.key", f"{key} can be read by others", "chmod 600 it, and make it yours")
        context.load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError as error:
        why = error.reason or "no PEM files that belong together"
        raise _wrong(service, "tls", f"cannot be used ({why})", "name a certificate and its key, without a passphrase, as PEM") from None
    except OSError as error:
        raise _wrong(service, "tls", f"cannot be read ({error.strerror}: {error.filename})", "name files that can be read") from None
    return context


def _wrong(service: Service, key: str, problem: str, hint: str) -> ConfigError:
    return ConfigError(service.origin or "the daemon's settings", key, problem, hint)
