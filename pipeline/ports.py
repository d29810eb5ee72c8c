"""The protocols of the shell: what a source, a backend and a sink must be.

A new one is a new file in `sources/`, `backends/` or `sinks/` and one `use: module:Class` in a config;
the contract test of its folder picks it up by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from operators.decision import Decision
from operators.packet import StreamEvent

Kind = Literal["video", "audio", "text", "series"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSpec:
    """What a source offers under a name.

    rate_hz: frames or samples per second, None where there is no fixed rate. detail: for people ("640x480 h264").
    """

    name: str
    kind: Kind
    rate_hz: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the model would like of a stream, so that a source can make it cheaply. A source may ignore any of it.

    pixels, max_width: for video. rate_hz, channels: for audio.
    """

    pixels: Literal["rgb", "gray"] = "rgb"
    max_width: int | None = None
    rate_hz: int | None = None
    channels: int | None = None


class Source(Protocol):
    """One device, file or feed that yields the events of one or more streams.

    Options are keyword arguments of the constructor, annotated; the constructor only stores them. Life: open, events, close.
    `live` False: the source has an end and can be read faster than real time. True: it delivers in its own time.
    """

    live: bool

    def open(self, wanted: Mapping[str, Wanted]) -> Sequence[StreamSpec]:
        """Finds and opens the thing; `wanted` is keyed by the stream names of this source. Raises SourceError."""
        ...

    def events(self, from_ns: int = 0) -> Iterator[tuple[int, StreamEvent]]:
        """(due_ns, event) in order of due_ns: when, on the session timeline, a live device would have delivered it.

        Ends after a Closed for every stream. from_ns > 0: a restart; what starts before it may be left out.
        """
        ...

    def end_ns(self) -> int | None:
        """Where the session timeline of this source ends, for a progress bar; None: unknown or endless."""
        ...

    def close(self) -> None: ...


class Backend(Protocol):
    """Runs the graphs of one model directory. One thread calls it."""

    name: str

    def encode(self, stream: str, batch: NDArray[Any], before: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """batch: (n, *input shape of that stream) -> (n, dim) embeddings. before: (n, dim), only where the encoder carries."""
        ...

    def fuse(self, inputs: Mapping[str, NDArray[np.float32]], presence: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """inputs[stream]: (batch, steps, dim); presence[stream]: (batch, steps) of 0 or 1 -> logits (batch, labels)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatus:
    """What a person wants to know of one stream; counts are since the start of the run."""

    name: str
    kind: Kind
    state: Literal["waiting", "live", "stalled", "closed", "lost"]
    packets: int = 0
    rate_hz: float = 0.0
    age_ns: int | None = None
    drift_ppm: float | None = None
    late: int = 0
    dropped: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeCount:
    """Conservation of one edge: entered == left + sum(dropped.values()) + waiting, always."""

    edge: str
    entered: int
    left: int
    waiting: int
    dropped: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The run as it stands, sent about four times a second and once at the end (final=True)."""

    session: str
    runner: str
    model: str
    backend: str
    state: Literal["starting", "running", "degraded", "ended", "failed"]
    now_ns: int
    end_ns: int | None
    decisions: int
    missed_deadlines: int
    skipped: int
    revisions: int
    streams: Sequence[StreamStatus]
    edges: Sequence[EdgeCount]
    events: Sequence[str] = ()
    final: bool = False


class Sink(Protocol):
    """Takes decisions and status, in order, from one thread. close() flushes and is called exactly once."""

    def decision(self, decision: Decision) -> None: ...

    def status(self, status: Status) -> None: ...

    def close(self) -> None: ...
