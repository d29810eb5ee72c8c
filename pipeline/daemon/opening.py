"""From a request to a session that can be started: its plan checked, its sinks open, its recording begun. May take a second."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from operators.errors import SensoriumError
from pipeline.check import check_plan
from pipeline.clock import Clock, wall_utc
from pipeline.config import Config, Record
from pipeline.daemon.feed import SessionFeed, Tell, about_session
from pipeline.plan import Plan, build_plan
from pipeline.ports import Sink
from pipeline.runtime.keeper import Keeper
from pipeline.runtime.requests import Refused
from pipeline.session.begin import begin_recording, retention_of
from pipeline.session.layout import Recording
from pipeline.session.runlog import RunRecorder

NAMES = 1000
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


@dataclass(slots=True)
class Opened:
    """A session that waits to be started, or runs. sinks: the feed and the config's; closing: closes the latter."""

    keeper: Keeper
    feed: SessionFeed
    sinks: Sequence[Sink]
    closing: ExitStack
    notes: list[str] = field(default_factory=list)
    recorder: RunRecorder | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to run. session: its name, None: the config's. config_name: what it is called on the page. replay: of which recording."""

    config: Config
    session: str | None = None
    config_name: str = ""
    replay: str = ""
    record: bool = False

    @property
    def called(self) -> str:
        """Its name where nobody asked for one; a number may follow."""
        name = f"replay-{self.replay}" if self.replay else self.config.session or "session"
        return re.sub(r"[^A-Za-z0-9._-]", "-", name)[:60]


Watchers = Callable[[Plan, str], Sequence[Sink]]
"""What else is told of every session: its log, its traces. They are the daemon's, and not closed with a session."""


def open_session(wish: Wish, name: str, recordings: Path, clock: Clock, tell: Tell, watchers: Watchers = lambda plan, name: ()) -> Opened:
    """name: free, and kept for it. Raises SensoriumError; then nothing is left open."""
    config = _recorded(wish.config, recordings) if wish.record else wish.config
    if config.run.runner == "inline":
        raise config.error(("run", "runner"), "inline is for one session in the foreground", "use ray, or run it without --daemon")
    if wish.replay == "" and config.session != name:
        config = config.model_copy(update={"session": name})
    plan = build_plan(config)
    notes = list(check_plan(plan, engines=False).notes) if plan.replay is None else []
    with ExitStack() as stack:
        sinks: list[Sink] = []
        for sink in plan.make_sinks():
            stack.callback(sink.close)
            sinks.append(sink)
        about = about_session(plan, config=wish.config_name, since=wall_utc(), replay=wish.replay)
        feed = SessionFeed(name, about, tell)
        told = [feed, *watchers(plan, name), *sinks]
        keeper = Keeper(plan, told, clock, session=name)
        opened = Opened(keeper, feed, told, stack, notes)
        if plan.config.record is not None and plan.replay is None:
            begin_to_record(opened, *new_recorder(opened, plan, clock))
        else:
            feed.change({})
        opened.closing = stack.pop_all()
        return opened


def new_recorder(opened: Opened, plan: Plan, clock: Clock) -> tuple[RunRecorder, Recording]:
    """Which tells the session's sinks what it is told; it is to be used, or closed. plan: with `record`. Raises ConfigError."""
    recording = begin_recording(plan)
    return RunRecorder(recording, opened.sinks, clock, retention=retention_of(plan)), recording


def begin_to_record(opened: Opened, recorder: RunRecorder, recording: Recording) -> None:
    """From now on at the keeper; its actors are to be told. In the thread that the keeper is in."""
    if opened.keeper.last is not None:
        recorder.join(opened.keeper.last)
    opened.recorder, opened.keeper.sinks, opened.keeper.recording = recorder, [recorder], recording
    opened.feed.change({"recording": Path(recording.folder).name})


def end_to_record(opened: Opened) -> RunRecorder | None:
    """At the keeper: the session goes on without. Gives what is to be closed. In the thread that the keeper is in."""
    recorder, opened.recorder = opened.recorder, None
    opened.keeper.sinks, opened.keeper.recording = opened.sinks, None
    opened.feed.change({"recording": ""})
    if recorder is not None and opened.keeper.last is not None:
        recorder.leave(opened.keeper.last)
    return recorder


def close_session(opened: Opened) -> None:
    """Whatever is open of it, once it is over. Raises the last of what sinks raise; all are closed all the same."""
    with opened.closing:
        if opened.recorder is not None:
            opened.recorder.close()


def _recorded(config: Config, recordings: Path) -> Config:
    """Where the config does not say where it is recorded to, the service does."""
    return config if config.record is not None else config.model_copy(update={"record": Record(folder=str(recordings))})


def recorded_plan(plan: Plan, recordings: Path) -> Plan:
    """The same, recorded to where its config says, or else the service."""
    return replace(plan, config=_recorded(plan.config, recordings))


def checked_name(name: str | None) -> str | None:
    """Raises Refused for what cannot be a session's name."""
    if name is not None and not _NAME.fullmatch(name):
        raise Refused("a session's name has letters, digits, dots, dashes and underscores, at most 64")
    return name


def free_name(wanted: str, taken: set[str], *, exactly: bool) -> str:
    """wanted, or wanted-2, wanted-3 ... Raises Refused where it must be this one and it is taken."""
    if wanted not in taken:
        return wanted
    if exactly:
        raise Refused(f"a session named {wanted!r} runs already")
    return next(name for number in range(2, NAMES) if (name := f"{wanted[:58]}-{number}") not in taken)


def given_config(values: Any) -> Config:  # noqa: ANN401 - what came from the run directory
    """A config that another process of this user has checked and dumped. Raises Refused."""
    try:
        return Config.model_validate_json(json.dumps(values))
    except ValueError:
        raise Refused("this is no config") from None


def told(error: Exception) -> str:
    """One line for whoever asked; a mistake of ours is also logged in full."""
    if isinstance(error, SensoriumError):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    logging.getLogger("sensorium.daemon").error("a request failed", exc_info=error)
    return f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"
