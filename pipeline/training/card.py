"""What a training run says of itself: figures for metrics.json and the part of the model card that nobody should write by hand."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from pipeline.evaluate import Encoded, Engine, best_temperature, confusion, figures, presence_patterns
from pipeline.training.loop import History
from pipeline.training.segment import Segment
from pipeline.training.validation import VALIDATE_EVERY


def machine() -> str:
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, torch {torch.__version__}"
    )


def tested(
    engine: Engine, segments: Sequence[Segment], labels: Sequence[str], temperature: float, also: Mapping[str, int]
) -> dict[str, Any]:
    """Figures of the test split: overall, by pattern of presence and by condition."""
    encoded = Encoded(engine, segments, labels=len(labels), also=also, every=VALIDATE_EVERY if also else 1)
    patterns = presence_patterns(list(segments[0].packets))
    scored = {name: encoded.score(keep, temperature) for name, keep in patterns.items()}
    whole = scored["all"]
    conditions = sorted(set(whole.condition.tolist()))
    return {
        "decisions": len(whole.label),
        "by_presence": {name: _rounded(figures(part, labels)) for name, part in scored.items()},
        "by_condition": {name: _rounded(figures(whole.of_condition(name), labels)) for name in conditions},
        "answered": {name: _rounded(encoded.answered(keep)) for name, keep in patterns.items()},
        "confusion": confusion(whole).tolist(),
    }


def fit_temperature(engine: Engine, segments: Sequence[Segment], labels: int | None = None) -> float:
    """The temperature in 0.5 .. 3 with the least negative log-likelihood on these segments (Guo et al. 2017)."""
    return best_temperature(Encoded(engine, segments, labels=labels, every=2).score(list(segments[0].packets)))


def facts(history: History, test: Mapping[str, Any], minutes: float, config: Mapping[str, Any]) -> str:
    """Markdown: how it was trained and what it reached on the test split."""
    tables = {**test["by_presence"], **{f"all, {name}": made for name, made in test["by_condition"].items()}}
    rows = [_row(name, made) for name, made in tables.items()]
    heads = [key.removeprefix("ap_") for key in next(iter(test["by_presence"].values())) if key.startswith("ap_")]
    return "\n".join(
        [
            "## Training",
            "",
            f"{minutes:.1f} minutes on {machine()}{_more(config)}; seed {config['seed']}; {_epochs(history, config)}.",
            "",
            f"## Test split ({test['decisions']} decisions)",
            "",
            "| streams | accuracy | " + " | ".join(f"AP {name}" for name in heads) + " |",
            "|---|---|" + "---|" * len(heads),
            *rows,
            "",
            "![truth and decision on the test split](confusion.png)" + (" ![training](curves.png)" if history.epochs else ""),
        ]
    )


def _more(config: Mapping[str, Any]) -> str:
    processes = config.get("processes", 1)
    return f"{', on GPU' if config.get('device') == 'cuda' else ''}{f', {processes} processes' if processes > 1 else ''}"


def _epochs(history: History, config: Mapping[str, Any]) -> str:
    if not history.epochs:
        return "no epoch: the weights are those it began with, offsets and temperature were fitted anew"
    made = f"{len(history.epochs)} epochs of {config['steps']} steps"
    if config.get("keep") == "last":
        return f"{made}, the last one kept"
    return f"{made}, the best on validation was number {history.best.number + 1}"


def _row(name: str, made: Mapping[str, float | None]) -> str:
    shown = [made["accuracy"], *(value for key, value in made.items() if key.startswith("ap_"))]
    return f"| {name} | " + " | ".join("-" if value is None else f"{value:.3f}" for value in shown) + " |"


def _rounded(made: Mapping[str, float]) -> dict[str, float | None]:
    """Four digits; None (null in JSON) for a figure that has no cases."""
    return {name: None if np.isnan(value) else round(value, 4) for name, value in made.items()}
