"""The settings of the daemon, as a person writes them in YAML: where it listens, what may be started from its page, how much it takes on.

    sensorium run --daemon --service service.yaml

Without a file everything has its default: this machine only, a token, the configs that ship.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from operators.errors import ConfigError
from pipeline.configerrors import first_error
from pipeline.yamltext import read_yaml


def _listen(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65_535:
        raise ValueError("ADDRESS:PORT, for example 127.0.0.1:8700")
    return value


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True)


class Tls(_Part):
    """PEM files. Without them nothing is served beyond this machine."""

    certificate: str = Field(min_length=1, description="the server's certificate, with its chain")
    key: str = Field(min_length=1, description="its private key; only its owner may read it")


class RayNodes(_Part):
    """Where the actors run."""

    address: str = Field(default="local", description="local: on this machine; auto, or HOST:PORT: on the Ray cluster there")
    fusion_actors: int = Field(default=1, ge=1, le=256, description="so many processes run models; each serves many sessions")


class Admission(_Part):
    """How many sessions are taken on."""

    cores: float | None = Field(default=None, gt=0, description="processor cores to plan with; default: those of this machine")
    share: float = Field(default=0.9, gt=0, le=1, description="of them, so much may be in use; a session that needs more is refused")


class Limits(_Part):
    """What the API takes from one client, and from all."""

    body_kb: int = Field(default=256, ge=1, le=65_536, description="largest body of a request")
    connections: int = Field(default=64, ge=1, le=10_000, description="at a time")
    connections_of_one: int = Field(default=48, ge=1, le=10_000, description="of them, of one address")
    per_minute: int = Field(default=600, ge=1, le=1_000_000, description="requests of one address")
    seconds: float = Field(default=10.0, gt=0, le=600, description="for a request to come in, and to be answered")


class Service(_Part):
    """The daemon: where it listens, what may be started from its page, how much it takes on."""

    model_config = ConfigDict(title="Service")

    listen: Annotated[str, AfterValidator(_listen)] = Field(default="127.0.0.1:8700", description="ADDRESS:PORT; port 0: any that is free")
    tls: Tls | None = Field(default=None, description="needed to listen beyond this machine")
    hosts: list[str] = Field(default_factory=list, description="further names that this server is called by in a browser")
    configs: str | None = Field(default=None, description="a folder of configs that may be started from the page, besides those that ship")
    recordings: str | None = Field(default=None, description="where sessions started from the page are recorded; default: recordings/")
    ray: RayNodes = Field(default_factory=RayNodes)
    admission: Admission = Field(default_factory=Admission)
    limits: Limits = Field(default_factory=Limits)
    log: Literal["auto", "text", "json"] = Field(default="auto", description="auto: json when stderr is not a terminal")
    traces: str | None = Field(default=None, description="OTLP over HTTP: one trace a decision is sent to this address")

    origin: str = Field(default="", description="the file this was read from, absolute; set by load_service, never written by hand")

    @property
    def folder(self) -> Path:
        """What relative paths are relative to."""
        return Path(self.origin).parent if self.origin else Path.cwd()

    @property
    def recordings_folder(self) -> Path:
        """Where sessions started from the page are recorded."""
        return Path("recordings").absolute() if self.recordings is None else self.folder / Path(self.recordings).expanduser()


def load_service(path: str | Path | None) -> Service:
    """None: all defaults. Raises ConfigError with the line of the mistake."""
    if path is None:
        return Service()
    values, places = read_yaml(Path(path), str(path))
    if not isinstance(values, dict):
        raise ConfigError(str(path), "", "holds no mapping of key: value", "see docs/daemon.md for one that works")
    if "origin" in values:
        raise ConfigError(str(path), "origin", "is not a key that is known here", "remove it")
    try:
        return Service.model_validate(values | {"origin": str(Path(path).absolute())})
    except ValidationError as error:
        raise first_error(error, Service, values, places, str(path)) from None
