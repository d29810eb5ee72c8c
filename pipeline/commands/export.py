"""`sensorium export`: the parity report of a model, as a table."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console as Terminal
from rich.table import Table

from pipeline.model import load_model


def print_export(name: str, half: str | None, out: str | None) -> int:
    """Gives exit code 4 where a precision is off by more than is allowed. Raises ConfigError, BackendError."""
    model = load_model(name)
    from pipeline.export_report import AGREEMENT, ALLOWED, export_report

    report = export_report(model, None if half is None else Path(half))
    if out is not None:
        Path(out).write_text(json.dumps(asdict(report), indent=1) + "\n", "utf-8")
    terminal = Terminal(highlight=False, markup=False, width=None if sys.stdout.isatty() else 140)
    terminal.print(f"{model.name}@{model.digest[:12]} against its network in float64, {report.precisions[0].cases} cases", soft_wrap=True)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("precision", "largest relative error", "in", "same label", "bytes", "allowed"):
        table.add_column(column)
    for made in report.precisions:
        worst = max(made.error, key=lambda file: made.error[file])
        allowed = "-"
        if made.name in ALLOWED:
            verdict = "holds" if made.holds else "DOES NOT HOLD"
            allowed = f"error < {ALLOWED[made.name]:.0e}, label >= {AGREEMENT:.1%}: {verdict}"
        table.add_row(made.name, f"{made.error[worst]:.1e}", worst, f"{made.agreement:.2%}", str(made.bytes), allowed)
    terminal.print(table)
    terminal.print(report.tensorrt_version if not report.tensorrt else f"{report.tensorrt_version} parses, strongly typed:", soft_wrap=True)
    for graph, said in report.tensorrt.items():
        terminal.print(f"  {graph}: {said}", soft_wrap=True)
    return 0 if report.holds else 4
