"""The API's process: `python -P -m pipeline.api.main`, started by the daemon's supervisor, which speaks to it in lines of JSON.

Exit codes: 0 the supervisor is gone or told it to end; 2 the settings cannot work (one line on stderr says why).
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from operators.errors import SensoriumError, SourceError
from pipeline import logs
from pipeline.clock import SystemClock, wall_ns
from pipeline.live.token import read_token, token_path
from pipeline.service import Service

log = logging.getLogger("sensorium.api")


def main() -> int:
    from pipeline.api.link import read_hello

    try:
        hello = read_hello(sys.stdin.buffer)
        service = Service.model_validate(hello["service"])
        logs.set_up("api", service.log, Path(hello["run_dir"]))
        return asyncio.run(serve(hello, service))
    except SourceError as error:
        print(f"sensorium: {error}", file=sys.stderr)
        return 2
    except SensoriumError as error:
        print(f"sensorium: {error}", file=sys.stderr)
        return 2 if error.exit_code == 1 else error.exit_code
    except KeyboardInterrupt:
        return 0  # Ctrl-C reaches every process of a terminal; the supervisor decides what becomes of it


async def serve(hello: Mapping[str, Any], service: Service) -> int:
    """Until the supervisor is gone. Raises ConfigError, SourceError."""
    from pipeline.api.app import make_app
    from pipeline.api.auth import Auth
    from pipeline.api.decisions import is_stream
    from pipeline.api.guard import Guard
    from pipeline.api.house import House
    from pipeline.api.hub import Hub
    from pipeline.api.link import Link
    from pipeline.api.origins import Origins
    from pipeline.api.rate import Rate
    from pipeline.api.server import Server, address_of, context_of, listen, places_of, url_of
    from pipeline.api.view import View

    clock, run_dir = SystemClock(), Path(hello["run_dir"])
    token, context = read_token("token", token_path()), context_of(service)
    listener = listen(service)
    url = url_of(service, listener)
    link = Link(sys.stdin.buffer, sys.stdout.buffer)
    await link.start()
    hub = Hub(link.send, clock.now_ns)
    view = View(str(hello["view"]), hub.tell) if hello.get("view") else None
    auth = Auth(token, run_dir, wall_ns, secure=context is not None, port=listener.getsockname()[1])
    house = House(
        service=service,
        hub=hub,
        auth=auth,
        run_dir=run_dir,
        recordings=service.recordings_folder,
        view=view,
        say={**hello, "address": url},
    )
    limits = service.limits
    places = places_of(service, asyncio.get_running_loop())
    guard = Guard(
        make_app(house),
        auth,
        Origins(address_of(service)[0], service.hosts),
        Rate(limits.per_minute, clock.now_ns),
        body_bytes=limits.body_kb << 10,
        seconds=limits.seconds,
        streams=is_stream,
        proved=places.proved,
    )
    server = Server(guard, service, listener, context, places)
    tasks = [asyncio.ensure_future(link.beat()), *([] if view is None else [asyncio.ensure_future(view.run())])]
    serving = asyncio.ensure_future(server.serve())
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    link.send({"type": "ready", "address": url})
    log.info("listening", extra={"facts": {"address": url}})
    while not serving.done() and (message := await link.message()) is not None:
        hub.take(message)
    server.should_exit = True
    await serving
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if view is not None:
        view.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
