"""What a device hands over, from the thread that waits for it to the loop that makes events of it; and what a device is to us."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from operators.errors import SourceError
from operators.packet import Payload
from pipeline.ports import Quality, Wanted

Now = Callable[[], int]
"""Session time, nanoseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """One payload as it came.

    arrival_ns  session time at which we got it, read as early as can be
    device_ns   the device's own stamp of its start, on the device's clock; None: it has none
    at_ns       or its start as the device says it on this machine's monotonic clock, as session time: believed if it is plausible
    length_ns   how long it lasts, where that is known (sound); for a picture None, for an instant 0
    delay_ns    the least time from the end of its capture until it is here, where that is known: taken off the arrival
    quality     of device_ns
    stamp_ns    its stamp as its compressed packet carries it, where there is one
    """

    stream: str
    payload: Payload
    arrival_ns: int
    device_ns: int | None = None
    at_ns: int | None = None
    length_ns: int | None = None
    delay_ns: int = 0
    quality: Quality = "device"
    stamp_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compressed:
    """A packet before it is decoded; what comes of it follows. Only where something is recorded.

    packet    an av.Packet
    template  its stream's codec and parameters, a new object for each connection (`pipeline.media.container.lasting`)
    stamp_ns  its start, by the stamps that it carries; None: it carries none
    lead_ns   how much earlier it is decoded
    """

    stream: str
    packet: Any
    template: Any
    stamp_ns: int | None
    lead_ns: int = 0
    duration_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Something of a stream did not get here: damaged, overflowed. reason: snake_case, as in `operators.packet.Dropped`."""

    stream: str
    reason: str
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """An event in the life of a stream that costs no packet, by name; it is counted."""

    stream: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """details: by stream, the format that was granted."""

    details: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The connection is over. final: the source has said all that it will ever say (the end of stdin), so nothing is tried again."""

    why: str
    final: bool = False


Given = Captured | Compressed | Lost | Happened
Item = Given | Connected | Ended


class AtItsEnd(SourceError):
    """Raised by a Connection where the end is no fault: its streams close."""


class Connection(Protocol):
    """An open device. One thread opens, reads and closes it."""

    @property
    def details(self) -> Mapping[str, str]:
        """By stream, the format that was granted, for people."""
        ...

    def read(self, stop: threading.Event) -> Iterator[Given]:
        """What comes, until `stop` is set, which is looked at as often as the library lets us.

        Returning is a fault (a live stream does not end), and so is SourceError or OSError; AtItsEnd is not.
        """
        ...

    def close(self) -> None: ...


class Connects(Protocol):
    """The part of a live source that touches the device."""

    def connect(self, wanted: Mapping[str, Wanted], now_ns: Now) -> Connection:
        """Opens the device and comes back within some seconds. Raises SourceError."""
        ...
