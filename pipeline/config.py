"""The YAML a user writes, as pydantic models, and the one clear line each mistake in it gets.

`load_config` reads text only: it imports nothing that the config names and opens no media. `pipeline.plan` does that.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError, WithJsonSchema

from operators.errors import ConfigError
from pipeline.configerrors import HIDDEN, first_error, place_of
from pipeline.yamltext import KeyPath, Override, Places, apply_override, dotted, parse_override, read_yaml

SHIPPED = Path(__file__).parent / "configs"
"""Where an installed wheel keeps configs/; in a checkout they lie beside the packages."""

_DURATION = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>ms|s|min|m|h)?")
_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{2}(?:\.\d+)?)")
_UNIT_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, None: 1.0}


def parse_duration(value: object) -> object:
    """Seconds from 90, '90', '90s', '1.5m', '1:30' or '0:01:30'; anything else is handed on for pydantic to refuse."""
    if not isinstance(value, str):
        return value
    if match := _DURATION.fullmatch(value.strip()):
        return float(match["number"]) * _UNIT_S[match["unit"]]
    if match := _CLOCK.fullmatch(value.strip()):
        return int(match[1] or 0) * 3600 + int(match[2]) * 60 + float(match[3])
    raise ValueError("a duration like 30s, 1.5m or 1:30")


def _module_and_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", value):
        raise ValueError("module:Class")
    return value


def _stream_of_source(value: str) -> str:
    if not re.fullmatch(r"[\w-]+\.[\w-]+", value):
        raise ValueError("source.stream, for example media.video")
    return value


Milliseconds = Annotated[float, Field(ge=0, le=3_600_000)]
Seconds = Annotated[
    float,
    BeforeValidator(parse_duration),
    Field(gt=0, le=366 * 86_400),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0, "maximum": 366 * 86_400}, {"type": "string"}]}),
]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$")]
SourceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True)


class Use(_Part):
    """A class (or, for transforms, a function) by name; every other key is an option of its constructor."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    use: Annotated[str, AfterValidator(_module_and_name)] = Field(
        description="module:Class",
        examples=["pipeline.sources.file:MediaFile"],
        json_schema_extra={"pattern": r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"},
    )

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Align(_Part):
    """How long a decision waits for late packets. In a run at full speed nothing is late and nothing of this matters."""

    deadline_ms: Milliseconds = Field(
        default=150.0, description="a decision goes out at the latest this long after its window's end", examples=[150]
    )
    revise_ms: Milliseconds = Field(default=0.0, description="0: off; else correct a decision when late packets change it", examples=[500])


class Run(_Part):
    """How fast, where and for how long."""

    speed: Literal["max"] | Annotated[float, Field(gt=0, le=100)] = Field(
        default=1.0, description="1: as live; 4: four times as fast; max: as fast as this machine can", examples=[1]
    )
    runner: Literal["ray", "inline"] = Field(
        default="ray", description="ray: one process a source; inline: all in one process", examples=["ray"]
    )
    backend: Name = Field(default="auto", description="what runs the model: auto, onnx, int8, torch or tensorrt", examples=["auto"])
    duration: Seconds | None = Field(default=None, description="end after this much session time: 30s, 1.5m, 1:30", examples=["30s"])


class Edge(_Part):
    """What the way from a source to the model may hold, and what it drops first. Bounds that are not given stay at the default."""

    policy: Literal["lossless", "latest", "drop_oldest", "throttle"] = Field(
        "drop_oldest", description="what to drop when full", examples=["drop_oldest"]
    )
    max_packets: int | None = Field(default=None, ge=1, description="at most this many packets wait", examples=[64])
    max_bytes: int | None = Field(default=None, ge=1, description="at most this many bytes wait", examples=[8388608])
    max_age_ms: Milliseconds | None = Field(default=None, description="packets that waited longer are dropped", examples=[1000])
    per_second: float | None = Field(default=None, gt=0, description="for throttle: at most this many packets a second", examples=[10])


class Decide(_Part):
    """From scores to a label."""

    hold: int = Field(default=1, ge=1, le=1000, description="a new label must win this many decisions in a row", examples=[1])
    attribution: bool = Field(default=False, description="also say how much each stream had to do with each decision", examples=[True])


class Record(_Part):
    """Keep the run: original media, what the model saw, decisions. Off unless this is here. Units are in the names; a segment is a file."""

    folder: str = Field(min_length=1, description="each run gets a new folder in it", examples=["recordings"])
    segment: Seconds = Field(default=60.0, description="begin a new file after this much session time", examples=["60s"])
    segment_mb: float = Field(default=64.0, gt=0, le=4096, description="... or after so many megabytes", examples=[64])
    keep_days: float | None = Field(default=None, gt=0, description="delete segments in the folder that are older", examples=[7])
    keep_gb: float | None = Field(default=None, gt=0, description="delete the oldest segments beyond so many gigabytes", examples=[20])
    free_mb: float = Field(default=500.0, ge=0, description="stop recording while the disk has less free; decisions go on", examples=[500])


class Replayed(_Part):
    """A recorded session in place of sources; see `pipeline.session.replay.Replay`. folder: of the session, absolute."""

    folder: str
    start_ns: int = Field(default=0, ge=0)
    end_ns: int | None = Field(default=None, ge=0)
    ideal: bool = False


