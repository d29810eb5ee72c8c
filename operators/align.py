"""The aligner: events of several streams in, windows out. See docs/time.md for the rules in prose.

Rules
  1  A window is due when the promise (watermark or close) of every stream covers what the window needs of it.
  2  In deadline mode it is due as well when a Tick reaches its end + deadline_ns.
  3  Windows go out in order of index, each once; those that are due together, together.
  4  The session ends at C, the latest close: windows are made while end - hop < C + tail.
  5  Too much at once is skipped and said: deadline mode, the oldest beyond catch_up that one event makes due;
     wait mode, those of a run of windows that nothing touched beyond the first catch_up.
  6  In deadline mode with revise_ns, a window that went out before every promise is kept in mind; when the promises are
     there, or revise_ns after its end, it goes out once more if the packets of a slot have changed.
In wait mode the outputs are a function of what each stream said, not of how the streams' events interleave.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from operators.errors import ContractError
from operators.packet import Closed, CoreEvent, Dropped, Packet, Tick, Watermark
from operators.stream import AlignedStream, StreamCounts
from operators.takes import NEVER
from operators.window import AlignConfig, AlignedWindow, Late, Skipped, Slot

Output = AlignedWindow | Late | Dropped | Skipped


class Aligner:
    """process() takes an event in at once and yields what it brings about; read it to the end before the next event.

    Memory is bounded by the rules' max_bytes and, for revisions, by (revise_ns - deadline_ns) / hop_ns + catch_up windows.
    """

    def __init__(self, config: AlignConfig) -> None:
        self._config = config
        self._streams = {rule.stream: AlignedStream(rule, config) for rule in config.streams}
        self._all = tuple(self._streams.values())
        self._waits = config.mode == "wait"
        self._next = 0
        self._quiet = 0  # windows made since one that something touched; counted in wait mode only
        self._skipped_from: int | None = None  # skipped but not yet said
        self._pending: deque[AlignedWindow] = deque()  # may still be revised
        self._ended = False

    def process(self, event: CoreEvent) -> Iterator[Output]:
        """Raises ContractError, and changes nothing, if the event is of no stream of this aligner."""
        if isinstance(event, Tick):
            return iter(()) if self._waits else self._tick(event.now_ns)
        stream = self._streams.get(event.stream)
        if stream is None:
            raise ContractError(f"{type(event).__name__} of stream {event.stream!r}, but this aligner has {list(self._streams)}")
        if isinstance(event, Packet):
            if event.start_ns >= stream.frontier_ns:
                return iter(stream.admit(event))
            return iter(stream.judge(event, self._open_windows()))
        if isinstance(event, Watermark):
            refused = stream.promise(event.time_ns)
        elif isinstance(event, Closed):
            refused = stream.close(event.time_ns)
        else:
            raise ContractError(f"an aligner takes Packet, Watermark, Closed and Tick, got {type(event).__name__}")
        if refused is not None:
            return iter((refused,))
        return self._work(-NEVER) if stream.covered >= self._floor() else iter(())

    def next_deadline_ns(self) -> int | None:
        """When a Tick would next close a window or end a pending revision; None: no Tick will."""
        if self._waits or self._ended:
            return None
        closes_ns = self._config.window_end_ns(self._next) + self._config.deadline_ns
        return min(closes_ns, self._pending[0].end_ns + self._config.revise_ns) if self._pending else closes_ns

    def buffered_bytes(self) -> int:
        return sum(stream.buffer.bytes for stream in self._all)

    def counts(self) -> dict[str, StreamCounts]:
        """By stream: where its packets are."""
        return {stream.name: stream.counts() for stream in self._all}

    # -- what is due

    def _tick(self, now_ns: int) -> Iterator[Output]:
        deadline_ns = self.next_deadline_ns()
        return iter(()) if deadline_ns is None or now_ns < deadline_ns else self._work(now_ns)

    def _work(self, now_ns: int) -> Iterator[Output]:
        """Everything due by the promises and by now_ns."""
        config = self._config
        promised = min(stream.covered for stream in self._all)
        yield from self._revise(promised, now_ns)
        last = self._last_window()
        due = min(promised, last)
        if not self._waits:
            if promised < NEVER:
                due = max(due, (now_ns - config.deadline_ns - config.length_ns - config.start_ns) // config.hop_ns)
            yield from self._catch_up(due)
        while self._next <= due:
            if self._quiet >= config.catch_up:
                touched = min(due + 1, *(stream.next_touched(self._next) for stream in self._all))
                if touched > self._next:
                    self._skip_to(touched)
                    continue
            yield from self._say_skipped()
            yield self._make()
        if promised == NEVER:
            yield from self._end()

    def _last_window(self) -> int:
        """The last window that surely exists: its end - hop < C + tail, where C is at least what the streams spoke of so far."""
        config = self._config
        until_ns = max(stream.heard_until_ns() for stream in self._all) + config.tail_ns
        return (until_ns + config.hop_ns - config.length_ns - config.start_ns - 1) // config.hop_ns

    def _catch_up(self, due: int) -> Iterator[Output]:
        if due - self._next >= self._config.catch_up:
            self._skip_to(due + 1 - self._config.catch_up)
            yield from self._say_skipped()

    def _skip_to(self, index: int) -> None:
        if self._skipped_from is None:
            self._skipped_from = self._next
        self._advance(index)

    def _say_skipped(self) -> Iterator[Skipped]:
        first = self._skipped_from
        if first is not None:
            self._skipped_from = None
            start_ns, end_ns = self._config.window_start_ns(first), self._config.window_start_ns(self._next)
            yield Skipped(index=first, count=self._next - first, start_ns=start_ns, end_ns=end_ns)

    def _end(self) -> Iterator[Output]:
        yield from self._say_skipped()
        self._ended = True
        for stream in self._all:
            stream.forget_all()

    # -- windows

    def _make(self) -> AlignedWindow:
        index, start_ns = self._next, self._config.window_start_ns(self._next)
        slots = {stream.name: stream.slot(index, start_ns) for stream in self._all}
        window = AlignedWindow(index=index, start_ns=start_ns, end_ns=start_ns + self._config.length_ns, slots=slots)
        if self._waits:
            self._quiet = 0 if any(stream.touches(start_ns) for stream in self._all) else self._quiet + 1
        elif self._config.revise_ns and any(index > stream.covered for stream in self._all):
            self._pending.append(window)
        self._advance(index + 1)
        return window

    def _advance(self, index: int) -> None:
        """Windows before index have gone out."""
        self._next = index
        went_ns = self._config.window_start_ns(index - 1)
        for stream in self._all:
            stream.went_out(went_ns)
        self._forget()

    def _floor(self) -> int:
        """The oldest window that may still go out."""
        return self._pending[0].index if self._pending else self._next

    def _forget(self) -> None:
        floor = self._floor()
        floor_ns = self._config.window_start_ns(floor)
        for stream in self._all:
            stream.forget_before(floor, floor_ns)

    def _open_windows(self) -> Iterator[int]:
        for window in self._pending:
            yield window.start_ns
        yield self._config.window_start_ns(self._next)

    # -- revisions

    def _revise(self, promised: int, now_ns: int) -> Iterator[AlignedWindow]:
        while self._pending and (self._pending[0].index <= promised or self._pending[0].end_ns + self._config.revise_ns <= now_ns):
            first = self._pending[0]
            slots = {stream.name: self._revised(stream, first) for stream in self._all}
            self._pending.popleft()
            self._forget()
            if any(slot.packets != first.slots[name].packets for name, slot in slots.items()):
                yield AlignedWindow(index=first.index, start_ns=first.start_ns, end_ns=first.end_ns, slots=slots, revision=1)

    def _revised(self, stream: AlignedStream, first: AlignedWindow) -> Slot:
        """The slot as it is known now; as it was, if it was complete or an overflow has torn it since."""
        old = first.slots[stream.name]
        return old if old.complete or stream.is_torn(first.start_ns) else stream.slot(first.index, first.start_ns)

    # -- state

    def snapshot(self) -> dict[str, Any]:
        """State as plain values and packets; owns its containers. Take it between two events."""
        return {
            "windows": self._geometry(),
            "next": self._next,
            "quiet": self._quiet,
            "skipped_from": self._skipped_from,
            "ended": self._ended,
            "pending": [window_state(window) for window in self._pending],
            "streams": {stream.name: stream.snapshot() for stream in self._all},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Raises ContractError, and changes nothing, if the snapshot is of other windows or other streams."""
        if state["windows"] != self._geometry():
            raise ContractError(f"a snapshot of {state['windows']} does not fit an aligner of {self._geometry()}")
        self._next, self._quiet, self._skipped_from = state["next"], state["quiet"], state["skipped_from"]
        self._ended = state["ended"]
        self._pending = deque(window_of(window) for window in state["pending"])
        for stream in self._all:
            stream.restore(state["streams"][stream.name])

    def _geometry(self) -> dict[str, Any]:
        config = self._config
        takes = {rule.stream: rule.take for rule in config.streams}
        return {"length_ns": config.length_ns, "hop_ns": config.hop_ns, "start_ns": config.start_ns, "streams": takes}


def window_state(window: AlignedWindow) -> dict[str, Any]:
    """As plain values and packets."""
    state = {"index": window.index, "start_ns": window.start_ns, "end_ns": window.end_ns, "revision": window.revision}
    slots = {}
    for name, slot in window.slots.items():
        slots[name] = {"packets": list(slot.packets), "missing": slot.missing, "age_ns": slot.age_ns, "complete": slot.complete}
    return {**state, "slots": slots}


def window_of(state: Mapping[str, Any]) -> AlignedWindow:
    slots = {name: Slot(**{**slot, "packets": tuple(slot["packets"])}) for name, slot in state["slots"].items()}
    return AlignedWindow(
        index=state["index"], start_ns=state["start_ns"], end_ns=state["end_ns"], slots=slots, revision=state.get("revision", 0)
    )
