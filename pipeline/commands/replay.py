"""`sensorium replay`: a recorded session once more, as it happened, or as it would have been."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal

from operators.decision import Decision
from operators.errors import ConfigError, SensoriumError, SessionError
from pipeline.cli import say
from pipeline.clock import Clock, FakeClock, SystemClock
from pipeline.commands.run import View, opened_sinks
from pipeline.commands.stopping import Stopping
from pipeline.commands.verdict import tell_difference, verify, verifying, wanted
from pipeline.config import Config, parse_duration
from pipeline.model import Model, load_model
from pipeline.plan import Plan, build_plan
from pipeline.ports import Sink, Status
from pipeline.session.compare import compare
from pipeline.session.labels import labels_path
from pipeline.session.preparation import fed_by, fits
from pipeline.session.read import Session

RECORDED = "pipeline.sources.session:Recorded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was typed. Paths are relative to the working directory."""

    session: str
    speed: str | None = None
    start: str | None = None
    end: str | None = None
    step: bool = False
    loop: bool = False
    ideal: bool = False
    model: str | None = None
    verify: bool = False
    truth: str | None = None
    runner: Literal["inline", "ray"] = "inline"
    out: str | None = None


def replay_session(asked: Asked, *, view: View, begun_ns: int, stopping: Stopping) -> int:
    """Gives the exit code: 0, or 1 where --verify found a difference. Raises SessionError, ConfigError, EngineMismatch."""
    session = Session.open(asked.session)
    plan, model, clock = replay_plan(session, asked)
    kept = Kept()
    with opened_sinks(plan, view=view, begun_ns=begun_ns) if not asked.verify else verifying(plan) as sinks:
        for _ in count() if asked.loop else range(1):
            _run(plan, [*sinks, kept, *([Step(stopping)] if asked.step else [])], clock, stopping, asked.runner)
            if stopping():
                break
    for file, why in session.faults.found.items():
        say(f"note: {Path(file).name} is damaged: {why}")
    if asked.verify:
        return verify(session, plan, model, kept.decisions)
    if asked.model is not None and session.manifest.model is not None:
        tell_difference(compare(wanted(session, plan), kept.decisions, across_models=True))
    return 0


def replay_plan(session: Session, asked: Asked) -> tuple[Plan, Model, Clock]:
    """What replays the session as asked. Raises SessionError, ConfigError."""
    model, again = _model(session, asked)
    _check(asked, again)
    plan, clock = _plan(session, model, asked, again)
    return plan, model, clock


def _check(asked: Asked, again: bool) -> None:
    if asked.step and asked.runner != "inline":
        raise ConfigError("--step", "", "stops between two decisions, which only the inline runner can", "leave --runner ray out")
    if asked.loop and asked.verify:
        raise ConfigError("--loop", "", "never ends, so there is nothing to verify", "leave one of them out")
    if asked.verify and asked.truth is not None:
        raise ConfigError("--truth", "", "scores decisions, which --verify does not show", "leave one of them out")
    if asked.verify and (asked.ideal or not again):
        raise ConfigError("--verify", "", "compares what happened with itself", "leave --ideal and --model out")


def _model(session: Session, asked: Asked) -> tuple[Model, bool]:
    """The model to decide with, and whether it is the recorded one. Raises SessionError where that is not here."""
    recorded = session.manifest.model
    if asked.model is not None:
        folder = Path(asked.model).absolute()
        model = load_model(folder if folder.is_dir() else asked.model)
        return model, recorded is not None and model.digest == recorded.digest
    if recorded is None:
        raise SessionError(str(session.folder), "was imported, so no model has decided about it yet; --model speaking does")
    for place in [recorded.folder, recorded.name]:
        found = _loaded(place)
        if found is not None and found.digest == recorded.digest:
            return found, True
    problem = f"was recorded with {recorded.name}@{recorded.digest[:12]}, which is not here; --model FOLDER says where it is"
    raise SessionError(str(session.folder), f"{problem}, --model {recorded.name} asks what today's would have decided")


def _loaded(place: str) -> Model | None:
    try:
        return load_model(place) if place else None
    except SensoriumError:  # it is another place's turn
        return None


def _plan(session: Session, model: Model, asked: Asked, again: bool) -> tuple[Plan, Clock]:
    start_ns, end_ns = _time_ns(asked.start, "--from") or 0, _time_ns(asked.end, "--to")
    speed = _speed(asked)
    values = _common(session, model, asked)
    folder = str(session.folder.absolute())
    if again or fits(session.manifest, model):
        replay = {"folder": folder, "start_ns": start_ns, "end_ns": end_ns, "ideal": asked.ideal}
        values |= {"run": {"speed": speed, "runner": asked.runner}, "replay": replay}
        return build_plan(Config.model_validate(values)), SystemClock()
    say(f"note: {model.name} prepares its inputs in its own way: they are made from the recorded media")
    return _from_media(session, model, values, speed, start_ns, end_ns, asked)


