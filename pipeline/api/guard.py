"""The gate in front of every route: where it came from, who it is, how much and how fast.

Pure ASGI, around the whole app, so that a route that is added later is behind it, too: all but OPEN_PATHS wants the token or the cookie.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from pipeline.api.access import Access
from pipeline.api.auth import Auth
from pipeline.api.origins import Origins
from pipeline.api.rate import Rate

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({"/", "/enter", "/health/live", "/health/ready"})
"""They tell nothing of any session. What / shows without a cookie is how to get in."""
METHODS = ("GET", "POST", "DELETE")
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), microphone=(self), geolocation=()"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
        b"connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
)

log = logging.getLogger("sensorium.api")


class Stop(Exception):
    """The answer is this."""

    def __init__(self, status: int, line: str, why: str, **headers: str) -> None:
        self.status, self.line, self.why, self.headers = status, line, why, headers
        super().__init__(line)


class Guard:
    """refused: by reason. answered: by status. proved: told the address of a connection that showed the token or the cookie.

    body_bytes: of a request. seconds: for it to come in, and for a piece of its answer to be taken. allowance: of a method and path:
    for it to be answered; None: it has no end. failure_s: how long an answer to a wrong token or cookie is held back.
    """

    def __init__(
        self,
        app: App,
        auth: Auth,
        origins: Origins,
        rate: Rate,
        access: Access,
        *,
        body_bytes: int,
        seconds: float,
        allowance: Callable[[str, str], float | None],
        proved: Callable[[tuple[str, int]], None],
        failure_s: float = 0.2,
    ) -> None:
        self._app, self._auth, self._origins, self._rate = app, auth, origins, rate
        self._body_bytes, self._seconds, self._allowance, self._proved, self._access = body_bytes, seconds, allowance, proved, access
        self._failure_s = failure_s
        self.refused: Counter[str] = Counter()
        self.answered: Counter[int] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            await self._admit(scope)
        except Stop as stop:
            self.refused[stop.why] += 1
            await self._refuse(scope, receive, send, stop)
            return
        await self._pass(scope, receive, send)

    # -- may it come in

    async def _admit(self, scope: Scope) -> None:
        headers = _headers(scope)
        client = scope.get("client") or ("", 0)
        way = self._auth.way(headers)
        address = f"{client[0]} {way or ''}"  # who shows no token has an allowance of their own, whatever address they share
        if (wait_s := self._rate.take(address)) > 0:
            raise Stop(429, f"too many requests; again in {wait_s} s", "rate", Retry_After=str(wait_s))
        if not self._origins.is_host(headers.get(b"host")):
            raise Stop(421, "this server is not called so; use the address that `sensorium status` prints", "host")
        self._check_origin(scope, headers, way)
        if scope["type"] == "http" and scope["method"] not in METHODS:
            raise Stop(405, f"{', '.join(METHODS)} are understood", "method", Allow=", ".join(METHODS))
        if way is None and scope["path"] not in OPEN_PATHS:
            await self._fail(scope, headers, str(client[0]))
        _check_length(headers, self._body_bytes)
        if way is not None:
            self._proved((str(client[0]), int(client[1])))
        scope["sensorium.way"] = way or ""

    def _check_origin(self, scope: Scope, headers: dict[bytes, bytes], way: str | None) -> None:
        """Another site's page must not be able to use the browser's cookie, nor to read anything."""
        origin, site = headers.get(b"origin"), headers.get(b"sec-fetch-site")
        if origin is not None and not self._origins.is_own(origin, headers[b"host"], scope):
            raise Stop(403, "requests from pages of other sites are not answered", "origin")
        if site is not None and site not in (b"same-origin", b"none"):
            raise Stop(403, "requests from other sites are not answered; put the address into the browser yourself", "site")
        changes = scope["type"] == "websocket" or scope["method"] != "GET"
        if way == "cookie" and changes and origin is None:
            raise Stop(403, "a browser says where a request comes from (Origin); programs use the token", "no_origin")

    async def _fail(self, scope: Scope, headers: dict[bytes, bytes], address: str) -> None:
        why = "wrong_token" if b"authorization" in headers else "wrong_cookie" if b"cookie" in headers else "no_token"
        if why != "no_token":
            if (wait_s := self._rate.fail(address)) > 0:
                raise Stop(429, f"too many attempts; again in {wait_s} s", "attempts", Retry_After=str(wait_s))
            await asyncio.sleep(self._failure_s)
        raise Stop(401, "the token is wanted (Authorization: Bearer TOKEN), or the browser's cookie", why, WWW_Authenticate="Bearer")

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, stop: Stop) -> None:
        body = json.dumps({"error": stop.line}).encode()
        headers = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in stop.headers.items()]
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        headers += [(b"cache-control", b"no-store"), *HEADERS]
        kind = "http.response" if scope["type"] == "http" else "websocket.http.response"
        if scope["type"] == "websocket":
            await receive()  # the request to connect, which is answered with the refusal
        self._count(scope, stop.status)
        await send({"type": f"{kind}.start", "status": stop.status, "headers": headers})
        await send({"type": f"{kind}.body", "body": body})

    # -- on its way

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, answer = _Body(receive, self._body_bytes, self._seconds), _Answer()

        async def sending(message: Message) -> None:
            if body.stop is not None:
                return  # what the app says to a body that was cut off
            message = self._sent(scope, message, answer)
            async with asyncio.timeout(self._seconds):  # who does not read what is sent does not hold a task for ever
                await send(message)

        endless = scope["type"] == "websocket"
        allowed_s = None if endless else self._allowance(scope["method"], scope["path"])
        stop: Stop | None = None
        try:
            async with asyncio.timeout(allowed_s):
                await self._app(scope, receive if endless else body, sending)
        except TimeoutError:
            stop = Stop(504, f"this took longer than {allowed_s or self._seconds:g} s", "slow")
        except Exception as error:
            log.error("internal error", exc_info=error, extra={"facts": {"path": scope["path"]}})
            stop = Stop(500, "internal error; the daemon's log has it (sensorium logs)", "internal")
        stop = body.stop or stop
        if stop is not None:
            await self._give_up(scope, receive, send, stop, answer)

    def _sent(self, scope: Scope, message: Message, answer: _Answer) -> Message:
        """Notes how far the answer is; its head gets our headers."""
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            answer.started = True
            self._count(scope, message["status"])
            return {**message, "headers": [*message.get("headers", []), *_safe(message)]}
        if message["type"] == "websocket.accept":
            answer.started = True
            self._count(scope, 101)
        answer.finished = message["type"].endswith("response.body") and not message.get("more_body", False)
        return message

    async def _give_up(self, scope: Scope, receive: Receive, send: Send, stop: Stop, answer: _Answer) -> None:
        self.refused[stop.why] += 1
        if not answer.started:
            await self._refuse(scope, receive, send, stop)
        elif not answer.finished:
            raise ConnectionAbortedError(stop.line)  # the server closes the connection: half an answer must not look whole

    def _count(self, scope: Scope, status: int) -> None:
        self.answered[status] += 1
        self._access.note(scope, status)


@dataclass(slots=True)
class _Answer:
    started: bool = False
    finished: bool = False


class _Body:
    """receive() of a body of at most so many bytes, that comes in time; of any other the app hears that the client went away."""

    def __init__(self, receive: Receive, most: int, seconds: float) -> None:
        self._receive, self._most, self._left, self._seconds = receive, most, most, seconds
        self._until_s = asyncio.get_running_loop().time() + seconds
        self._whole = False
        self.stop: Stop | None = None

    async def __call__(self) -> Message:
        if self._whole:
            return await self._receive()  # waits for the client to leave
        if self.stop is None:
            try:
                async with asyncio.timeout_at(self._until_s):
                    message = await self._receive()
            except TimeoutError:
                self.stop = Stop(408, f"the request did not come in within {self._seconds:g} s", "slow_body")
            else:
                self._left -= len(message.get("body", b""))
                self._whole = not message.get("more_body", False)
                if self._left >= 0:
                    return message
                self.stop = Stop(413, f"at most {self._most} bytes are taken", "body")
        return {"type": "http.disconnect"}


def _headers(scope: Scope) -> dict[bytes, bytes]:
    """Raises Stop where one of those that decide comes twice: two readers could then take different ones."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in found and name in (b"host", b"origin", b"authorization", b"sec-fetch-site", b"content-length", b"cookie"):
            raise Stop(400, f"the header {name.decode('latin-1')} comes twice", "twice")
        found[name] = value
    return found


def _check_length(headers: dict[bytes, bytes], most: int) -> None:
    said = headers.get(b"content-length", b"0")
    if not said.isdigit() or len(said) > 12 or int(said) > most:
        raise Stop(413, f"at most {most} bytes are taken", "body")


def _safe(message: Message) -> list[tuple[bytes, bytes]]:
    """The headers that every answer has, but for those that the route set itself."""
    has = {name.lower() for name, _ in message.get("headers", [])}
    kept = [(name, value) for name, value in HEADERS if name not in has]
    return kept if b"cache-control" in has else [*kept, (b"cache-control", b"no-store")]
