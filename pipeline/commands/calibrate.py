"""`sensorium calibrate`: says how far sound and picture are apart, and the line of the config that puts them together."""

from __future__ import annotations

from pathlib import Path

from operators.avoffset import AvOffset
from operators.errors import ConfigError
from pipeline.calibrate import measure
from pipeline.clock import wall_utc
from pipeline.commands.inputs import Chosen, chosen_config
from pipeline.config import Config
from pipeline.plan import Plan, build_plan

LEAST_MS = 25.0
"""What the measurement is off by itself, now and then: see docs/clocks.md."""


def calibrate_config(chosen: Chosen, seconds: float, *, write: bool) -> None:
    """Raises CannotSay, ConfigError, SourceError."""
    plan = build_plan(chosen_config(chosen))
    print(f"listening and looking for {seconds:g} s; somebody should be seen and heard speaking", flush=True)
    found = measure(plan, seconds)
    print(f"{found}, from {found.voiced_s:.0f} s of speech (correlation {found.correlation:.2f})")
    line = offset_line(plan, found)
    if line is None:
        print("that is no more than the error of this measurement: nothing to set")
    elif write:
        path = written(plan.config, line)
        print(f"written to {path}: {line}")
    else:
        print(f"set it in the config (or run again with --write):\n\n{line}")


def offset_line(plan: Plan, found: AvOffset) -> str | None:
    """`offset_ms: {audio: 84}`; None: as it is now, or nothing that this measurement can tell from 0."""
    audio = next(name for name in plan.config.inputs if plan.model.spec.inputs[name].kind == "audio")
    offset_ms = -round(found.audio_ms)
    if abs(offset_ms) <= max(LEAST_MS, found.spread_ms):
        return None
    return f"offset_ms: {{{audio}: {offset_ms}}}"


def written(config: Config, line: str) -> Path:
    """Appends the line to the config's file. Raises ConfigError where it has offsets already: a person should look at them."""
    if config.offset_ms:
        raise config.error(("offset_ms",), f"is set already, and {line} was measured", "put it there by hand")
    path = Path(config.origin)
    try:
        text = path.read_text("utf-8")
        end = "" if text.endswith("\n") else "\n"
        path.write_text(f"{text}{end}\n{line}   # sensorium calibrate, {wall_utc()[:10]}\n", "utf-8")
    except OSError as error:
        raise ConfigError(config.file, "", f"cannot be written ({error.strerror})", f"add the line by hand: {line}") from None
    return path
