"""The daemon itself: health, facts, metrics, log lines, and the way in and out of the page."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from pipeline import __version__, logs
from pipeline.api.answers import Health, Live, LogLine, Logs, ServiceFacts
from pipeline.api.house import House

MOST_LINES = 2000


def routes(house: House) -> APIRouter:
    router = APIRouter(tags=["service"])
    hub = house.hub

    @router.get("/health/live", summary="This process answers (no token)", response_model=Live)
    async def alive() -> Live:
        return Live(status="ok")

    @router.get(
        "/health/ready",
        summary="All is well (no token)",
        response_model=Live,
        responses={503: {"model": Live, "description": "it is not; GET /api/health says why"}},
    )
    async def ready() -> Response:
        well = not hub.reasons()
        return JSONResponse({"status": "ok" if well else "degraded"}, 200 if well else 503)

    @router.get("/api/health", summary="Whether all is well, and why not")
    async def health() -> Health:
        reasons = hub.reasons()
        return Health(status="degraded" if reasons else "ok", reasons=reasons)

    @router.get("/api/service", summary="The daemon: engine, recording, limits")
    async def service() -> ServiceFacts:
        limits: dict[str, Any] = house.service.limits.model_dump()
        return ServiceFacts(
            version=__version__,
            since=str(house.say.get("utc", "")),
            address=str(house.say.get("address", "")),
            engine=hub.engine,
            recording=hub.recording(),
            degraded=hub.reasons(),
            limits=limits,
            secure=house.auth.secure,
        )

    @router.get("/api/logs", summary="The newest log lines of all our processes")
    async def lines(
        session: Annotated[str | None, Query(max_length=64, description="only those that name it")] = None,
        lines: Annotated[int, Query(ge=1, le=MOST_LINES)] = 200,
    ) -> Logs:
        found = await asyncio.to_thread(logs.newest, house.run_dir, lines, session)
        return Logs(lines=[LogLine.model_validate(line) for line in found])

    @router.get("/metrics", summary="For Prometheus", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(house.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @router.post("/api/leave", summary="Forget this browser's cookie", status_code=204)
    async def leave(request: Request) -> Response:
        return Response(status_code=204, headers={"set-cookie": house.auth.leave(dict(request.headers.raw))})

    return router
