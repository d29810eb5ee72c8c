"""`sensorium evaluate`: how good a model is and how sure that is, by pattern of presence and level of noise; are its scores true?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.errors import ConfigError
from pipeline.backends import make_backend
from pipeline.evaluate import (
    Encoded,
    Engine,
    Scored,
    accuracy,
    accuracy_of,
    balanced_of,
    best_temperature,
    calibration_error,
    confusion,
    figures,
    interval,
    presence_patterns,
    tempered,
)
from pipeline.model import Model, load_model
from pipeline.training.config import Training
from pipeline.training.segment import Cutter, Segment
from pipeline.training.session import Split
from pipeline.training.transforms import chains
from pipeline.yamltext import Override

NOISE = (0.0, 0.5, 1.0, 2.0)
"""Levels of Gaussian noise on every input's packets, in standard deviations of that input in the test split; of tokens, a share as large as
level / (1 + level) is replaced by others."""


def evaluate(
    name: str, config_path: Path, *, overrides: Sequence[str | Override] = (), backend: str = "auto", noise: Sequence[float] = NOISE
) -> dict[str, Any]:
    """Figures of a model on the test split of a training config's data, as plain values. Raises ConfigError, SourceError, BackendError."""
    training = Training(config_path, overrides)
    model = load_model(name)
    missing = set(training.config.model.inputs) ^ set(model.spec.inputs)
    if missing or list(training.config.model.labels) != list(model.spec.labels):
        problem = f"its data are for other inputs or labels than those of {model.name}"
        raise training.fail(("model",), problem, f"wanted inputs {', '.join(model.spec.inputs)} and labels {', '.join(model.spec.labels)}")
    engine = make_backend(backend, model)
    test, validation = _segments(training, model, "test"), _segments(training, model, "validation")
    patterns = presence_patterns(list(model.spec.inputs))
    rng = np.random.default_rng(0)
    made: dict[str, Any] = {"model": model.name, "digest": model.digest, "data": training.file, "backend": engine.name, "noise": []}
    for level in noise:
        encoded = Encoded(engine, [noisy(segment, _deviations(test), level, rng) for segment in test] if level else test)
        scored = {pattern: encoded.score(keep, model.spec.temperature) for pattern, keep in patterns.items()}
        rows = {pattern: row(part, model.spec.labels) for pattern, part in scored.items()}
        made["noise"].append({"level": level, "by_presence": rows})
        if level == 0.0:
            made |= _whole(scored["all"], model)
    return {**made, "calibration": calibration(engine, model, test, validation)}


def row(scored: Scored, labels: Sequence[str]) -> dict[str, Any]:
    """Accuracy and balanced accuracy with their intervals, AP and recall by label, calibration error."""
    counts = confusion(scored).astype(float)
    return {
        "decisions": len(scored.label),
        "sessions": len(np.unique(scored.session)),
        "accuracy": accuracy(scored),
        "accuracy_95": interval(scored, accuracy_of),
        "balanced": balanced_of(counts),
        "balanced_95": interval(scored, balanced_of),
        "calibration_error": calibration_error(scored),
        **{key: value for key, value in figures(scored, labels).items() if key != "accuracy"},
    }


def calibration(engine: Engine, model: Model, test: Sequence[Segment], validation: Sequence[Segment]) -> dict[str, float]:
    """The error of the raw scores, of the model's own temperature, and of the one that fits the validation split best (fitted now)."""
    everything = list(model.spec.inputs)
    raw = Encoded(engine, test).score(everything)
    fitted = best_temperature(Encoded(engine, validation).score(everything))
    own = model.spec.temperature
    return {
        "error_raw": calibration_error(raw),
        "temperature": own,
        "error": calibration_error(tempered(raw, own)),
        "temperature_fitted": fitted,
        "error_fitted": calibration_error(tempered(raw, fitted)),
    }


def noisy(segment: Segment, deviations: dict[str, NDArray[np.float64]], level: float, rng: np.random.Generator) -> Segment:
    """The segment with noise on all its packets, see NOISE."""
    return replace(segment, packets={name: _noisy(rows, deviations[name], level, rng) for name, rows in segment.packets.items()})


def _noisy(rows: NDArray[Any], deviation: NDArray[np.float64], level: float, rng: np.random.Generator) -> NDArray[Any]:
    if rows.dtype == np.int64:
        others = rng.permuted(rows.reshape(-1)).reshape(rows.shape)
        return np.where((rows != 0) & (rng.random(rows.shape) < level / (1 + level)), others, rows)
    made = rows + level * deviation * rng.standard_normal(rows.shape)
    return np.clip(np.round(made), 0, 255).astype(np.uint8) if rows.dtype == np.uint8 else made.astype(rows.dtype)


def _deviations(segments: Sequence[Segment]) -> dict[str, NDArray[np.float64]]:
    """Of each input by its last axis; of pictures one number."""
    made = {}
    for name in segments[0].packets:
        rows = np.concatenate([segment.packets[name] for segment in segments])
        flat = rows.reshape(-1, 1) if rows.dtype == np.uint8 else rows.reshape(-1, rows.shape[-1])
        made[name] = flat.astype(np.float64).std(0) if len(flat) else np.zeros(1)
    return made


def _whole(scored: Scored, model: Model) -> dict[str, Any]:
    conditions = sorted(set(scored.condition.tolist()))
    return {
        "confusion": confusion(scored).tolist(),
        "by_condition": {name: row(scored.of_condition(name), model.spec.labels) for name in conditions},
    }


def _segments(training: Training, model: Model, split: Split) -> list[Segment]:
    cutter = Cutter(model, chains(model.spec, str(model.folder), model.folder))
    rng = np.random.default_rng((training.config.loop.seed, 2))
    sessions = (session for dataset in training.mix().datasets for session in dataset.sessions(split, rng))
    made = [cutter.cut(session) for session in sessions if not session.level]
    if not any((segment.label >= 0).any() for segment in made):
        raise ConfigError(training.file, "data", f"has no labelled decision in the split {split!r}", "add recordings or labels")
    return made
