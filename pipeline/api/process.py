"""The API's parts, put together and run until the supervisor is gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.api.access import Access
from pipeline.api.app import make_app
from pipeline.api.auth import Auth
from pipeline.api.connections import Places
from pipeline.api.guard import Guard
from pipeline.api.house import House
from pipeline.api.hub import Hub
from pipeline.api.latencies import Latencies
from pipeline.api.link import Link
from pipeline.api.metrics import Metrics
from pipeline.api.origins import Origins
from pipeline.api.patience import allowance
from pipeline.api.rate import Rate
from pipeline.api.server import Server, address_of, context_of, listen, url_of
from pipeline.api.view import View
from pipeline.clock import SystemClock, wall_ns
from pipeline.live.token import read_token, token_path
from pipeline.service import Service

STARTING_S = 0.01

log = logging.getLogger("sensorium.api")


class Process:
    """Made before anything is said to the supervisor. Raises ConfigError, SourceError where it cannot listen as it should."""

    def __init__(self, hello: Mapping[str, Any], service: Service) -> None:
        self._hello, self._service = hello, service
        self._token, self._context = read_token("token", token_path()), context_of(service)
        self._listener = listen(service)
        self._url = url_of(service, self._listener)

    async def run(self, lines_in: BinaryIO, lines_out: BinaryIO) -> None:
        """Comes back when the supervisor has closed its end."""
        link = Link(lines_in, lines_out)
        await link.start()
        hub = Hub(link.send, SystemClock().now_ns)
        await _read(link, hub, most=int(self._hello.get("again", 0)))
        view = View(str(self._hello["view"]), hub.tell) if self._hello.get("view") else None
        server = self._server(link, hub, view)
        serving = asyncio.ensure_future(server.serve())
        while not server.started and not serving.done():
            await asyncio.sleep(STARTING_S)
        tasks = [asyncio.ensure_future(link.beat()), *([] if view is None else [asyncio.ensure_future(view.run())])]
        self._say_ready(link)
        tasks.append(asyncio.ensure_future(_read(link, hub)))
        await asyncio.wait([serving, *tasks], return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        if view is not None:
            view.close()
        for error in ended:
            if isinstance(error, Exception):
                raise error  # the supervisor starts another process, which is told everything again

    def _say_ready(self, link: Link) -> None:
        tls = self._service.tls
        certificate = "" if tls is None else str(self._service.folder / Path(tls.certificate).expanduser())
        link.send({"type": "ready", "address": self._url, "certificate": certificate})
        log.info("listening", extra={"facts": {"address": self._url}})

    def _server(self, link: Link, hub: Hub, view: View | None) -> Server:
        service, clock, run_dir = self._service, SystemClock(), Path(self._hello["run_dir"])
        limits, latencies = service.limits, Latencies()
        hub.on_decision = latencies.add
        places = Places(limits.connections, limits.connections_of_one, asyncio.get_running_loop().time)
        auth = Auth(self._token, run_dir, wall_ns, secure=self._context is not None, port=self._listener.getsockname()[1])
        house = House(
            service=service,
            hub=hub,
            auth=auth,
            run_dir=run_dir,
            recordings=service.recordings_folder,
            view=view,
            say={**self._hello, "address": self._url},
        )
        guard = Guard(
            make_app(house),
            auth,
            Origins(address_of(service)[0], service.hosts),
            Rate(limits.per_minute, clock.now_ns),
            Access(clock.now_ns),
            proved=places.proved,
            allowance=allowance(limits.seconds),
            body_bytes=limits.body_kb << 10,
            seconds=limits.seconds,
        )
        house.metrics = Metrics(hub=hub, latencies=latencies, guard=guard, places=places, link=link, view=view).text
        return Server(guard, service, self._listener, self._context, places)


async def _read(link: Link, hub: Hub, most: int | None = None) -> None:
    """To the end, or so many: what the process before this one knew. Before that nobody is served: whoever goes on from the last decision
    that it has would be given older ones."""
    while most is None or most > 0:
        message = await link.message()
        if message is None or message.get("type") == "close":
            return
        hub.take(message)
        most = None if most is None else most - 1
