"""What the runners want of a plan, and how they put its parts together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from operators.decide import Decider
from operators.operator import Operator
from operators.window import AlignConfig
from pipeline.config import Config
from pipeline.model import Model
from pipeline.ports import Backend, Kind, Source, Wanted
from pipeline.runtime.core import CoreConfig, FusionCore
from pipeline.runtime.edge import EdgePolicy
from pipeline.runtime.graphs import Graphs
from pipeline.runtime.inference import Inference
from pipeline.session.replay import Replay

MS = 1_000_000

WARM_UP_SHARE = 4
"""A hop brings a few packets of each input, the warm-up has one of each."""


class RunPlan(Protocol):
    """A checked plan; `pipeline.plan.Plan` is one."""

    @property
    def config(self) -> Config: ...

    @property
    def model(self) -> Model: ...

    @property
    def digest(self) -> str: ...

    @property
    def align(self) -> AlignConfig: ...

    @property
    def replay(self) -> Replay | None: ...

    def make_source(self, name: str) -> Source: ...

    def source_inputs(self, name: str) -> Mapping[str, str]: ...

    def offset_ns(self, name: str) -> int: ...

    def wanted(self, name: str) -> Mapping[str, Wanted]: ...

    def make_transforms(self, name: str) -> list[Operator]: ...

    def edge(self, name: str) -> EdgePolicy: ...

    def make_backend(self) -> Backend: ...

    def make_decider(self) -> Decider: ...


def session_of(plan: RunPlan) -> str:
    return plan.config.session or "session"


def speed_of(plan: RunPlan) -> float | None:
    """How many seconds of session time go by in one second; None: as fast as can be, and nothing is timed."""
    speed = plan.config.run.speed
    return None if speed == "max" else speed


def until_of(plan: RunPlan) -> int | None:
    """Where, in session time, the config's duration cuts the run off, or a replay ends."""
    if plan.replay is not None:
        return plan.replay.length_ns if plan.replay.end_ns is None else plan.replay.end_ns
    duration_s = plan.config.run.duration
    return None if duration_s is None else round(duration_s * 1e9)


def fed_inputs(plan: RunPlan) -> dict[str, str]:
    """Input -> the source that feeds it."""
    return {wanted: source for source in plan.config.sources for wanted in plan.source_inputs(source)}


def takes_changes(plan: RunPlan) -> bool:
    """Whether streams may be attached and detached while it runs: a session of live sources. A file would begin in the middle."""
    return speed_of(plan) is not None and plan.replay is None and any(plan.make_source(name).live for name in plan.config.sources)


def kinds_of(plan: RunPlan) -> dict[str, Kind]:
    """The model's inputs."""
    return {name: spec.kind for name, spec in plan.model.spec.inputs.items()}


def session_end_ns(ends_ns: Sequence[int | None], until_ns: int | None) -> int | None:
    """Where the session will end, for a progress bar: with its last source, at the latest at until_ns; None: not known."""
    known = [end_ns for end_ns in ends_ns if end_ns is not None]
    if not known or len(known) < len(ends_ns):
        return until_ns
    return max(known) if until_ns is None else min(max(known), until_ns)


def make_core(plan: RunPlan, graphs: Graphs) -> FusionCore:
    """The core of a plan, over the graphs of its model, which may serve others as well."""
    config = CoreConfig(
        session=session_of(plan),
        model=f"{plan.model.name}@{plan.model.digest[:12]}",
        digest=plan.digest,
        align=plan.align,
        lag_ns=plan.model.spec.window.lag_ms * MS,
    )
    inference = Inference(graphs, keep_ns=plan.align.revise_ns, attribute=plan.config.decide.attribution)
    core = FusionCore(config, inference, plan.make_decider())
    core.expect(WARM_UP_SHARE * inference.cost_ns)
    return core