class Config(_Part):
    """A run of Sensorium: which streams, which model, how to align them, where decisions go."""

    model_config = ConfigDict(title="Config")

    session: Name | None = Field(default=None, description="the session's name; default: the file's name", examples=["demo"])
    model: str = Field(min_length=1, description="a shipped model's name, or a folder", examples=["speaking"])
    sources: dict[SourceName, Use] = Field(default_factory=dict, description="a name for each device, file or feed")
    inputs: dict[str, Annotated[str, AfterValidator(_stream_of_source)]] = Field(
        default_factory=dict, description="model input: source.stream", examples=[{"video": "media.video"}]
    )
    transforms: dict[str, list[Use]] = Field(default_factory=dict, description="per input: put before the model's own transforms")
    align: Align = Field(default_factory=Align)
    run: Run = Field(default_factory=Run)
    offset_ms: dict[str, Annotated[float, Field(ge=-60_000, le=60_000)]] = Field(
        default_factory=dict,
        description="per input: added to its times, where its device is known to be early or late (sensorium calibrate)",
        examples=[{"audio": 84}],
    )
    edges: dict[str, Edge] = Field(default_factory=dict, description="per input: what may wait between source and model")
    nodes: dict[SourceName, dict[str, str]] = Field(
        default_factory=dict,
        description="on a Ray cluster, per source: the labels of the node that its device is at",
        examples=[{"camera": {"room": "kitchen"}}],
    )
    decide: Decide = Field(default_factory=Decide)
    sinks: list[Use] = Field(default_factory=list, description="where decisions go, besides the terminal")
    record: Record | None = Field(default=None, description="keep the run, to replay it")
    truth: str | None = Field(
        None, description="JSON lines of start_ms, end_ms, label to score the decisions against", examples=["truth.jsonl"]
    )

    origin: str = Field(default="", description="the file this was read from, absolute; set by load_config, never written by hand")
    replay: Replayed | None = Field(default=None, description="set by `sensorium replay`, never written by hand")

    _places: Places = PrivateAttr(default_factory=dict)

    @property
    def file(self) -> str:
        """What errors call the file that this came from."""
        return shown_path(self.origin)

    @property
    def folder(self) -> Path:
        """What relative paths in the config are relative to."""
        return Path(self.origin).parent

    @property
    def places(self) -> Places:
        """Where each key was written; empty where the config came from another process."""
        return self._places

    def error(self, path: KeyPath, problem: str, hint: str) -> ConfigError:
        """A ConfigError that names the line where `path` was written."""
        return ConfigError(place_of(path, self._places, self.file), dotted(path), problem, hint)


class WrittenConfig(Config):
    """A config as a person writes it: with sources."""

    sources: dict[SourceName, Use] = Field(min_length=1, description="a name for each device, file or feed")
    inputs: dict[str, Annotated[str, AfterValidator(_stream_of_source)]] = Field(
        min_length=1, description="model input: source.stream", examples=[{"video": "media.video"}]
    )


def shown_path(path: str) -> str:
    """Relative to the working directory where that is shorter, as a person would type it."""
    try:
        relative = os.path.relpath(path)
    except (ValueError, OSError):
        return path
    return relative if path and not relative.startswith("..") else path or "config"


def find_config(name: str | Path) -> Path:
    """A path as given, else a config that ships with Sensorium, by file name or by stem ('demo', 'configs/demo.yaml')."""
    path = Path(name)
    if path.exists() or path.is_absolute():
        return path
    wanted = path.name if path.suffix in (".yaml", ".yml") else f"{path.name}.yaml"
    folders = [SHIPPED, SHIPPED.parent.parent / "configs"] if path.parent in (Path(), Path("configs")) else []
    return next((folder / wanted for folder in folders if (folder / wanted).is_file()), path)


def load_config(path: str | Path, overrides: Sequence[str | Override] = ()) -> Config:
    """Reads, overrides (`a.b.0=value`) and checks. Raises ConfigError with the line of the mistake."""
    found = find_config(path)
    file = shown_path(str(found.absolute()))
    values, places = read_yaml(found, file)
    if not isinstance(values, dict):
        raise ConfigError(
            file, "", f"holds {'nothing' if values is None else 'no mapping of key: value'}", "see configs/demo.yaml for one that works"
        )
    for override in overrides:
        apply_override(values, places, parse_override(override) if isinstance(override, str) else override)
    return validate(values, places, origin=str(found.absolute()))


def validate(values: dict[str, Any], places: Places, *, origin: str) -> Config:
    """Plain values to a Config; `origin` is the file they are from, its folder the base of relative paths."""
    file = shown_path(origin)
    for key in HIDDEN:
        if key in values:
            raise ConfigError(place_of((key,), places, file), key, "is not a key that is known here", "remove it")
    filled = {"session": _session_name(origin)} | values | {"origin": origin}
    try:
        config = WrittenConfig.model_validate(filled)
    except ValidationError as error:
        raise first_error(error, WrittenConfig, values, places, file) from None
    config._places.update(places)
    return config


def _session_name(origin: str) -> str:
    """The file's stem, with whatever a name may not hold replaced."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", Path(origin).stem).lstrip(".-")[:64] or "session"


def json_schema() -> dict[str, Any]:
    """The JSON schema that editors check configs with; the same text whatever version of pydantic makes it."""
    schema = WrittenConfig.model_json_schema()
    for key in HIDDEN:
        del schema["properties"][key]
    del schema["$defs"]["Replayed"]
    schema["description"] = Config.__doc__
    return cast(dict[str, Any], _settled({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}))


def _settled(value: object) -> object:
    """Without what versions of pydantic write differently: 150.0 for 150, and an `enum` that says what `const` says."""
    if isinstance(value, dict):
        return {key: _settled(inner) for key, inner in value.items() if not (key == "enum" and "const" in value)}
    if isinstance(value, list):
        return [_settled(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
