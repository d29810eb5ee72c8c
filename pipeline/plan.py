"""A config, checked: every name imported, every option judged, the model's contract compared. Nothing is opened or started.

A plan is cheap to build again from `config.model_dump_json()`, which is how it travels to other processes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from operators.attribution import MOST_STREAMS
from operators.decide import Decider
from operators.errors import ConfigError, ContractError
from operators.operator import Operator
from operators.window import AlignConfig
from pipeline.config import Config, Replayed, Use
from pipeline.configerrors import did_you_mean
from pipeline.model import Model, load_model
from pipeline.ports import Backend, Kind, Sink, Source, Wanted, both
from pipeline.resolve import Part, Role
from pipeline.runtime.edge import EdgePolicy
from pipeline.yamltext import KeyPath, dotted

if TYPE_CHECKING:
    from pipeline.session.replay import Replay

MS = 1_000_000

EDGES: Mapping[Kind, EdgePolicy] = {
    "video": EdgePolicy(max_packets=64, max_bytes=8 << 20, max_age_ns=1000 * MS),
    "audio": EdgePolicy(max_packets=256, max_bytes=8 << 20, max_age_ns=1000 * MS),
    "text": EdgePolicy(max_packets=256, max_bytes=1 << 20, max_age_ns=None),
    "series": EdgePolicy(max_packets=1024, max_bytes=8 << 20, max_age_ns=1000 * MS),
}
"""What a live edge may hold, where the config says nothing. A caption stays worth its wait; a picture a second old does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """digest covers what decisions depend on: sources, inputs, transforms, alignment, deciding, the kind of pace and the model."""

    config: Config
    model: Model
    digest: str
    align: AlignConfig
    notes: tuple[str, ...]
    sources: Mapping[str, Part]
    transforms: Mapping[str, Sequence[Part]]
    sinks: Sequence[Part]
    edges: Mapping[str, EdgePolicy]
    replay: Replay | None = None

    def make_source(self, name: str) -> Source:
        source: Source = self.sources[name].make()
        return source

    def source_inputs(self, name: str) -> dict[str, str]:
        """The model's inputs that this source feeds -> the stream of it that does. One stream may feed several."""
        fed = {wanted: stream.partition(".") for wanted, stream in self.config.inputs.items()}
        return {wanted: stream for wanted, (source, _, stream) in fed.items() if source == name}

    def wanted(self, name: str) -> dict[str, Wanted]:
        """What the model would like of each stream of that source."""
        wishes: dict[str, Wanted] = {}
        for wanted, stream in self.source_inputs(name).items():
            own = self.model.wanted(wanted)
            wishes[stream] = both(wishes[stream], own) if stream in wishes else own
        return wishes

    def kind_wanted(self, name: str) -> Kind:
        """What kind of stream can feed an input: the model's, or what its first transform takes, where that makes another of it."""
        takes: Kind | None = next((part.takes for part in self.transforms[name] if part.takes is not None), None)
        return takes or self.model.spec.inputs[name].kind

    def offset_ns(self, name: str) -> int:
        """What is added to the times of an input."""
        return round(self.config.offset_ms.get(name, 0.0) * MS)

    def make_transforms(self, name: str) -> list[Operator]:
        """New operators for an input: the config's, then the model's."""
        return [part.make_operator() for part in self.transforms[name]]

    def edge(self, name: str) -> EdgePolicy:
        return self.edges[name]

    def make_backend(self) -> Backend:
        from pipeline.backends import make_backend

        return make_backend(self.config.run.backend, self.model)

    def make_decider(self) -> Decider:
        spec = self.model.spec
        return Decider(spec.labels, temperature=spec.temperature, hold=self.config.decide.hold, also=spec.also)

    def make_sinks(self) -> list[Sink]:
        """Opens what they write to: all of it or, where one raises, nothing."""
        with ExitStack() as opened:
            sinks: list[Sink] = []
            for part in self.sinks:
                sinks.append(part.make())
                opened.callback(sinks[-1].close)
            opened.pop_all()
            return sinks

    @property
    def truth(self) -> Path | None:
        return None if self.config.truth is None else self.config.folder / Path(self.config.truth).expanduser()


