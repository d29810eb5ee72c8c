"""The YAML that `sensorium train` reads: a model to be, labelled data, and how to train."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from operators.errors import ConfigError
from operators.network import MOST_INPUTS
from pipeline.config import shown_path
from pipeline.configerrors import first_error, place_of
from pipeline.model import Model, ModelSpec, load_model
from pipeline.resolve import Part, require
from pipeline.training.feed import Mix
from pipeline.training.loop import LoopConfig
from pipeline.yamltext import KeyPath, Override, Places, apply_override, dotted, parse_override, read_yaml

DATA_VARIABLE = "SENSORIUM_DATA"


class DataUse(BaseModel):
    """A dataset: a class of `pipeline.training`, or one like it; every other key is an option of its constructor."""

    model_config = ConfigDict(extra="allow", frozen=True)
    use: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", examples=["pipeline.training.media:LabelledMedia"])
    share: float = Field(1.0, gt=0, description="how many of the sessions are from here, in parts")


class TrainConfig(BaseModel):
    """In options of `data`, ${data} is the folder `data_root` (the variable SENSORIUM_DATA goes first) and ${cache} is `cache`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    model: ModelSpec
    data: Annotated[list[DataUse], Field(min_length=1)]
    data_root: str = Field(".", description="folder of recordings, relative to the config")
    cache: str | None = Field(None, description="folder for prepared data; default: sensorium/train in the user's cache folder")
    out: str | None = Field(None, description="model directory to write, relative to the config", examples=["../../pipeline/models/mine"])
    start: str | None = Field(None, description="model to train on from: a shipped one's name, or a directory, relative to the config")
    loop: LoopConfig = Field(default_factory=lambda: LoopConfig.model_validate({}))
    card: str = Field("", description="Markdown for the model card: what it is for, its data, licences and limits")


class Training:
    """A checked config with its file. Raises ConfigError at once for what is wrong in it; the data are read by `mix`.

    start: the model whose weights training begins with; None: random ones
    """

    def __init__(self, path: Path, overrides: Sequence[str | Override] = ()) -> None:
        self.path = path.absolute()
        self.file = shown_path(str(self.path))
        self.folder = self.path.parent
        values, self._places = _values(self.path, self.file, overrides)
        try:
            self.config = TrainConfig.model_validate(values)
        except ValidationError as error:
            raise first_error(error, TrainConfig, values, self._places, self.file) from None
        self._parts = [self._part(index, use) for index, use in enumerate(self.config.data)]
        self._check_loop()
        self.start = None if self.config.start is None else self._model_of(self.config.start)

    @property
    def out(self) -> Path:
        """The model directory to write, if the caller names none."""
        return self.folder / (self.config.out or self.config.model.name)

    @property
    def data_root(self) -> Path:
        return Path(os.environ.get(DATA_VARIABLE) or self.folder / self.config.data_root).absolute()

    @property
    def cache(self) -> Path:
        if self.config.cache is not None:
            return self.folder / Path(self.config.cache).expanduser()
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(home) / "sensorium" / "train"

    @property
    def digest(self) -> str:
        """Of everything that the weights depend on and that is known here. Not what the data hold, nor on what machine they are made."""
        return self._digest({"device"})

    @property
    def released_digest(self) -> str:
        """The same without what may be changed when a run has diverged."""
        return self._digest({"device", "learning_rate", "bfloat16"})

    def _digest(self, free: set[str]) -> str:
        content = self.config.model_dump(mode="json", exclude={"card": True, "out": True, "loop": free})
        said = json.dumps({**content, "free": sorted(free)}, sort_keys=True)
        return hashlib.sha256(f"{said}\0{self.data_root}\0{torch.__version__}".encode()).hexdigest()

    def mix(self) -> Mix:
        """Makes the datasets: reads, decodes and prepares, which may take minutes at the first time."""
        datasets = tuple(part.make(spec=self.config.model) for part in self._parts)
        return Mix(datasets=datasets, shares=tuple(use.share for use in self.config.data))

    def fail(self, path: KeyPath, problem: str, hint: str) -> ConfigError:
        return ConfigError(place_of(path, self._places, self.file), dotted(path), problem, hint)

    def _check_loop(self) -> None:
        loop, inputs = self.config.loop, len(self.config.model.inputs)
        if not loop.epochs and self.config.start is None:
            raise self.fail(
                ("loop", "epochs"), "is 0, and there is no `start`", "name a model whose weights are kept, or train some epochs"
            )
        for key in ("even_recall", "needs"):
            if getattr(loop, key) and inputs > MOST_INPUTS:
                raise self.fail(("loop", key), f"takes at most {MOST_INPUTS} inputs, got {inputs}", "leave it out")
        for label, name in loop.needs.items():
            if label not in self.config.model.labels or name not in self.config.model.inputs:
                known = f"labels {', '.join(self.config.model.labels)}; inputs {', '.join(self.config.model.inputs)}"
                raise self.fail(("loop", "needs", label), f"wants a label and the input that it needs, got {label}: {name}", known)

    def _model_of(self, start: str) -> Model:
        try:
            return load_model(start if "/" not in start and not (self.folder / start).exists() else self.folder / start)
        except ConfigError as error:
            raise self.fail(("start",), f"{start}: {error.problem}", error.hint) from None

    def _part(self, index: int, use: DataUse) -> Part:
        path: KeyPath = ("data", index)
        options = {name: self._filled(value) for name, value in (use.model_extra or {}).items()}
        part = Part(use.use, options, path=path, folder=self.folder, fail=self.fail)
        require(part, ["sessions"], "dataset", path, self.fail)
        return part

    def _filled(self, value: Any) -> Any:  # noqa: ANN401 - any plain value
        if isinstance(value, str):
            return value.replace("${data}", str(self.data_root)).replace("${cache}", str(self.cache))
        if isinstance(value, list):
            return [self._filled(item) for item in value]
        return value


def _values(path: Path, file: str, overrides: Sequence[str | Override]) -> tuple[dict[str, Any], Places]:
    values, places = read_yaml(path, file)
    if not isinstance(values, dict):
        raise ConfigError(file, "", "holds no mapping of key: value", "see configs/train/speaking.yaml for one that works")
    for override in overrides:
        apply_override(values, places, parse_override(override) if isinstance(override, str) else override)
    return values, places
