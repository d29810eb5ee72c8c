"""Sessions: which run, start and stop, record, attach and detach, text and a browser's offer."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from pipeline.api import doors
from pipeline.api.answers import Attach, Configs, Detach, Done, Presets, Problem, Record, SendText, SessionFacts, Start
from pipeline.api.house import House
from pipeline.api.hub import Refused
from pipeline.api.patience import ASK_S

NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem}}
REFUSED: dict[int | str, dict[str, Any]] = {**NOT_FOUND, 409: {"model": Problem}, 503: {"model": Problem}}


def routes(house: House) -> APIRouter:
    router = APIRouter(tags=["sessions"])
    hub = house.hub

    async def ask(kind: str, values: dict[str, Any]) -> dict[str, Any]:
        return await hub.ask({kind: values}, ASK_S)

    @router.get("/api/configs", summary="What may be started")
    async def configs() -> Configs:
        return Configs.model_validate((await ask("configs", {})).get("values", {}))

    @router.get("/api/presets", summary="What may be attached to a running session")
    async def presets() -> Presets:
        return Presets.model_validate((await ask("presets", {})).get("values", {}))

    @router.get("/api/sessions", summary="The sessions that run, and the last ones that have ended")
    async def sessions() -> list[SessionFacts]:
        return [SessionFacts.model_validate(facts) for facts in hub.listed()]

    @router.post("/api/sessions", status_code=201, summary="Start one", responses={409: {"model": Problem}, 503: {"model": Problem}})
    async def start(start: Start) -> Done:
        """409: there is one of that name, or no such config. 503: it would break the deadlines of the others; the line has the figure."""
        asked: dict[str, Any] = {"config": start.config, "session": start.session, "record": start.record}
        return _done(await ask("start", asked))

    @router.get("/api/sessions/{session}", summary="One session", responses=NOT_FOUND)
    async def one(session: str) -> SessionFacts:
        return SessionFacts.model_validate(house.session(session).facts())

    @router.delete("/api/sessions/{session}", summary="Stop it", responses=REFUSED)
    async def stop(session: str) -> Done:
        house.session(session, running=True)
        return _done(await ask("stop", {"session": session}))

    @router.post("/api/sessions/{session}/record", summary="Begin or end its recording", responses=REFUSED)
    async def record(session: str, record: Record) -> Done:
        house.session(session, running=True)
        return _done(await ask("record", {"session": session, "on": record.on}))

    @router.post("/api/sessions/{session}/detach", summary="Take sources away; their inputs are masked from then on", responses=REFUSED)
    async def detach(session: str, detach: Detach) -> Done:
        house.session(session, running=True)
        return _done(await ask("detach", {"session": session, "sources": detach.sources}))

    @router.post("/api/sessions/{session}/attach", summary="Add the sources of a preset", responses=REFUSED)
    async def attach(session: str, attach: Attach) -> Done:
        house.session(session, running=True)
        return _done(await ask("attach", {"session": session, "preset": attach.preset}))

    @router.post("/api/sessions/{session}/text", summary="Say something to it", responses=REFUSED)
    async def text(session: str, text: SendText) -> Done:
        source, address = doors.door(house.session(session, running=True), "text", text.source)
        await doors.send_text(address, text.text, house.service.limits.seconds)
        return Done(done=f"{source} has it")

    sdp = {"requestBody": {"required": True, "content": {"application/sdp": {"schema": {"type": "string"}}}}}

    @router.post(
        "/api/sessions/{session}/offer",
        summary="A browser offers its camera and microphone (WebRTC)",
        responses={**REFUSED, 201: {"content": {"application/sdp": {}}, "description": "the answer's SDP"}},
        response_class=Response,
        status_code=201,
        openapi_extra=sdp,
    )
    async def offer(session: str, request: Request, source: Annotated[str | None, Query(max_length=64)] = None) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/sdp":
            raise Refused("Content-Type: application/sdp wanted", 415)
        _, address = doors.door(house.session(session, running=True), "offer", source)
        answer = await doors.offer(address, await request.body(), house.service.limits.seconds)
        return Response(answer, 201, media_type="application/sdp")

    return router


def _done(answer: dict[str, Any]) -> Done:
    return Done(done=str(answer.get("done", "")), **dict(answer.get("values") or {}))
