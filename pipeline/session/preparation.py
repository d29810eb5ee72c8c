"""Whether a model can be given the packets that another one was recorded with."""

from __future__ import annotations

import hashlib
import json

from operators.errors import ConfigError
from pipeline.model import Model, ModelSpec
from pipeline.session.manifest import Manifest


def preparation(model: Model, name: str) -> str:
    """Equal for two models that want the same packets of an input: then a recording of one can be given to the other as it is."""
    spec = model.spec.inputs[name]
    said = {"wanted": spec.wanted.model_dump(), "transforms": [use.model_dump() for use in spec.transforms], "kind": spec.kind}
    return hashlib.sha256(json.dumps([said, list(spec.shape), spec.dtype], sort_keys=True).encode()).hexdigest()[:16]


def windows_of(model: Model) -> str:
    """Equal for two models that want the same windows: then the aligner's recorded states fit both."""
    takes = {name: (spec.take, spec.tolerance_ms, spec.ttl_ms) for name, spec in model.spec.inputs.items()}
    said = json.dumps([model.spec.window.model_dump(), takes], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def fits(manifest: Manifest, model: Model) -> bool:
    """The model can be given what the recorded one was given, in the same windows."""
    if manifest.model is None:
        return False
    recorded = manifest.inputs
    same = all(name in recorded and recorded[name].preparation == preparation(model, name) for name in model.spec.inputs)
    return same and set(recorded) == set(model.spec.inputs) and manifest.model.windows == windows_of(model)


def check_fits(manifest: Manifest, model: Model, session: str) -> None:
    if manifest.model is None:
        raise ConfigError(session, "", "was imported: it has no recorded windows", "sensorium replay SESSION --model makes them")
    if not fits(manifest, model):
        problem = f"{model.name} wants other windows or other preparation than {manifest.model.name}, which this session was recorded with"
        raise ConfigError(session, "model", problem, "replay its media instead: sensorium replay SESSION --model does")


def fed_by(manifest: Manifest, model: ModelSpec) -> dict[str, str]:
    """Input of the model -> the recorded input that feeds it: the one of the same name, else the only one of its kind."""
    there = {name: recorded.kind for name, recorded in manifest.inputs.items() if recorded.stream}
    made = {}
    for name, spec in model.inputs.items():
        alike = [name] if there.get(name) == spec.kind else [other for other, kind in there.items() if kind == spec.kind]
        if len(alike) == 1:
            made[name] = alike[0]
    return made
