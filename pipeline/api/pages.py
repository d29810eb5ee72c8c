"""The dashboard's files, and the way in for a browser."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse

from pipeline.api.house import House
from pipeline.api.hub import Refused

ENTER = Path(__file__).parent / "enter.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
}


def routes(house: House) -> APIRouter:
    router = APIRouter(include_in_schema=False)
    door = ENTER.read_text("utf-8")
    style = re.search(r"<style>(.*?)</style>", door, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256((style[1] if style else "").encode()).digest()).decode()
    closed = {"content-security-policy": f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; frame-ancestors 'none'"}

    def answer(status: int, line: str) -> Response:
        return HTMLResponse(door.replace("LINE", line), status, headers=closed)

    @router.get("/")
    async def page(request: Request) -> Response:
        if not request.scope.get("sensorium.way"):
            return answer(401, "This page is for whoever started the daemon.")
        return _file(house.page, "index.html")

    @router.get("/enter")
    async def enter(code: Annotated[str, Query(max_length=128)] = "") -> Response:
        line = house.auth.enter(code)
        if line is None:
            return answer(401, "This code is not good, or not any more: each is good for one use within ten minutes.")
        return RedirectResponse("/", 303, headers={"set-cookie": line})

    @router.get("/{name:path}")
    async def file(name: str) -> Response:
        return _file(house.page, name)

    return router


def _file(folder: Path, name: str) -> Response:
    """One of the files that lie there; the name is looked up among theirs, so it cannot lead elsewhere. Raises Refused."""
    path = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}.get(name)
    if path is None or path.suffix not in TYPES:
        raise Refused("there is nothing at this address", 404)
    return FileResponse(path, media_type=TYPES[path.suffix], headers={"cache-control": "no-cache"})
