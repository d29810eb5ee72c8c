"""The whole app behind its guard, with one invented session and one recording, and ways to ask it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import inventedsession as invented
from asgi import HOST, Answer, Headers, ask, connect

from pipeline.api.access import Access
from pipeline.api.app import make_app
from pipeline.api.auth import Auth
from pipeline.api.codes import new_code
from pipeline.api.guard import Guard
from pipeline.api.house import House
from pipeline.api.hub import Hub
from pipeline.api.origins import Origins
from pipeline.api.patience import allowance
from pipeline.api.rate import Rate
from pipeline.clock import FakeClock
from pipeline.service import Service

TOKEN = "canary-token-of-the-tests"
WALL_NS = 1_700_000_000_000_000_000
GOLDEN = Path(__file__).parent / "golden" / "session"
DONE: dict[str, Any] = {"done": "done", "values": {"configs": [], "presets": []}}


class Guarded:
    """answers: what the supervisor says to an ask, by its kind; refuses: it says this instead. clock: of the limits."""

    def __init__(
        self,
        folder: Path,
        *,
        names: tuple[str, ...] = (),
        host: str = "127.0.0.1",
        secure: bool = False,
        failures_per_minute: int = 1_000_000,
        **limits: Any,
    ) -> None:
        self.clock, self.wall_ns = FakeClock(1), WALL_NS
        self.run_dir = folder / "run"
        self.run_dir.mkdir(mode=0o700, exist_ok=True)
        (folder / "recordings").mkdir(exist_ok=True)
        if not (folder / "recordings" / "story").exists():
            shutil.copytree(GOLDEN, folder / "recordings" / "story")
        self.asked: list[dict[str, Any]] = []
        self.answer: dict[str, Any] | None = DONE
        self.service = Service.model_validate({"limits": limits, "recordings": str(folder / "recordings")})
        self.hub = Hub(self.send, self.clock.now_ns)
        self.auth = Auth(TOKEN, self.run_dir, lambda: self.wall_ns, secure=secure, port=8700)
        page = folder / "page"
        page.mkdir(exist_ok=True)
        (page / "index.html").write_text("<!doctype html><title>dashboard</title>")
        (page / "app.js").write_text("'use strict';")
        self.house = House(
            service=self.service, hub=self.hub, auth=self.auth, run_dir=self.run_dir, recordings=folder / "recordings", page=page
        )
        self.app = make_app(self.house)
        self.proved: list[tuple[str, int]] = []
        limit = self.service.limits
        self.guard = Guard(
            self.app,
            self.auth,
            Origins(host, names),
            Rate(limit.per_minute, self.clock.now_ns, failures_per_minute=failures_per_minute),
            Access(self.clock.now_ns),
            body_bytes=limit.body_kb << 10,
            seconds=limit.seconds,
            allowance=allowance(limit.seconds),
            proved=self.proved.append,
            failure_s=0.0,
        )
        for message in (
            invented.engine(),
            invented.session("desk"),
            {"type": "status", "session": "desk", "status": invented.status("desk", 10**9)},
        ):
            self.hub.take(message)
        self.decide(*range(5))

    def decide(self, *windows: int) -> None:
        for window in windows:
            self.hub.take({"type": "decision", "session": "desk", "decision": invented.decision("desk", window)})

    def send(self, message: dict[str, Any]) -> bool:
        """In place of the supervisor."""
        self.asked.append(message["ask"])
        if self.answer is not None:
            asyncio.get_running_loop().call_soon(self.hub.take, {"type": "answer", "id": message["id"], **self.answer})
        return True

    def cookie(self) -> bytes:
        line = self.auth.enter(new_code(self.run_dir, self.wall_ns))
        assert line is not None
        return line.partition(";")[0].encode()

    def ask(self, method: str, path: str, headers: Headers | None = None, body: list[bytes] | None = None, **more: Any) -> Answer:
        """headers None: the token and the right Host."""
        return asyncio.run(ask(self.guard, method, path, by_token() if headers is None else headers, body, **more))

    def json(self, method: str, path: str, text: bytes) -> Answer:
        return self.ask(method, path, [*by_token(), (b"content-type", b"application/json")], [text])

    def connect(self, path: str, headers: Headers | None = None, **more: Any) -> Answer:
        return asyncio.run(connect(self.guard, path, by_token() if headers is None else headers, **more))


def by_token(token: str = TOKEN, host: bytes = HOST) -> Headers:
    return [(b"host", host), (b"authorization", f"Bearer {token}".encode())]


def walk(routes: Any) -> Iterator[Any]:
    """Every route of an app, also of the routers within it."""
    for route in routes:
        if hasattr(route, "path"):
            yield route
        else:
            yield from walk(route.original_router.routes)
