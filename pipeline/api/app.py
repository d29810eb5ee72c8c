"""The app: all routes, and errors as one line of JSON."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from operators.errors import SensoriumError
from pipeline import __version__
from pipeline.api import decisions, live, overview, pages, recordings, sessions
from pipeline.api.answers import Problem
from pipeline.api.house import House
from pipeline.api.hub import Refused
from pipeline.mask import mask, printable

ABOUT = """Sessions that run, their decisions, what was recorded. Every request wants `Authorization: Bearer TOKEN` or the browser's cookie.

Errors are `{"error": "one line"}`. Names only are taken: of configs, sessions, sources, presets and recordings; no paths, no addresses."""

INTERNAL = "internal error; the daemon's log has it (sensorium logs)"


def make_app(house: House) -> FastAPI:
    """Without the guard, which goes around it."""
    app = FastAPI(
        title="Sensorium",
        version=__version__,
        description=ABOUT,
        openapi_url="/api/openapi.json",
        docs_url=None,  # its pages load scripts from elsewhere
        redoc_url=None,
        responses={401: {"model": Problem}, 403: {"model": Problem}, 422: {"model": Problem}, 429: {"model": Problem}},
    )
    for part in (sessions, decisions, live, recordings, overview, pages):
        app.include_router(part.routes(house))
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(SensoriumError, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)
    return app


def _line(status: int, line: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": printable(mask(line))}, status, headers)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    return _line(error.status if isinstance(error, Refused) else 500, str(error))


async def _problem(_: Request, error: Exception) -> JSONResponse:
    return _line(409, str(error))


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    """The first mistake, by its place; what was sent is not repeated."""
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": "invalid"}
    place = ".".join(str(part) for part in first["loc"])[:100]
    return _line(422, f"{place}: {first['msg']}")


async def _http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        return _line(500, INTERNAL)
    known = {404: "there is nothing at this address", 405: f"{request.method} is not understood at this address"}
    line = known.get(error.status_code, str(error.detail))
    return _line(error.status_code, line, dict(error.headers or {}))


async def _unexpected(_: Request, __: Exception) -> JSONResponse:
    """It is raised again all the same, and logged by the guard."""
    return _line(500, INTERNAL)
