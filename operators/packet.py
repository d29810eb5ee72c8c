"""The vocabulary: payloads, and the events that flow through every operator.

Time is integer nanoseconds on the session timeline; intervals are half-open, [start, end).
Arrays in payloads are owned by the packet and never written to after it was made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.errors import ContractError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One picture. data: uint8, (height, width, 3) RGB or (height, width) grey."""

    data: NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.data.dtype != np.uint8 or self.data.ndim not in (2, 3) or (self.data.ndim == 3 and self.data.shape[2] != 3):
            raise ContractError(f"Frame wants uint8 (h, w) or (h, w, 3), got {self.data.dtype} {self.data.shape}")

    @property
    def nbytes(self) -> int:
        return self.data.nbytes

    def __repr__(self) -> str:
        return f"Frame{self.data.shape}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AudioBlock:
    """Sound. data: float32, (channels, samples) in [-1, 1]; rate_hz: samples per second."""

    data: NDArray[np.float32]
    rate_hz: int

    def __post_init__(self) -> None:
        if self.data.dtype != np.float32 or self.data.ndim != 2:
            raise ContractError(f"AudioBlock wants float32 (channels, samples), got {self.data.dtype} {self.data.shape}")
        if self.rate_hz <= 0:
            raise ContractError(f"AudioBlock wants rate_hz > 0, got {self.rate_hz}")

    @property
    def nbytes(self) -> int:
        return self.data.nbytes

    def __repr__(self) -> str:
        return f"AudioBlock{self.data.shape}@{self.rate_hz}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSpan:
    """A caption, a chat line, a transcript: Unicode text, any length."""

    text: str

    @property
    def nbytes(self) -> int:
        return len(self.text.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """One reading of a numeric sensor (IMU, vitals). values: float64, (channels,)."""

    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.values.dtype != np.float64 or self.values.ndim != 1:
            raise ContractError(f"Series wants float64 (channels,), got {self.values.dtype} {self.values.shape}")

    @property
    def nbytes(self) -> int:
        return self.values.nbytes

    def __repr__(self) -> str:
        return f"Series{self.values.shape}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embedding:
    """Model input made by a transform (log-mel, tokens) or a vector made by an encoder. data: any numeric array."""

    data: NDArray[Any]

    @property
    def nbytes(self) -> int:
        return int(self.data.nbytes)

    def __repr__(self) -> str:
        return f"Embedding{self.data.shape}:{self.data.dtype}"


Payload = Frame | AudioBlock | TextSpan | Series | Embedding


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """`payload` was true of the world during [start_ns, end_ns); start == end is an instant.

    seq counts the stream's packets as its source made them (a gap in seq is a loss before us).
    A TextSpan with start == end holds until the next one or until its stream's time to live.
    """

    stream: str
    seq: int
    start_ns: int
    end_ns: int
    payload: Payload

    def __post_init__(self) -> None:
        if self.end_ns < self.start_ns:
            raise ContractError(f"Packet {self.stream}#{self.seq} ends before it starts: [{self.start_ns}, {self.end_ns})")

    @property
    def nbytes(self) -> int:
        return self.payload.nbytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """A promise: no later packet of this stream starts before time_ns."""

    stream: str
    time_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The stream ended at time_ns of the session; nothing follows."""

    stream: str
    time_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """It is now_ns. Time enters the core only as an event, so that a recording replays it."""

    now_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """`count` packets of a stream did not go on, for a named reason (snake_case: no_face, overflow, duplicate ...)."""

    stream: str
    reason: str
    count: int = 1
    start_ns: int | None = None


StreamEvent = Packet | Watermark | Closed | Dropped
"""What a source and its transforms yield."""

CoreEvent = Packet | Watermark | Closed | Tick
"""What an aligner takes in."""
