"""From a request to a session that can be started: its plan checked, its sinks open, its recording begun. May take a second."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
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
from pipeline.session.layout import Recording

NAMES = 1000
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


@dataclass(slots=True)
class Opened:
    """A session that waits to be started. closing: its sinks, in the order that they are closed in."""

    keeper: Keeper
    feed: SessionFeed
    closing: ExitStack
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to run. session: its name, None: the config's. config_name: what it is called on the page. replay: of which recording."""

    config: Config
    session: str | None = None
    config_name: str = ""
    replay: str = ""
    record: bool = False


def open_session(wish: Wish, name: str, recordings: Path, clock: Clock, tell: Tell) -> Opened:
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
        recording = _begin_recording(plan)
        folder = "" if recording is None else Path(recording.folder).name
        about = about_session(plan, config=wish.config_name, recording=folder, since=wall_utc(), replay=wish.replay)
        feed = SessionFeed(name, about, tell)
        keeping = [feed, *sinks] if recording is None else [_recorder(plan, recording, [feed, *sinks], clock, stack)]
        keeper = Keeper(plan, keeping, clock, recording, session=name)
        return Opened(keeper, feed, stack.pop_all(), notes)


def _recorded(config: Config, recordings: Path) -> Config:
    """Where the config does not say where it is recorded to, the service does."""
    return config if config.record is not None else config.model_copy(update={"record": Record(folder=str(recordings))})


def _begin_recording(plan: Plan) -> Recording | None:
    if plan.config.record is None or plan.replay is not None:
        return None
    from pipeline.session.begin import begin_recording

    return begin_recording(plan)


def _recorder(plan: Plan, recording: Recording, sinks: Sequence[Sink], clock: Clock, stack: ExitStack) -> Sink:
    from pipeline.session.begin import retention_of
    from pipeline.session.runlog import RunRecorder

    keeper = RunRecorder(recording, sinks, clock, retention=retention_of(plan))
    stack.callback(keeper.close)
    return keeper


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


def told(error: SensoriumError) -> str:
    """One line."""
    return " ".join(str(error).split())
