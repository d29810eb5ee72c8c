"""`sensorium models`: the models that ship."""

from __future__ import annotations

import sys

from rich.console import Console as Terminal
from rich.table import Table

from pipeline.model import Model, list_models


def print_models() -> None:
    """One row a model; its card and figures are in its folder. Raises EngineMismatch for a folder that was tampered with."""
    terminal = Terminal(highlight=False, markup=False, width=None if sys.stdout.isatty() else 140)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("name", "labels", "inputs", "window / hop", "size", "digest", "card"):
        table.add_column(column)
    for model in list_models():
        table.add_row(*_row(model))
    terminal.print(table if table.row_count else "no model ships with this build", soft_wrap=True)


def _row(model: Model) -> tuple[str, ...]:
    spec = model.spec
    size = sum((model.folder / file).stat().st_size for file in spec.file_names())
    return (
        f"{spec.name} {spec.version}",
        " | ".join(spec.labels),
        ", ".join(spec.inputs),
        f"{spec.window.length_ms} / {spec.window.hop_ms} ms",
        f"{size / 1e6:.1f} MB",
        model.digest[:12],
        str(model.folder / "README.md"),
    )
