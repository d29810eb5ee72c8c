"""Recorded sessions: what there is, and looks into them. Read-only; deleting and replaying is asked of the supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Response

from pipeline.api import shelf
from pipeline.api.answers import Decisions, Done, Levels, Problem, Recording, Replay, Texts
from pipeline.api.house import House
from pipeline.api.hub import Refused
from pipeline.api.patience import ASK_S

NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem}}
MOST = 10_000
THREADS, MOST_WAITING = 2, 16
T = TypeVar("T")
Ns = Annotated[int, Query(ge=0, le=1 << 62)]
End = Annotated[int | None, Query(ge=0, le=1 << 62)]
Stream = Annotated[str | None, Query(max_length=130, description="SOURCE.STREAM; default: the first of its kind")]


class Desk:
    """Where files are read and pictures decoded: few threads, and not too many that wait for them."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, "recordings")
        self._under_way = 0

    async def do(self, work: Callable[[], T]) -> T:
        if self._under_way >= MOST_WAITING:
            raise Refused("too many looks into recordings at a time; try again", 503)
        self._under_way += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        future.add_done_callback(self._done)
        return await asyncio.shield(future)

    def _done(self, _: object) -> None:
        self._under_way -= 1


def routes(house: House) -> APIRouter:
    router = APIRouter(tags=["recordings"])
    store, desk = shelf.Shelf(house.recordings), Desk()

    @router.get("/api/recordings", summary="What was recorded")
    async def every() -> list[Recording]:
        return await desk.do(lambda: [store.about(name) for name in store.names()])

    @router.get("/api/recordings/{recording}", summary="One recording", responses=NOT_FOUND)
    async def one(recording: str) -> Recording:
        return await desk.do(lambda: store.about(recording))

    @router.delete("/api/recordings/{recording}", summary="Delete it altogether; the answer says what is gone", responses=NOT_FOUND)
    async def purge(recording: str) -> Done:
        await desk.do(lambda: store.about(recording))
        answer = await house.hub.ask({"purge": {"recording": recording}}, ASK_S)
        return Done(done=str(answer.get("done", "")), **dict(answer.get("values") or {}))

    @router.post("/api/recordings/{recording}/replay", status_code=201, summary="Replay it as a session", responses=NOT_FOUND)
    async def replay(recording: str, replay: Replay) -> Done:
        await desk.do(lambda: store.open(recording))
        answer = await house.hub.ask({"replay": {"recording": recording, **replay.model_dump()}}, ASK_S)
        return Done(done=str(answer.get("done", "")), **dict(answer.get("values") or {}))

    @router.get("/api/recordings/{recording}/decisions", summary="Its decisions in a span", responses=NOT_FOUND)
    async def decisions(
        recording: str, from_ns: Ns = 0, to_ns: End = None, limit: Annotated[int, Query(ge=1, le=MOST)] = MOST
    ) -> Decisions:
        return Decisions(decisions=await desk.do(lambda: shelf.decisions(store.open(recording), from_ns, to_ns, limit)), known=True)

    jpeg: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}, "description": "X-At-Ns: when it begins"}}
    jpeg[204] = {"description": "nothing was seen at that time"}

    @router.get(
        "/api/recordings/{recording}/picture",
        summary="What was seen at a time (JPEG)",
        responses={**NOT_FOUND, **jpeg},
        response_class=Response,
    )
    async def picture(recording: str, at_ns: Ns, stream: Stream = None) -> Response:
        def look() -> tuple[int, bytes] | None:
            session = store.open(recording)
            return shelf.picture(session, shelf.stream_of(session, "video", stream), at_ns)

        seen = await desk.do(look)
        if seen is None:
            return Response(status_code=204)
        start_ns, data = seen
        return Response(data, media_type="image/jpeg", headers={"x-at-ns": str(start_ns)})

    @router.get("/api/recordings/{recording}/level", summary="How loud it was in a span", responses=NOT_FOUND)
    async def level(recording: str, from_ns: Ns, to_ns: Ns, stream: Stream = None) -> Levels:
        def listen() -> Levels:
            session = store.open(recording)
            name = shelf.stream_of(session, "audio", stream)
            return Levels(stream=name, levels=shelf.levels(session, name, from_ns, to_ns))

        return await desk.do(listen)

    @router.get("/api/recordings/{recording}/text", summary="What was said in a span", responses=NOT_FOUND)
    async def text(recording: str, from_ns: Ns = 0, to_ns: End = None, stream: Stream = None) -> Texts:
        def read() -> Texts:
            session = store.open(recording)
            name = shelf.stream_of(session, "text", stream)
            return Texts(stream=name, texts=shelf.texts(session, name, from_ns, to_ns, MOST))

        return await desk.do(read)

    return router