def media_plan(folder: str, model: str | None) -> Plan:
    """A recorded session as a run of its own media at full speed, to look at one of its moments. Raises as replay_session does."""
    asked = Asked(session=folder, model=model, ideal=True)
    session = Session.open(folder)
    chosen, _ = _model(session, asked)
    return _from_media(session, chosen, _common(session, chosen, asked), "max", 0, None, asked)[0]


def _from_media(
    session: Session, model: Model, values: dict[str, Any], speed: float | str, start_ns: int, end_ns: int | None, asked: Asked
) -> tuple[Plan, Clock]:
    """Another model that prepares its inputs in its own way: from the recorded media, with the lateness that they had."""
    recorded = session.manifest.inputs
    fed = fed_by(session.manifest, model.spec)
    if not fed:
        raise ConfigError("--model", "", f"{model.name} has no input that was recorded", f"recorded: {', '.join(recorded)}")
    virtual = speed == "max" and not asked.ideal
    if virtual and asked.runner == "ray":
        raise ConfigError(
            "--speed", "", "another model at full speed keeps its deadlines in virtual time, which only inline has", "leave --runner out"
        )
    source = {"use": RECORDED, "folder": str(session.folder.absolute()), "start_ns": start_ns, "end_ns": end_ns}
    values |= {
        "sources": {"recording": source},
        "inputs": {name: f"recording.{stream}" for name, stream in fed.items()},
        "offset_ms": _offsets_ms(session.manifest.config.get("offset_ms"), fed),
        "run": {"speed": "max" if asked.ideal else 1.0 if virtual else speed, "runner": asked.runner},
    }
    return build_plan(Config.model_validate(values)), FakeClock() if virtual else SystemClock()


def _offsets_ms(said: object, fed: Mapping[str, str]) -> dict[str, float]:
    """Those of the recorded config, as far as they are any: what it says of itself is not trusted."""
    offsets = said if isinstance(said, Mapping) else {}
    return {name: float(ms) for name, ms in offsets.items() if name in fed and isinstance(ms, int | float) and abs(ms) <= 60_000}


def _common(session: Session, model: Model, asked: Asked) -> dict[str, Any]:
    manifest = session.manifest
    sink = "arrow:ArrowStream" if asked.out and asked.out.endswith((".arrow", ".arrows")) else "jsonl:JsonLines"
    return {
        "session": manifest.session,
        "model": str(model.folder.absolute()),
        "align": {"deadline_ms": manifest.deadline_ms, "revise_ms": manifest.revise_ms},
        "decide": {"hold": manifest.hold, "attribution": manifest.attribution},
        "truth": _truth(session, asked.truth),
        "sinks": [] if asked.out is None else [{"use": f"pipeline.sinks.{sink}", "path": str(Path(asked.out).absolute())}],
        "origin": str(Path(asked.session).absolute()),
    }


def _truth(session: Session, text: str | None) -> str | None:
    """A file, or the name of labels of the session: their lines are those of a truth file."""
    if text is None or Path(text).is_file():
        return None if text is None else str(Path(text).absolute())
    if text in session.label_names():
        return str(labels_path(session.folder, text).absolute())
    names = ", ".join(session.label_names()) or "none"
    raise ConfigError("--truth", "", f"{text!r} is no file, and the session has no labels of that name", f"its labels: {names}")


def _speed(asked: Asked) -> float | str:
    text = asked.speed or ("max" if asked.verify or asked.step else "1")
    if text == "max":
        return text
    try:
        return float(text)
    except ValueError:
        raise ConfigError("--speed", "", f"is {text!r}; a number or max is wanted", "for example --speed 0.5 or --speed max") from None


def _time_ns(text: str | None, option: str) -> int | None:
    """30, 1.5m, 1:30."""
    if text is None:
        return None
    try:
        seconds = parse_duration(text)
        return round(float(str(seconds)) * 1e9)
    except ValueError:
        raise ConfigError(option, "", f"is {text!r}; a time like 90s, 1.5m or 1:30 is wanted", "count from the session's start") from None


def _run(plan: Plan, sinks: Sequence[Sink], clock: Clock, stopping: Stopping, runner: str) -> None:
    if runner == "inline":
        from pipeline.runtime.inline import run_inline

        run_inline(plan, sinks, clock, stopping)
        return
    from pipeline.runtime.supervisor import run_supervised

    if code := run_supervised(plan, sinks):
        sys.exit(code)


class Kept:
    """A sink that keeps the decisions."""

    def __init__(self) -> None:
        self.decisions: list[Decision] = []

    def decision(self, decision: Decision) -> None:
        self.decisions.append(decision)

    def status(self, status: Status) -> None:
        pass

    def close(self) -> None:
        pass


class Step:
    """A sink that waits after every decision until somebody presses Enter; q and Enter end it."""

    def __init__(self, stopping: Stopping, read: Callable[[], str] = sys.stdin.readline) -> None:
        self._stopping, self._read = stopping, read

    def decision(self, decision: Decision) -> None:
        if not self._stopping.asked:
            answer = self._read()
            self._stopping.asked = answer.strip() == "q" or answer == ""

    def status(self, status: Status) -> None:
        pass

    def close(self) -> None:
        pass
