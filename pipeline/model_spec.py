"""What model.yaml may say, checked: every field with its range. The names become file names and names in a graph, so they are plain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from operators.errors import ConfigError
from operators.tensorize import InputRule
from operators.window import StreamRule, Take
from pipeline.ports import Kind

SPEC_FILE, WEIGHTS_FILE, FUSE_FILE, ATTRIBUTE_FILE = "model.yaml", "weights.safetensors", "fuse.onnx", "attribute.onnx"
MS = 1_000_000  # nanoseconds

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
InputName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]  # becomes a file name and the name of a graph's input
Label = Annotated[str, Field(pattern=r"^\S(.{0,62}\S)?$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Shape = Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=4)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Use(BaseModel):
    """`module:Name` of this project's operators and the options it is made with. Only `operators.`: a model is data, not code to run."""

    model_config = ConfigDict(extra="allow", frozen=True)
    use: str = Field(pattern=r"^operators(\.[a-z][a-z0-9_]*)+:[A-Za-z][A-Za-z0-9_]*$")

    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class EncoderUse(Use):
    """dim: length of one packet's embedding. carry: the encoder also takes the embedding before (`operators.encoders_carried`)."""

    dim: int = Field(ge=1, le=4096)
    carry: bool = False


class WantedSpec(_Strict):
    """What the source is asked for; see `pipeline.ports.Wanted`."""

    pixels: Literal["rgb", "gray"] = "rgb"
    max_width: PositiveInt | None = None
    rate_hz: PositiveInt | None = None
    channels: PositiveInt | None = None


class WindowSpec(_Strict):
    """The model looks at length_ms every hop_ms, and speaks of the hop that ends lag_ns before the window's end (its look-ahead)."""

    length_ms: PositiveInt
    hop_ms: PositiveInt
    lag_ms: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _holds_its_hop(self) -> WindowSpec:
        if self.lag_ms + self.hop_ms > self.length_ms:
            raise ValueError(f"lag_ms + hop_ms may not exceed length_ms, got {self.lag_ms} + {self.hop_ms} > {self.length_ms}")
        return self


class InputSpec(_Strict):
    """One input: what is wanted of its stream, how it is prepared, looked up, cut into steps and encoded. See `InputRule`, `StreamRule`."""

    kind: Kind
    wanted: WantedSpec = WantedSpec()
    transforms: list[Use] = []
    take: Take = "window"
    tolerance_ms: int = Field(default=0, ge=0)
    ttl_ms: PositiveInt | None = None
    steps: int = Field(default=1, ge=1, le=1024)
    hold_ms: int = Field(default=0, ge=0)
    shape: Shape
    dtype: Literal["uint8", "int64", "float32", "float64"]
    encoder: EncoderUse

    @model_validator(mode="after")
    def _take_fits(self) -> InputSpec:
        if self.take != "window" and (self.steps != 1 or self.hold_ms != 0):
            raise ValueError(f"take {self.take} gives one packet: steps 1 and hold_ms 0 wanted, got {self.steps} and {self.hold_ms}")
        if self.take == "interpolate" and self.kind != "series":
            raise ValueError(f"take interpolate blends numbers: kind series wanted, got {self.kind}")
        return self

    def stream_rule(self, name: str) -> StreamRule:
        ttl_ns = None if self.ttl_ms is None else self.ttl_ms * MS
        return StreamRule(stream=name, take=self.take, tolerance_ns=self.tolerance_ms * MS, ttl_ns=ttl_ns)

    def input_rule(self, name: str) -> InputRule:
        return InputRule(
            input=name,
            take=self.take,
            steps=self.steps,
            hold_ns=self.hold_ms * MS,
            shape=self.shape,
            dtype=self.dtype,
            carry=self.encoder.carry,
            dim=self.encoder.dim,
        )


class ModelSpec(_Strict):
    """model.yaml. `files` is filled in by `pipeline.export.save_model`; everything else is what the model is trained to.

    also: what else every decision answers -> the answers to choose from; their logits stand behind those of the labels
    """

    name: Name
    version: PositiveInt = 1
    labels: list[Label] = Field(min_length=2, max_length=1000)
    window: WindowSpec
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    inputs: dict[InputName, InputSpec] = Field(min_length=1, max_length=32)
    head: Use
    also: dict[Name, Annotated[list[Label], Field(min_length=2, max_length=1000)]] = {}
    files: dict[str, Sha256] = {}

    @model_validator(mode="after")
    def _names_differ(self) -> ModelSpec:
        for names in (self.labels, *self.also.values()):
            if len(set(names)) != len(names):
                raise ValueError(f"labels must differ, got {names}")
        taken = [name for name in self.inputs if name == "logits" or name.endswith("_presence")]
        if taken:
            raise ValueError(f"an input may not be called logits or ..._presence (names of the graph itself), got {taken}")
        return self

    @property
    def outputs(self) -> int:
        """Logits of a decision."""
        return len(self.labels) + sum(map(len, self.also.values()))

    def file_names(self) -> list[str]:
        """The files that make the model, sorted; metrics and card are about it, not of it."""
        return sorted([WEIGHTS_FILE, FUSE_FILE, *(encoder_file(name) for name in self.inputs), *[ATTRIBUTE_FILE] * self.attributes])

    @property
    def attributes(self) -> bool:
        """There is a graph that fuses every set of the inputs at once."""
        return ATTRIBUTE_FILE in self.files


def encoder_file(name: str) -> str:
    return f"encode_{name}.onnx"


def before_name(name: str) -> str:
    """What an encoder's graph calls the embedding of the packet before, where it takes one."""
    return f"{name}_before"


def parse_spec(content: object, file: str) -> ModelSpec:
    """A parsed model.yaml -> ModelSpec. `file` is only for the message of a ConfigError."""
    if not isinstance(content, Mapping):
        raise ConfigError(file, "", f"a mapping wanted, got {type(content).__name__}", "see docs/models.md for a model.yaml")
    try:
        return ModelSpec.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        problem = f"{first['msg'].removeprefix('Value error, ')}, got {str(first['input'])[:80]!r}"
        raise ConfigError(file, key, problem, _hint(key)) from None


def _hint(key: str) -> str:
    if key.endswith(".use") or key == "head.use":
        return "a model may only name classes of this project, as operators.module:Name"
    return "see docs/models.md for what a model.yaml holds"
