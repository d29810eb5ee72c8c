"""The protocols of the shell: what a source, a backend and a sink must be.

A new one is a new file in `sources/`, `backends/` or `sinks/` and one `use: module:Class` in a config;
the contract test of its folder picks it up by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from operators.decision import Decision
from operators.packet import StreamEvent

Kind = Literal["video", "audio", "text", "series"]

StreamState = Literal["waiting", "connecting", "live", "stalled", "lost", "muted", "closed"]
"""How a stream is.

waiting     nothing is known of it yet
connecting  its source has never been reached in this run, and is being tried
live        it delivers (or, for text, would if there were something to say)
stalled     connected, but nothing comes
lost        it was there and went away; a live source tries again for ever, a file's is given up
muted       it delivers, but only digital silence
closed      it ended
"""

Quality = Literal["ntp", "device", "arrival"]
"""What a stream's stamps are worth: ntp (the sender's wall clock, common to its streams) > device (its own clock) > arrival (ours)."""


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


def both(one: Wanted, other: Wanted) -> Wanted:
    """What serves two inputs that are fed by one stream: the richer of each."""

    def most(a: int | None, b: int | None) -> int | None:
        return None if a is None or b is None else max(a, b)

    return Wanted(
        pixels="gray" if one.pixels == other.pixels == "gray" else "rgb",
        max_width=most(one.max_width, other.max_width),
        rate_hz=one.rate_hz or other.rate_hz,
        channels=one.channels or other.channels,
    )


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


class MediaTap(Protocol):
    """Takes a source's compressed packets for a recording, which then need not be encoded again."""

    def packet(self, stream: str, packet: Any, template: Any, times_ns: tuple[int, int, int]) -> None:  # noqa: ANN401
        """packet: an av.Packet before it is decoded. times_ns: start, decode time, duration, in session time.

        template: an av.Stream with its parameters, which is looked at later, in another thread (`pipeline.media.container.lasting`);
        another object: another codec or epoch, so nothing is decoded across the change.
        """
        ...


@runtime_checkable
class Tapped(Protocol):
    """A source that can give its compressed packets away; a source without `tap` is recorded from its events."""

    def tap(self, tap: MediaTap) -> Sequence[str]:
        """Called after open() and before events(). Gives the names of the streams whose packets will come."""
        ...


@runtime_checkable
class Doored(Protocol):
    """A source that can be sent to over HTTP from this machine, with the token."""

    def doors(self) -> Mapping[str, str]:
        """What it takes ("text", "offer") -> its address just now; asked again and again, after open()."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a live source says that one of its streams is.

    drift_ppm       how much the device's clock is fast against the session's; None: not known (yet)
    uncertainty_ns  typical error of a stamp now; the unknown least delay from capture to arrival is not in it
    detail          the format that was granted ("640x360 yuyv422 30 fps")
    faults          what was lived through, by name (reconnect, reset, duplicate, overflow ...): counts since the start of the process
    """

    state: StreamState
    quality: Quality | None = None
    drift_ppm: float | None = None
    uncertainty_ns: int | None = None
    detail: str = ""
    faults: Mapping[str, int]


class LiveSource(Source, Protocol):
    """A source that delivers in its own time. Life: open, begin, events, close.

    open does not wait for the device: a live source that is not there is tried again for ever, and events never waits long
    (at least every 100 ms it yields something, if only a promise said again), because the process that reads it must show that it lives.
    `pipeline.live.source.Live` does all of this for a device of which only `connect` is to be written.
    """

    def look(self) -> None:
        """Before a run: raises SourceError if what it names cannot be there (no such device on this machine, no such library)."""
        ...

    def begin(self, now_ns: Callable[[], int]) -> None:
        """Session time runs, and now_ns tells it. Called once, before events."""
        ...

    def health(self) -> Mapping[str, Health]:
        """By stream name, at any time after begin."""
        ...

    def news(self) -> Sequence[str]:
        """One-line messages for a person, without secrets, since the last call: what was lost, what came back."""
        ...


class Backend(Protocol):
    """Runs the graphs of one model directory. One thread calls it."""

    name: str

    def encode(self, stream: str, batch: NDArray[Any], before: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """batch: (n, *input shape of that stream) -> (n, dim) embeddings. before: (n, dim), only where the encoder carries."""
        ...

    def fuse(self, inputs: Mapping[str, NDArray[np.float32]], presence: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """inputs[stream]: (batch, steps, dim); presence[stream]: (batch, steps) of 0 or 1 -> logits (batch, outputs)."""
        ...


@runtime_checkable
class Bucketed(Protocol):
    """A backend whose batches cost about the same up to `bucket` rows, so that smaller ones may be filled up to it."""

    bucket: int


@runtime_checkable
class Attributing(Protocol):
    """A backend that can also fuse every set of a window's inputs, for less than a batch of them costs."""

    def coalitions(self, inputs: Mapping[str, NDArray[np.float32]], presence: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """As `Backend.fuse` -> logits (batch, 2 ** inputs, outputs): row r has the inputs whose bit, in the model's order, is set in r."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatus:
    """What a person wants to know of one stream; counts are since the start of the run."""

    name: str
    kind: Kind
    state: StreamState
    packets: int = 0
    rate_hz: float = 0.0
    age_ns: int | None = None
    drift_ppm: float | None = None
    late: int = 0
    dropped: Mapping[str, int] | None = None
    quality: Quality | None = None
    uncertainty_ns: int | None = None
    detail: str = ""
    faults: Mapping[str, int] | None = None


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
    recording: str = ""
    """Empty: nothing is recorded. "on", or "stopped: why"."""
    epoch_ns: int | None = None
    """When session time was 0, on the monotonic clock of this machine; None: the run keeps to no clock, or has not begun."""
    speed: float = 1.0
    """Seconds of session time in a second."""
    doors: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Sources that can be sent to: source -> what (offer, text) -> its address on this machine, which wants the token."""


class Sink(Protocol):
    """Takes decisions and status, in order, from one thread. close() flushes and is called exactly once."""

    def decision(self, decision: Decision) -> None: ...

    def status(self, status: Status) -> None: ...

    def close(self) -> None: ...


@runtime_checkable
class Counted(Protocol):
    """A sink that can be asked how it is doing, from any thread, for metrics."""

    def counts(self) -> Mapping[str, int | Mapping[str, int]]:
        """Plain numbers by name (taken, sent, retried, waiting ...); `dropped` holds them by reason.

        Where each decision goes to one place, taken = sent + waiting + what was dropped.
        """
        ...
