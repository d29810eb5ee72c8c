"""What the API answers with, for people to read in OpenAPI: one model per answer, units in the names."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Text = str


class _Open(BaseModel):
    """A newer supervisor may say more than we know of; it is passed on."""

    model_config = ConfigDict(extra="allow")


class _Asked(BaseModel):
    """A body of a request: what is not known in it is a mistake."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Problem(BaseModel):
    """Every answer that is no success."""

    error: Text = Field(description="one line: what was got, what was expected, what to do")


class Live(BaseModel):
    status: Literal["ok", "degraded"]


class Health(BaseModel):
    status: Literal["ok", "degraded"]
    reasons: list[Text] = Field(description="why it is degraded; empty: all is well")


class Done(_Open):
    done: Text = Field(description="one line for a person")


class ServiceFacts(_Open):
    version: Text
    since: Text = Field(description="when the daemon started, UTC")
    address: Text
    engine: dict[str, Any] = Field(description="state, restarts, cores in use and their bound, batch sizes")
    recording: list[Text] = Field(description="the sessions that are being recorded now")
    degraded: list[Text] = Field(description="why it is degraded; empty: all is well")
    limits: dict[str, float] = Field(description="what is taken from one client, and from all")
    secure: bool = Field(description="over TLS")


class Window(_Open):
    hop_ns: int
    length_ns: int
    lag_ns: int
    deadline_ns: int


class Gone(_Open):
    why: Text
    exit_code: int


class SessionFacts(_Open):
    session: Text
    config: Text = ""
    labels: list[Text] = Field(default_factory=list)
    inputs: dict[Text, Text] = Field(default_factory=dict, description="the model's inputs: their kind")
    sources: dict[Text, list[Text]] = Field(default_factory=dict, description="each source: the inputs it feeds")
    recording: Text = Field("", description="the recording's name; empty: it is not recorded")
    since: Text = ""
    live: bool = Field(False, description="it takes attach and detach")
    window: Window | None = None
    replay: Text = Field("", description="the recording that it replays; empty: it is live")
    status: dict[str, Any] | None = Field(None, description="the newest status, about 4 a second; null: none yet")
    gone: Gone | None = Field(None, description="null: it runs")


class Configs(_Open):
    configs: list[dict[str, Any]] = Field(description="name, title, sources, model of what may be started")


class Presets(_Open):
    presets: list[Any] = Field(description="names of what may be attached")


class Start(_Asked):
    config: Text = Field(min_length=1, max_length=64, description="a name that GET /api/configs lists")
    session: Text | None = Field(None, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$", description="its name; default: the config's")
    record: bool = False


class Record(_Asked):
    on: bool


class Detach(_Asked):
    sources: list[Text] = Field(min_length=1, max_length=64)


class Attach(_Asked):
    preset: Text = Field(min_length=1, max_length=64, description="a name that GET /api/presets lists")


class SendText(_Asked):
    text: Text = Field(min_length=1, max_length=65_536)
    source: Text | None = Field(None, max_length=64, description="where several take text: which")


class Decisions(_Open):
    decisions: list[dict[str, Any]] = Field(
        description="in order; each with id, start_ns, end_ns, label, scores, presence, age_ns, latency_ns"
    )
    known: bool = Field(description="false: `after` is not among those that are kept, so some may be missing before the first")


class Recording(_Open):
    name: Text
    state: Literal["recording", "complete", "cut off", "damaged"]
    problem: Text = Field("", description="why it cannot be read; empty: it can")
    session: Text = ""
    created: Text = ""
    length_ns: int = 0
    model: Text = ""
    labels: list[Text] = Field(default_factory=list, description="names of labels that people gave it")
    streams: dict[Text, Text] = Field(default_factory=dict, description="SOURCE.STREAM: kind, of what was recorded at a source")
    bytes: int = 0


class LevelPoint(BaseModel):
    at_ns: int
    rms_db: float = Field(description="dB of full scale, at least -120")
    peak_db: float


class Levels(BaseModel):
    stream: Text
    levels: list[LevelPoint]


class Span(BaseModel):
    start_ns: int
    end_ns: int
    text: Text


class Texts(BaseModel):
    stream: Text
    texts: list[Span]


class Replay(_Asked):
    start_ns: int = Field(0, ge=0)
    end_ns: int | None = Field(None, gt=0)
    speed: float | Literal["max"] = 1.0
    session: Text | None = Field(None, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$")


class LogLine(_Open):
    utc: Text
    level: Text
    where: Text = Field(description="supervisor, engine or api")
    line: Text


class Logs(BaseModel):
    lines: list[LogLine] = Field(description="oldest first, secrets masked")
