"""What the daemon can be asked for: by the API (names only), and by this user's own commands through the run directory (configs too)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.clock import Clock
from pipeline.daemon.asides import BUSY, CONFLICT, ENDS, Asides, Reply
from pipeline.daemon.catalog import Catalog, Offer
from pipeline.daemon.feed import SessionLog, about_session
from pipeline.daemon.opening import (
    Opened,
    Wish,
    begin_to_record,
    checked_name,
    close_session,
    end_to_record,
    free_name,
    given_config,
    new_recorder,
    open_session,
    recorded_plan,
    told,
)
from pipeline.daemon.recordings import named, replay_wish
from pipeline.mask import mask
from pipeline.plan import Plan
from pipeline.ports import Sink
from pipeline.runtime.desk import change
from pipeline.runtime.keeper import Keeper
from pipeline.runtime.requests import Refused, answer, asked
from pipeline.session.layout import Recording
from pipeline.session.purge import purge
from pipeline.session.runlog import RunRecorder
from pipeline.traces import Traces

if TYPE_CHECKING:
    from pipeline.runtime.supervisor import Supervisor

MOST_AGAIN = 10_000
"""So many decisions of all sessions are told again to a new API process: more than it takes in would push out the first ones."""
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


class ServiceDesk:
    """folder: the run directory. recordings: where what is recorded from the page lies."""

    def __init__(self, catalog: Catalog, folder: Path, recordings: Path, api: Api, clock: Clock, traces: Traces | None = None) -> None:
        self._traces = traces
        self._catalog, self._folder, self._recordings, self._api, self._clock = catalog, folder, recordings, api, clock
        self._asides = Asides()
        self._open: dict[str, Opened] = {}
        self._waiting: dict[str, Reply] = {}
        self._told_ns = -ENGINE_NS
        self._told: dict[str, Any] = {}

    # -- what a Desk does

    def turn(self, supervisor: Supervisor) -> None:
        for message in self._api.asked():
            self._heed(supervisor, message.get("ask"), partial(self._to_api, message.get("id")), trusted=False)
        for path, request in asked(self._folder):
            self._heed(supervisor, request, partial(_to_file, path), trusted=True)
        self._asides.turn()
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
        if (reply := self._waiting.pop(keeper.session, None)) is not None:
            reply(refused=f"{keeper.session} has ended before it began" if failure is None else failure.text, status=CONFLICT)

    def close(self) -> None:
        for name in list(self._open):
            self._end(name, ENDS, 0)
        self._asides.close()
        self._api.close()

    def again(self) -> Iterator[dict[str, Any]]:
        """All that a new API process needs to know."""
        yield from ({"type": "engine", **self._told},) if self._told else ()
        for opened in list(self._open.values()):
            yield from opened.feed.again(MOST_AGAIN // len(self._open))

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
                parts = {"sources", "inputs", "transforms"}
                config = self._catalog.config(preset).model_dump(mode="json", include=parts, exclude_unset=True)
                self._change(supervisor, name, {"attach": config}, reply)
            case {"attach": {"session": str(name), "given": dict(more)}} if trusted:
                self._change(supervisor, name, {"attach": more}, reply)
            case {"record": {"session": str(name), "on": bool(on)}}:
                self._record(supervisor, self._running(supervisor, name), on, reply)
            case {"purge": {"recording": str(name)}}:
                self._asides.put(lambda: self._purge(name), lambda purged: reply(**purged), reply)
            case {"configs": _}:
                self._list("configs", lambda offer: True, reply)
            case {"presets": _}:
                self._list("presets", lambda offer: offer.live, reply)
            case {"shutdown": _}:
                reply(done="the daemon ends")
                supervisor.stop_all()
            case _:
                raise Refused("this is no request")

    def _list(self, what: str, wanted: Callable[[Offer], bool], reply: Reply) -> None:
        def then(offers: list[Offer]) -> None:
            reply(done="", values={what: [asdict(offer) for offer in offers if wanted(offer)]})

        self._asides.put(self._catalog.offers, then, reply)

    def _purge(self, name: str) -> dict[str, Any]:
        purged = purge(named(self._recordings, name))
        return {"done": str(purged), "values": asdict(purged)}

    def _running(self, supervisor: Supervisor, name: str) -> Keeper:
        if name not in supervisor.sessions:
            raise Refused(f"no session {name!r} runs (running: {', '.join(supervisor.sessions) or 'none'})")
        return supervisor.sessions[name]

    def _begin(self, supervisor: Supervisor, wish: Wish, reply: Reply) -> None:
        taken = {*supervisor.sessions, *self._asides.under_way()}
        name = free_name(wish.session or wish.called, taken, exactly=wish.session is not None)
        work = partial(open_session, wish, name, self._recordings, self._clock, self._api.tell, self._watchers)
        self._asides.put(work, lambda opened: self._start(supervisor, opened, reply), reply, self._too_late, about=name)

    def _too_late(self, opened: Opened) -> None:
        self._gone(opened.keeper.session, ENDS, 0)
        close_session(opened)

    def _start(self, supervisor: Supervisor, opened: Opened, reply: Reply) -> None:
        self._open[opened.keeper.session] = opened
        self._waiting[opened.keeper.session] = reply
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

    def _record(self, supervisor: Supervisor, keeper: Keeper, on: bool, reply: Reply) -> None:
        opened = self._open[keeper.session]
        about = f"the recording of {keeper.session}"
        if about in self._asides.under_way():
            raise Refused(f"{about} is being begun or ended; try again")
        if on == (opened.recorder is not None):
            raise Refused(f"{keeper.session} is {'recorded already' if on else 'not recorded'}")
        if not isinstance(keeper.plan, Plan) or keeper.plan.replay is not None or not keeper.begun:
            raise Refused(f"{keeper.session} cannot be recorded just now")
        if on:
            work = partial(new_recorder, opened, recorded_plan(keeper.plan, self._recordings), self._clock)
            self._asides.put(work, partial(self._begin_recording, supervisor, opened, reply), reply, lambda new: new[0].close(), about)
            return
        recorder = end_to_record(opened)
        supervisor.record(keeper, None)
        done = {"done": f"{keeper.session} is not recorded any more", "values": {"recording": ""}}
        if recorder is not None:
            self._asides.put(recorder.close, lambda _: reply(**done), reply, about=about, must=True)

    def _begin_recording(self, supervisor: Supervisor, opened: Opened, reply: Reply, new: tuple[RunRecorder, Recording]) -> None:
        recorder, recording = new
        name = opened.keeper.session
        if self._open.get(name) is not opened:
            recorder.close()
            raise Refused(f"{name} has ended meanwhile")
        begin_to_record(opened, recorder, recording)
        supervisor.record(opened.keeper, recording)
        folder = Path(recording.folder).name
        reply(done=f"{name} is recorded to {folder}", values={"recording": folder})

    def _watchers(self, plan: Plan, name: str) -> list[Sink]:
        lag_ns = plan.model.spec.window.lag_ms * 1_000_000
        return [SessionLog(name), *([] if self._traces is None else [self._traces.sink(lag_ns)])]

    # -- out

    def _end(self, session: str, why: str, exit_code: int) -> None:
        opened = self._open.pop(session, None)
        if opened is not None:
            gone = partial(self._gone, session, why, exit_code)
            self._asides.put(partial(close_session, opened), lambda _: gone(), gone, about=session, must=True)

    def _gone(self, session: str, why: str, exit_code: int, refused: str = "", **_: object) -> None:
        """refused: why it could not be closed as it should: a file's, and so this session's only."""
        failed = refused and refused != ENDS
        self._api.tell({"type": "gone", "session": session, "why": mask(why or refused), "exit_code": exit_code or int(bool(failed))})

    def _tell_engine(self, supervisor: Supervisor) -> None:
        now_ns, child = self._clock.now_ns(), supervisor.engine.child
        state = "running" if child.state == "running" else "starting" if child.state == "opening" and not child.restarts else "down"
        traces = {} if self._traces is None else {"traces": self._traces.counts()}
        facts = {"state": state, "restarts": child.restarts, "why": mask(child.why), "api_restarts": self._api.restarts}
        if now_ns - self._told_ns >= ENGINE_NS or any(self._told.get(key) != value for key, value in facts.items()):
            self._told_ns, self._told = now_ns, {**supervisor.figures, **traces, **facts}
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
