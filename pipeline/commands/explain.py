"""`sensorium explain`: a picture and a few lines of why a decision was made."""

from __future__ import annotations

from pathlib import Path

from operators.errors import ConfigError
from pipeline.commands.inputs import Chosen, chosen_config
from pipeline.commands.replay import media_plan
from pipeline.config import parse_duration
from pipeline.plan import build_plan
from pipeline.session.layout import MANIFEST


def print_explanation(chosen: Chosen, at: str, out: str) -> None:
    """Raises ConfigError, SourceError, BackendError."""
    try:
        at_s = parse_duration(at)
    except ValueError:
        at_s = None
    if not isinstance(at_s, float):
        raise ConfigError(f"--at {at}", "", "is no time", "write seconds, or a time like 1:30")
    recorded = (Path(chosen.config) / MANIFEST).is_file()
    plan = media_plan(chosen.config, chosen.model) if recorded else build_plan(chosen_config(chosen))
    from pipeline.draw import png
    from pipeline.explain import explain
    from pipeline.explain_picture import picture_of

    made = explain(plan, round(at_s * 1e9))
    Path(out).write_bytes(png(picture_of(made)))
    print(f"{made.start_ns / 1e9:.3f} s {made.label} {made.scores[made.label]:.2f}, ahead of {made.rival} by {made.gap:.2f} logits")
    print("streams: " + ", ".join(f"{name} {value:+.2f}" for name, value in made.streams.items()))
    if made.words:
        print("words: " + ", ".join(f"{word} {value:+.2f}" for word, value in made.words))
    print(f"wrote {out}")
