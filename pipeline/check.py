"""What can be found out before anything starts: each part is made once, each file is opened and closed again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from operators.errors import ContractError
from operators.packet import Packet
from operators.tensorize import packet_array
from pipeline.configerrors import did_you_mean
from pipeline.plan import Plan
from pipeline.ports import LiveSource, StreamSpec
from pipeline.runtime.intake import Intake

TASTE_NS, SIP_NS = 2_000_000_000, 100_000_000
"""So much of a file is read to see what its packets look like after all transforms: by `check`, and before a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """One of the model's inputs and what feeds it. spec None: its source is live and was not opened, or has no such stream."""

    input: str
    stream: str | None
    spec: StreamSpec | None
    live: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """end_ns: where the longest file ends; None: unknown, or a source is live."""

    feeds: Sequence[Feed]
    notes: Sequence[str]
    end_ns: int | None


def check_plan(plan: Plan, *, engines: bool) -> Checked:
    """Opens the sources that are files and takes their first packets through the transforms.

    engines: also makes the backend, and looks further into the files for a packet that comes through.
    Raises ConfigError, SourceError, BackendError.
    """
    if engines:
        plan.make_backend()
    feeds: dict[str, Feed] = {name: Feed(input=name, stream=None, spec=None) for name in plan.model.spec.inputs}
    ends: list[int | None] = []
    bad: list[str] = []
    for name in plan.config.sources:
        found, end_ns = _open(plan, name, bad)
        feeds |= {feed.input: feed for feed in found}
        ends.append(end_ns)
        _check_shapes(plan, name, TASTE_NS if engines else SIP_NS)
    if not any(feed.spec is not None or feed.live for feed in feeds.values()):
        first = next(iter(plan.config.inputs))
        raise plan.config.error(
            ("inputs", first), "no source has any of the streams that feed the model", "see `inputs` and the file's tracks"
        )
    missing = [feed for feed in feeds.values() if feed.stream is not None and feed.spec is None and not feed.live]
    lost = [f"{feed.stream} is not there: {feed.input} is masked in every decision" for feed in missing]
    known = [end_ns for end_ns in ends if end_ns is not None]
    end_ns = max(known) if known and len(known) == len(ends) else None
    return Checked(feeds=list(feeds.values()), notes=[*plan.notes, *lost, *bad], end_ns=end_ns)


def check_source(plan: Plan, name: str) -> None:
    """One source of a plan: that it can be there, that its streams are what the model wants, that its transforms can be made.

    Raises ConfigError, SourceError.
    """
    _open(plan, name, [])
    _check_shapes(plan, name, SIP_NS)


def _open(plan: Plan, name: str, bad: list[str]) -> tuple[list[Feed], int | None]:
    """What of the source feeds the model, and where it ends. bad: takes a line for each file that it leaves out."""
    source = plan.make_source(name)
    fed = plan.source_inputs(name)
    if source.live:
        _look(plan, name, fed, cast(LiveSource, source))
        return [Feed(input=wanted, stream=f"{name}.{stream}", spec=None, live=True) for wanted, stream in fed.items()], None
    try:
        specs = {spec.name: spec for spec in source.open({})}
        for wanted, stream in fed.items():
            _check_kind(plan, name, stream, wanted, specs)
        bad += [f"left out: {problem}" for problem in getattr(source, "bad_files", ())]
        return [Feed(input=wanted, stream=f"{name}.{stream}", spec=specs.get(stream)) for wanted, stream in fed.items()], source.end_ns()
    except ContractError as error:
        raise plan.config.error(("sources", name), str(error), "correct the option it names") from None
    finally:
        source.close()


def _look(plan: Plan, name: str, fed: Mapping[str, str], source: LiveSource) -> None:
    """What can be told of a live source without waiting for its device."""
    if plan.config.run.speed != 1:
        raise plan.config.error(("run", "speed"), f"the source {name} is live, and time cannot be made to go faster", "leave it at 1")
    try:
        specs = {spec.name: spec for spec in source.open({})}
        for wanted, stream in fed.items():
            _check_kind(plan, name, stream, wanted, specs)
        source.look()
    except ContractError as error:
        raise plan.config.error(("sources", name), str(error), "correct the option it names") from None


def _check_kind(plan: Plan, name: str, stream: str, wanted: str, specs: dict[str, StreamSpec]) -> None:
    """The stream's kind is the input's; a name that is not there is a slip of the pen where its source has one of that kind."""
    kind = plan.kind_wanted(wanted)
    if stream in specs:
        if specs[stream].kind != kind:
            fits = [f"{name}.{spec.name}" for spec in specs.values() if spec.kind == kind]
            who = "the model wants" if kind == plan.model.spec.inputs[wanted].kind else "its first transform takes"
            hint = f"use {' or '.join(fits)}" if fits else f"{name} has no {kind} stream"
            raise plan.config.error(("inputs", wanted), f"{name}.{stream} is {specs[stream].kind}, but {who} {kind}", hint)
        return
    if any(spec.kind == kind for spec in specs.values()):
        raise plan.config.error(("inputs", wanted), f"{name} has no stream {stream!r}", did_you_mean(stream, specs, f"{name} has"))


def _check_shapes(plan: Plan, name: str, taste_ns: int) -> None:
    """The model's contract: what the transforms make of a packet is what its encoder takes."""
    intake = Intake(plan, name)  # makes the transforms, and so judges their options too
    if intake.live:
        return
    waiting = set(intake.open())
    try:
        for _, event in intake.events(0, taste_ns):
            if isinstance(event, Packet) and event.stream in waiting:
                waiting.remove(event.stream)
                _check_shape(plan, event)
            if not waiting:
                break
    finally:
        intake.close()


def _check_shape(plan: Plan, packet: Packet) -> None:
    wanted = plan.model.spec.inputs[packet.stream]
    try:
        got = packet_array(packet)
    except ContractError as error:
        raise plan.config.error(("inputs", packet.stream), str(error), "add a transform to the model, or to `transforms`") from None
    if got.shape != tuple(wanted.shape) or got.dtype != np.dtype(wanted.dtype):
        problem = f"its packets come out as {got.dtype} {got.shape}, but the model wants {wanted.dtype} {tuple(wanted.shape)}"
        raise plan.config.error(("inputs", packet.stream), problem, f"add a transform under transforms.{packet.stream} that makes it so")
