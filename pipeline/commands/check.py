"""`sensorium check`: what a config would run, without running it."""

from __future__ import annotations

import json
import sys

from rich.console import Console as Terminal
from rich.table import Table

from pipeline.backends import choose_backend
from pipeline.check import Checked, Feed, check_plan
from pipeline.commands.inputs import Chosen, chosen_config
from pipeline.config import json_schema
from pipeline.plan import Plan, build_plan
from pipeline.score import read_truth
from pipeline.sinks.plain import clock_text


def schema_text() -> str:
    """What configs/schema.json holds."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def print_schema() -> None:
    sys.stdout.write(schema_text())


def print_check(chosen: Chosen) -> None:
    """Raises ConfigError, SourceError or BackendError for the first thing that would not work."""
    plan = build_plan(chosen_config(chosen))
    if plan.truth is not None:
        read_truth(plan.truth)
    checked = check_plan(plan, engines=True)
    terminal = Terminal(highlight=False, markup=False, width=None if sys.stdout.isatty() else 120)
    terminal.print(f"{plan.config.file} is fine", style="green")
    for line in _about(plan, checked):
        terminal.print(line, soft_wrap=True)
    terminal.print(_feeds(checked))
    for note in checked.notes:
        terminal.print(f"note: {note}", style="yellow", soft_wrap=True)


def _about(plan: Plan, checked: Checked) -> list[str]:
    model, run, window = plan.model, plan.config.run, plan.model.spec.window
    wait = "after all of its data" if run.speed == "max" else f"at most {plan.config.align.deadline_ms:g} ms after its window"
    ends = "" if checked.end_ns is None else f", {clock_text(checked.end_ns)} long"
    return [
        f"session {plan.config.session}: speed {run.speed if run.speed == 'max' else f'{run.speed:g}'}, runner {run.runner}{ends}",
        f"model {model.name}@{model.digest[:12]} ({' | '.join(model.spec.labels)})",
        f"engine {_engine(plan)}",
        f"a decision about every {window.hop_ms} ms, {wait}, from a window of {window.length_ms} ms that looks {window.lag_ms} ms ahead",
    ]


def _engine(plan: Plan) -> str:
    """What will run the model; for auto also why."""
    if plan.config.run.backend != "auto":
        return plan.make_backend().name
    choice = choose_backend(plan.model)
    return f"{choice.backend.name} (auto: {choice.why})"


def _feeds(checked: Checked) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("input", "from", "what"):
        table.add_column(column)
    for feed in checked.feeds:
        table.add_row(feed.input, feed.stream or "-", _what(feed))
    return table


def _what(feed: Feed) -> str:
    if feed.spec is None:
        return "live, opened when it runs" if feed.live else "masked"
    rate = feed.spec.rate_hz
    return " ".join([feed.spec.detail, *([] if rate is None else [f"{rate:g} Hz"])])