def build_plan(config: Config) -> Plan:
    """Raises ConfigError, and EngineMismatch where the model's files are not those that were exported.

    For a replay also SessionError. Nothing that a recorded session names is imported: only the model decides what runs.
    """
    model = _model(config)
    if config.replay is not None:
        return _replay_plan(config, model, config.replay)
    if config.decide.attribution and len(model.spec.inputs) > MOST_STREAMS:
        problem = f"takes a model of at most {MOST_STREAMS} inputs, {model.name} has {len(model.spec.inputs)}"
        raise config.error(("decide", "attribution"), problem, "leave it out")
    notes = [*_check_inputs(config, model), *_pace_notes(config)]
    return Plan(
        config=config,
        model=model,
        digest=_digest(config, model),
        align=_align(config, model),
        notes=tuple(notes),
        sources={name: _source(config, name, use) for name, use in config.sources.items()},
        transforms={name: _transforms(config, model, name) for name in model.spec.inputs},
        sinks=[_sink(config, index, use) for index, use in enumerate(config.sinks)],
        edges={name: _edge(config, model, name) for name in model.spec.inputs},
    )


def _replay_plan(config: Config, model: Model, said: Replayed) -> Plan:
    from pipeline.session.layout import segment_lines
    from pipeline.session.manifest import read_manifest
    from pipeline.session.preparation import check_fits
    from pipeline.session.replay import Replay

    manifest = read_manifest(Path(said.folder))
    check_fits(manifest, model, said.folder)
    waits = said.ideal or not manifest.paced
    same = manifest.model is not None and model.digest == manifest.model.digest and not said.ideal
    renamed = hashlib.sha256(f"{manifest.plan}\0{model.digest}\0{'ideal' if said.ideal else ''}".encode()).hexdigest()
    wait = config.align
    deadlines = {} if waits else {"deadline_ns": round(wait.deadline_ms * MS), "revise_ns": round(wait.revise_ms * MS)}
    length_ns = max((line.end_ns for line in segment_lines(Path(said.folder)).values()), default=None)
    window = model.spec.window
    behind_ns = 0 if waits or not wait.revise_ms else round(wait.revise_ms * MS) + (window.length_ms + window.hop_ms) * MS
    return Plan(
        config=config,
        model=model,
        digest=manifest.plan if same and manifest.plan is not None else renamed,
        align=model.align_config(mode="wait" if waits else "deadline", **deadlines),
        notes=(),
        sources={},
        transforms={name: [] for name in model.spec.inputs},
        sinks=[_sink(config, index, use) for index, use in enumerate(config.sinks)],
        edges={},
        replay=Replay(
            session=said.folder, start_ns=said.start_ns, end_ns=said.end_ns, ideal=said.ideal, behind_ns=behind_ns, length_ns=length_ns
        ),
    )


def _model(config: Config) -> Model:
    beside = config.folder / Path(config.model).expanduser()
    is_path = "/" in config.model or (beside / "model.yaml").is_file()
    try:
        return load_model(beside if is_path else config.model)
    except ConfigError as error:
        if error.key != "model":
            raise
        raise config.error(("model",), f"there is no model {config.model!r}", error.hint) from None


def _align(config: Config, model: Model) -> AlignConfig:
    if config.run.speed == "max":
        return model.align_config(mode="wait")
    wait = config.align
    return model.align_config(mode="deadline", deadline_ns=round(wait.deadline_ms * MS), revise_ns=round(wait.revise_ms * MS))


