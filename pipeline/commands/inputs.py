"""From the options of `run` and `check` to a config: overrides, and --input in place of the config's file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from operators.errors import ConfigError
from pipeline.config import Config, load_config
from pipeline.yamltext import Override, parse_override

MEDIA_FILE, PLAYLIST = "pipeline.sources.file:MediaFile", "pipeline.sources.playlist:Playlist"
PATH_OPTIONS = ("path", "paths", "captions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What was typed. Paths are relative to the working directory."""

    config: str
    sets: Sequence[str] = ()
    inputs: Sequence[str] = ()
    model: str | None = None
    duration: str | None = None
    speed: str | None = None
    runner: str | None = None
    out: str | None = None
    truth: str | None = None
    record: str | None = None


def chosen_config(chosen: Chosen) -> Config:
    """The config with all that was typed put over it. Raises ConfigError."""
    overrides = [*map(parse_override, chosen.sets), *_overrides(chosen)]
    config = load_config(chosen.config, overrides)
    if chosen.inputs:
        overrides += _fed_by(config, [Path(path).absolute() for path in chosen.inputs])
        config = load_config(chosen.config, overrides)
    if chosen.out is not None:
        overrides.append(_written_to(config, Path(chosen.out).absolute()))
        config = load_config(chosen.config, overrides)
    return config


def _overrides(chosen: Chosen) -> list[Override]:
    overrides = []
    for name in ("duration", "runner"):
        if (text := getattr(chosen, name)) is not None:
            overrides.append(Override(f"run.{name}", text, f"--{name} {text}"))
    if chosen.speed is not None:
        overrides.append(Override("run.speed", _number(chosen.speed), f"--speed {chosen.speed}"))
    if chosen.model is not None:
        folder = Path(chosen.model).absolute()
        overrides.append(Override("model", str(folder) if folder.is_dir() else chosen.model, f"--model {chosen.model}"))
    if chosen.record is not None:
        overrides.append(Override("record.folder", str(Path(chosen.record).absolute()), f"--record {chosen.record}"))
    if chosen.truth is not None:
        overrides.append(Override("truth", str(Path(chosen.truth).absolute()), f"--truth {chosen.truth}"))
    return overrides


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _fed_by(config: Config, paths: Sequence[Path]) -> list[Override]:
    """The config's one file source plays these instead: one file as MediaFile, several or a folder as Playlist."""
    names = [name for name, use in config.sources.items() if use.use in (MEDIA_FILE, PLAYLIST)]
    if len(names) != 1:
        problem = "has no file source" if not names else f"has {len(names)} file sources: {', '.join(names)}"
        hint = f"write one of {MEDIA_FILE}" if not names else f"say which: --set sources.{names[0]}.path=FILE"
        raise ConfigError(config.file, "sources", f"--input does not fit: the config {problem}", hint)
    # These options belong to the file that is replaced.
    kept = {name: value for name, value in config.sources[names[0]].options.items() if name not in PATH_OPTIONS}
    alone = len(paths) == 1 and not paths[0].is_dir()
    played = {"use": MEDIA_FILE, "path": str(paths[0])} if alone else {"use": PLAYLIST, "paths": [str(path) for path in paths]}
    overrides = [Override(f"sources.{names[0]}", {**kept, **played}, "--input")]
    if not config.places.get(("truth",), "").startswith("--"):
        overrides.append(Override("truth", None, "--input"))  # what the config names is the truth of its own file
    return overrides


def _written_to(config: Config, path: Path) -> Override:
    """One more sink, by the file's suffix: .arrow or .arrows an Arrow stream, else JSON lines."""
    for name, use in config.sources.items():
        for option in PATH_OPTIONS:
            if path.resolve() in _paths(config.folder, use.options.get(option)):
                raise ConfigError(f"--out {path.name}", "", f"is what the source {name} reads", "name another file")
    sink = "pipeline.sinks.arrow:ArrowStream" if path.suffix in (".arrow", ".arrows") else "pipeline.sinks.jsonl:JsonLines"
    return Override(f"sinks.{len(config.sinks)}", {"use": sink, "path": str(path)}, "--out")


def _paths(folder: Path, option: object) -> list[Path]:
    texts = option if isinstance(option, list) else [option]
    return [(folder / text).resolve() for text in texts if isinstance(text, str)]
