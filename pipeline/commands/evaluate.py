"""`sensorium evaluate`: a model's figures on the test split of a training config, as tables and as JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console as Terminal
from rich.table import Table

from pipeline.yamltext import parse_override


def print_evaluation(model: str, config: str, sets: Sequence[str], *, backend: str, noise: Sequence[float], out: str | None) -> None:
    """Raises ConfigError, SourceError, BackendError."""
    overrides = [parse_override(text) for text in sets]
    from pipeline.report import evaluate

    made = evaluate(model, Path(config), overrides=overrides, backend=backend, noise=noise)
    if out is not None:
        Path(out).write_text(json.dumps(_plain(made), indent=1) + "\n", "utf-8")
    terminal = Terminal(highlight=False, markup=False, width=None if sys.stdout.isatty() else 140)
    terminal.print(f"{made['model']} {made['digest'][:12]} on the test split of {made['data']}, {made['backend']}", soft_wrap=True)
    terminal.print(_table(made))
    told = made["calibration"]
    terminal.print(
        f"calibration error {told['error_raw']:.3f} raw, {told['error']:.3f} at the model's temperature {told['temperature']:.2f}, "
        f"{told['error_fitted']:.3f} at {told['temperature_fitted']:.2f} (fitted to the validation split)",
        soft_wrap=True,
    )


def _table(made: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("noise", "streams", "accuracy", "95 %", "mean recall", "95 %", "calibration error", "decisions", "sessions"):
        table.add_column(column, justify="left" if column == "streams" else "right")
    for part in made["noise"]:
        for pattern, row in part["by_presence"].items():
            table.add_row(f"{part['level']:g}", pattern, *_cells(row))
    for condition, row in made["by_condition"].items():
        table.add_row("0", f"all, {condition or 'no condition'}", *_cells(row))
    return table


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    spans = {key: "{:.3f} .. {:.3f}".format(*row[f"{key}_95"]) for key in ("accuracy", "balanced")}
    figures = (f"{row['accuracy']:.3f}", spans["accuracy"], f"{row['balanced']:.3f}", spans["balanced"], f"{row['calibration_error']:.3f}")
    return (*figures, str(row["decisions"]), str(row["sessions"]))


def _plain(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """NaN (a figure that has no cases) is null."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
