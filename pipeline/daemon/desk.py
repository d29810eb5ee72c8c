"""What the daemon can be asked for: by the API (names only), and by this user's own commands through the run directory (configs too)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.clock import Clock
from pipeline.daemon.catalog import Catalog
from pipeline.daemon.feed import about_session
from pipeline.daemon.opening import (
    Opened,
    Wish,
    begin_to_record,
    checked_name,
    close_session,
    end_to_record,
    free_name,
    given_config,
    open_session,
    recorded_plan,
    told,
)
from pipeline.daemon.recordings import named, replay_wish
from pipeline.mask import mask
from pipeline.plan import Plan
from pipeline.runtime.desk import change
from pipeline.runtime.keeper import Keeper
from pipeline.runtime.requests import Refused, answer, asked
from pipeline.session.layout import Recording
from pipeline.session.purge import purge

if TYPE_CHECKING:
    from pipeline.runtime.supervisor import Supervisor

CONFLICT, BUSY = 409, 503
ENGINE_NS = 1_000_000_000


class Api(Protocol):
    """Who stands between the network and us; `pipeline.daemon.api_keeper.ApiKeeper` is one."""

    @property
    def address(self) -> str: ...

    @property
    def restarts(self) -> int: ...

    def tell(self, message: dict[str, Any]) -> None: ...

    def asked(self) -> Iterator[dict[str, Any]]: ...

    def close(self) -> None: ...


Reply = Callable[..., None]
"""reply(done="a line", values={...}) or reply(refused="a line", status=409)."""


@dataclass(slots=True)
class _Being:
    """A session that is being opened, for whoever waits for the answer."""

    name: str
    future: Future[Opened]
    reply: Reply


class ServiceDesk:
    """folder: the run directory. recordings: where what is recorded from the page lies."""

    def __init__(self, catalog: Catalog, folder: Path, recordings: Path, api: Api, clock: Clock) -> None:
        self._catalog, self._folder, self._recordings, self._api, self._clock = catalog, folder, recordings, api, clock
        self._pool = ThreadPoolExecutor(1)
        self._being: list[_Being] = []
        self._open: dict[str, Opened] = {}
        self._waiting: dict[str, Reply] = {}
        self._recordings_due: list[tuple[str, Future[Recording | None], Reply]] = []
        self._told_ns = -ENGINE_NS
        self._told: dict[str, Any] = {}

    # -- what a Desk does

    def turn(self, supervisor: Supervisor) -> None:
        for message in self._api.asked():
            self._heed(supervisor, message.get("ask"), partial(self._to_api, message.get("id")), trusted=False)
        for path, request in asked(self._folder):
            self._heed(supervisor, request, partial(_to_file, path), trusted=True)
        self._start_those_open(supervisor)
        self._record_those_ready(supervisor)
        self._tell_engine(supervisor)

    def answered(self, session: str, why: str | None) -> None:
        reply = self._waiting.pop(session, None)
        if why is not None and session in self._open:
            self._end(session, why, 1)
        if reply is not None:
            reply(refused=why, status=BUSY) if why is not None else reply(done=f"{session} is started", values={"session": session})

    def over(self, keeper: Keeper) -> None:
        failure = keeper.failure
        self._end(keeper.session, "" if failure is None else failure.text, 0 if failure is None else failure.exit_code)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        for name in list(self._open):
            self._end(name, "the daemon ends", 0)
        self._api.close()

    def again(self) -> Iterator[dict[str, Any]]:
        """All that a new API process needs to know."""
        yield from ({"type": "engine", **self._told},) if self._told else ()
        for opened in list(self._open.values()):
            yield from opened.feed.again()

    # -- requests

    def _heed(self, supervisor: Supervisor, request: object, reply: Reply, *, trusted: bool) -> None:
        try:
            self._do(supervisor, request, reply, trusted=trusted)
        except Exception as error:  # noqa: BLE001 - the daemon's edge: one request must not end the sessions of others
            reply(refused=told(error), status=CONFLICT)

    def _do(self, supervisor: Supervisor, request: object, reply: Reply, *, trusted: bool) -> None:
        match request:
            case {"start": {"config": dict(values), **rest}} if trusted:
                given = given_config(values)
                self._begin(supervisor, Wish(config=given, config_name=given.session or "", **_wished(_named(rest))), reply)
            case {"start": {"config": str(name), **rest}}:
                self._begin(supervisor, Wish(config=self._catalog.config(name), config_name=name, **_wished(_named(rest))), reply)
            case {"replay": {"recording": str(name), **rest}}:
                self._begin(supervisor, replay_wish(named(self._recordings, name), _named(rest)), reply)
            case {"stop": {"session": str(name)}}:
                supervisor.stop(self._running(supervisor, name).session)
                reply(done=f"{name} is being stopped")
            case {"detach": {"session": str(name), "sources": list(sources)}}:
                self._change(supervisor, name, {"detach": sources}, reply)
            case {"attach": {"session": str(name), "preset": str(preset)}}:
                config = self._catalog.config(preset).model_dump(
                    mode="json", include={"sources", "inputs", "transforms"}, exclude_unset=True
                )
                self._change(supervisor, name, {"attach": config}, reply)
            case {"attach": {"session": str(name), "given": dict(more)}} if trusted:
                self._change(supervisor, name, {"attach": more}, reply)
            case {"record": {"session": str(name), "on": bool(on)}}:
                self._record(self._running(supervisor, name), on, reply)
            case {"purge": {"recording": str(name)}}:
                reply(done=str(purged := purge(named(self._recordings, name))), values=asdict(purged))
            case {"configs": _}:
                reply(done="", values={"configs": [asdict(offer) for offer in self._catalog.offers()]})
            case {"presets": _}:
                reply(done="", values={"presets": [asdict(offer) for offer in self._catalog.offers() if offer.live]})
            case {"shutdown": _}:
                reply(done="the daemon ends")
                supervisor.stop_all()
            case _:
                raise Refused("this is no request")

    def _preset(self, name: str) -> dict[str, Any]:
        parts = {"sources", "inputs", "transforms"}
        return self._catalog.config(name).model_dump(mode="json", include=parts, exclude_unset=True)

    def _running(self, supervisor: Supervisor, name: str) -> Keeper:
        if name not in supervisor.sessions:
            raise Refused(f"no session {name!r} runs (running: {', '.join(supervisor.sessions) or 'none'})")
        return supervisor.sessions[name]

    def _begin(self, supervisor: Supervisor, wish: Wish, reply: Reply) -> None:
        taken = {*supervisor.sessions, *(being.name for being in self._being)}
        name = free_name(wish.session or wish.config.session or "session", taken, exactly=wish.session is not None)
        future = self._pool.submit(open_session, wish, name, self._recordings, self._clock, self._api.tell)
        self._being.append(_Being(name, future, reply))

    def _start_those_open(self, supervisor: Supervisor) -> None:
        done, self._being = [b for b in self._being if b.future.done()], [b for b in self._being if not b.future.done()]
        for being in done:
            try:
                opened = being.future.result()
            except Exception as error:  # noqa: BLE001 - as above
                being.reply(refused=told(error), status=CONFLICT)
                continue
            self._open[being.name] = opened
            self._waiting[being.name] = being.reply
            for note in opened.notes:
                opened.keeper.tell(f"note: {note}")
            supervisor.start(opened.keeper)

    def _change(self, supervisor: Supervisor, name: str, request: Mapping[str, Any], reply: Reply) -> None:
        keeper = self._running(supervisor, name)
        done = change(supervisor, keeper, request)
        if isinstance(keeper.plan, Plan) and name in self._open:
            about = about_session(keeper.plan)
            self._open[name].feed.change({key: about[key] for key in ("sources", "live")})
        reply(done=done)

    def _record(self, keeper: Keeper, on: bool, reply: Reply) -> None:
        opened = self._open[keeper.session]
        if on == (opened.recorder is not None):
            raise Refused(f"{keeper.session} is {'recorded already' if on else 'not recorded'}")
        if not isinstance(keeper.plan, Plan) or keeper.plan.replay is not None or not keeper.begun:
            raise Refused(f"{keeper.session} cannot be recorded just now")
        plan = recorded_plan(keeper.plan, self._recordings)
        future = self._pool.submit(begin_to_record, opened, plan, self._clock) if on else self._pool.submit(end_to_record, opened)
        self._recordings_due.append((keeper.session, future, reply))

    def _record_those_ready(self, supervisor: Supervisor) -> None:
        done = [due for due in self._recordings_due if due[1].done()]
        self._recordings_due = [due for due in self._recordings_due if due not in done]
        for name, future, reply in done:
            try:
                recording = future.result()
            except Exception as error:  # noqa: BLE001 - as above
                reply(refused=told(error), status=CONFLICT)
                continue
            if name in supervisor.sessions:
                supervisor.record(supervisor.sessions[name], recording)
            folder = "" if recording is None else Path(recording.folder).name
            reply(done=f"{name} is recorded to {folder}" if folder else f"{name} is not recorded any more", values={"recording": folder})

    # -- out

    def _end(self, session: str, why: str, exit_code: int) -> None:
        opened = self._open.pop(session, None)
        if opened is not None:
            close_session(opened)
            self._api.tell({"type": "gone", "session": session, "why": mask(why), "exit_code": exit_code})

    def _tell_engine(self, supervisor: Supervisor) -> None:
        now_ns, child = self._clock.now_ns(), supervisor.engine.child
        state = "running" if child.state == "running" else "starting" if child.state == "opening" and not child.restarts else "down"
        facts = {"state": state, "restarts": child.restarts, "why": mask(child.why), "api_restarts": self._api.restarts}
        if now_ns - self._told_ns >= ENGINE_NS or any(self._told.get(key) != value for key, value in facts.items()):
            self._told_ns, self._told = now_ns, {**supervisor.figures, **facts}
            self._api.tell({"type": "engine", **self._told})

    def _to_api(self, number: object, **values: Any) -> None:  # noqa: ANN401 - plain values
        if values.get("refused") is not None:
            values["refused"] = mask(values["refused"])
        self._api.tell({"type": "answer", "id": number, **values})


def _to_file(path: Path, **values: Any) -> None:  # noqa: ANN401 - plain values
    lines = {key: mask(str(values[key])) for key in ("done", "refused") if values.get(key) is not None}
    answer(path, **lines)


def _wished(rest: Mapping[str, Any]) -> dict[str, Any]:
    """Raises Refused for what nobody may ask for."""
    session, record = rest.get("session"), rest.get("record", False)
    unknown = sorted(rest.keys() - {"session", "record"})
    if unknown or not isinstance(record, bool) or not (session is None or isinstance(session, str)):
        raise Refused(f"config, session and record are what a session is started with{f', not {unknown[0]}' if unknown else ''}")
    return {"session": checked_name(session), "record": record}


def _named(values: Mapping[object, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in values.items()}
