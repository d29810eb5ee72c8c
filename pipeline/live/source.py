"""A live source of which only the device is to be written."""

from __future__ import annotations

import random
from collections.abc import Generator, Mapping, Sequence
from functools import partial

from operators.clockmap import ClockRules
from operators.errors import ContractError
from operators.stamps import SourceClock
from pipeline.live.capture import ThreadCapture
from pipeline.live.captured import Connection, Now
from pipeline.live.feed import Feed, Timed
from pipeline.live.link import LinkPolicy
from pipeline.live.placement import Placement
from pipeline.live.stream import LiveStream, StreamRules
from pipeline.mask import mask
from pipeline.media.container import first_seq
from pipeline.ports import Health, MediaTap, StreamSpec, Wanted

CLOSE_S = 1.0


class Live:
    """Implements `pipeline.ports.LiveSource`. A subclass stores its options, gives `label` and `streams` to __init__, and has `connect`.

    One that has compressed packets to give (`Compressed` items) sets `media_tap`, in a `tap` of its own (`pipeline.ports.Tapped`).

    label      what messages call it ("camera 0"); secrets in it are masked
    streams    by name, what it offers
    exclusive  the device cannot be opened twice: if it hangs, its process is replaced; False (network): the connection is left to time out
    policy     when a connection counts as dead, and the pauses between attempts
    clock      how to read the device's clock, where the defaults do not fit
    wrap_ns    period of the device's time stamps, where the library does not unwrap them
    """

    live = True

    def __init__(
        self,
        label: str,
        streams: Mapping[str, StreamRules],
        *,
        exclusive: bool = True,
        policy: LinkPolicy | None = None,
        clock: ClockRules | None = None,
        wrap_ns: int | None = None,
    ) -> None:
        self.label = mask(label)
        self._rules, self._exclusive, self._policy = dict(streams), exclusive, policy or LinkPolicy()
        self._make_clock = partial(SourceClock, clock, wrap_ns=wrap_ns)
        self._wanted: dict[str, Wanted] = {name: Wanted() for name in self._rules}
        self.media_tap: MediaTap | None = None
        self._now_ns: Now | None = None
        self._feed: Feed | None = None
        self._capture: ThreadCapture | None = None
        self._running: Generator[Timed, None, None] | None = None

    def connect(self, wanted: Mapping[str, Wanted], now_ns: Now) -> Connection:
        """Opens the device and comes back within some seconds; called in a thread of its own, as often as needed. Raises SourceError."""
        raise NotImplementedError

    def look(self) -> None:
        """Raises SourceError if what it names cannot be there. Here: nothing is known before it is tried."""

    def open(self, wanted: Mapping[str, Wanted]) -> Sequence[StreamSpec]:
        """A nonempty `wanted` names the streams to read."""
        self.close()
        self._wanted = {name: wanted.get(name, Wanted()) for name in self._rules if not wanted or name in wanted}
        return [self._rules[name].spec(name) for name in self._wanted]

    def begin(self, now_ns: Now) -> None:
        self._now_ns = now_ns

    def events(self, from_ns: int = 0) -> Generator[Timed, None, None]:
        if self._now_ns is None:
            raise ContractError(f"{self.label}: begin comes before events")
        self.close()
        seq = first_seq(max(from_ns, self._now_ns() if from_ns else 0))
        streams = {
            name: LiveStream(
                name,
                self._rules[name],
                seq=seq,
                from_ns=from_ns,
                placement=self._placement(name),
            )
            for name in self._wanted
        }
        self._capture = ThreadCapture(self, self._wanted, self._now_ns, exclusive=self._exclusive)
        rng = random.Random()  # noqa: S311 - the jitter of pauses
        self._feed = Feed(self.label, streams, self._capture, self._policy, self._now_ns, rng, self._make_clock)
        self._running = self._feed.events()
        return self._running

    def _placement(self, name: str) -> Placement | None:
        return None if self.media_tap is None else Placement(name, self.media_tap, gaps=self._rules[name].kind == "audio")

    def end_ns(self) -> int | None:
        return None

    def stop(self) -> None:
        """The streams close, as if the device were at its end."""
        if self._feed is not None:
            self._feed.stop()

    def close(self) -> None:
        """Also ends the iterator that events() gave. Waits for the device at most CLOSE_S."""
        if self._running is not None:
            self._running.close()
            self._running = None
        if self._capture is not None:
            self._capture.close(CLOSE_S)
            self._capture = None

    def health(self) -> Mapping[str, Health]:
        return {} if self._feed is None else self._feed.health()

    def news(self) -> Sequence[str]:
        return [] if self._feed is None else self._feed.news()