def _check_inputs(config: Config, model: Model) -> list[str]:
    """Names on both sides of `inputs`; a note for each of the model's inputs that nothing feeds."""
    for section in ("inputs", "transforms", "edges", "offset_ms"):
        for name in getattr(config, section):
            if name not in model.spec.inputs:
                hint = did_you_mean(name, model.spec.inputs, f"inputs of {model.name}")
                raise config.error((section, name), f"the model {model.name} has no such input", hint)
    for name, stream in config.inputs.items():
        _check_feed(config, name, stream)
    for name in config.nodes:
        if name not in config.sources:
            raise config.error(("nodes", name), "there is no such source", did_you_mean(name, config.sources, "sources"))
    idle = [name for name in config.sources if not any(stream.partition(".")[0] == name for stream in config.inputs.values())]
    if idle:
        raise config.error(("sources", idle[0]), "feeds no input", f"remove it, or name it in inputs, for example `video: {idle[0]}.video`")
    return [f"nothing feeds {name}: it is masked in every decision" for name in model.spec.inputs if name not in config.inputs]


def _check_feed(config: Config, name: str, stream: str) -> None:
    source = stream.partition(".")[0]
    if source not in config.sources:
        raise config.error(("inputs", name), f"there is no source {source!r}", did_you_mean(source, config.sources, "sources"))


def _pace_notes(config: Config) -> list[str]:
    if config.run.speed != "max":
        return []
    ignored = [key for key in ("deadline_ms", "revise_ms") if ("align", key) in config.places]
    return [f"align.{key} has no effect at speed max: every decision waits for all of its data" for key in ignored]


def _source(config: Config, name: str, use: Use) -> Part:
    return _part(config, ("sources", name), use, ("source", ("open", "events", "end_ns", "close")))


def _sink(config: Config, index: int, use: Use) -> Part:
    return _part(config, ("sinks", index), use, ("sink", ("decision", "status", "close")))


def _part(config: Config, path: KeyPath, use: Use, role: Role | None = None) -> Part:
    return Part(use.use, use.options, path=path, folder=config.folder, fail=config.error, role=role)


def _transforms(config: Config, model: Model, name: str) -> list[Part]:
    own = [_part(config, ("transforms", name, index), use) for index, use in enumerate(config.transforms.get(name, []))]
    fail = partial(_model_error, model)
    for index, use in enumerate(model.spec.inputs[name].transforms):
        path = ("inputs", name, "transforms", index)
        own.append(Part(use.use, use.options(), path=path, folder=model.folder, fail=fail))
    return own


def _model_error(model: Model, path: KeyPath, problem: str, hint: str) -> ConfigError:
    return ConfigError(str(model.folder / "model.yaml"), dotted(path), problem, hint)


def _edge(config: Config, model: Model, name: str) -> EdgePolicy:
    default = EDGES[model.spec.inputs[name].kind]
    said = config.edges.get(name)
    values: dict[str, Any] = {"policy": default.policy, "max_packets": default.max_packets, "max_bytes": default.max_bytes}
    values["max_age_ns"] = default.max_age_ns
    if said is not None:
        values |= {key: value for key, value in said.model_dump().items() if value is not None and key != "max_age_ms"}
        if said.max_age_ms is not None:
            values["max_age_ns"] = round(said.max_age_ms * MS)
    if config.run.speed == "max":
        # Nothing may be lost where nobody waits: the reader is held back instead.
        values |= {"policy": "lossless", "max_age_ns": None, "per_second": None}
    try:
        return EdgePolicy(**values)
    except ContractError as error:
        raise config.error(("edges", name), str(error).partition(", got")[0], "correct the bound it names") from None


def _digest(config: Config, model: Model) -> str:
    """The same for both runners and wherever the config lies: no runner, no sinks, no session, no folder."""
    said = config.model_dump(include={"sources": True, "inputs": True, "transforms": True, "align": True, "decide": {"hold"}})
    said |= {"offset_ms": config.offset_ms} if config.offset_ms else {}
    said["paced"] = config.run.speed != "max"
    text = json.dumps(said, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(f"{text}\0{model.digest}".encode("utf-8", "surrogatepass")).hexdigest()
