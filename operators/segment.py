"""Sound cut into blocks on a grid that is anchored at session time 0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from operators.errors import ContractError
from operators.packet import AudioBlock, Closed, Dropped, Packet, StreamEvent, Watermark
from operators.sample_clock import GAP_NS, SECOND_NS, SLACK_NS, samples_in, time_of

FILL_NS = 1_000_000
"""A block that lacks no more than this at one end is filled up with zeros."""


@dataclass(frozen=True, slots=True)
class Block:
    """Block `number` of the grid. data: float32 (channels, samples), or None where it did not come whole, for `reason`."""

    number: int
    rate_hz: int
    data: NDArray[np.float32] | None
    reason: Literal["partial_block", "before_start", "not_finite", ""] = ""


class Grid:
    """Samples with stamps in, whole blocks of the grid out; block k is [k, k + 1) * block_ns.

    Samples are counted, not stamped one by one: where the stamps leave a band of SLACK_NS around the count, samples are
    left out, or the last one is held, to stay inside it. After a gap of more than GAP_NS counting starts afresh.
    """

    def __init__(self, block_ns: int) -> None:
        self._block_ns = block_ns
        self._rate_hz = 0
        self._buffer: NDArray[np.float32] = np.zeros((1, 0), np.float32)
        self._origin = 0
        self._next = 0

    def add(self, start_ns: int, block: AudioBlock) -> tuple[bool, list[Block]]:
        """(False if all of it was known already, the blocks that are settled now)."""
        settled: list[Block] = []
        if self._rate_hz and (block.rate_hz != self._rate_hz or block.data.shape[0] != self._buffer.shape[0] or self.is_gap(start_ns)):
            settled += self.flush()
        if not self._rate_hz:
            self._rate_hz = block.rate_hz
            self._origin = samples_in(start_ns, block.rate_hz)
            self._buffer = np.zeros((block.data.shape[0], 0), np.float32)
        data = self._fitted(start_ns, block.data)
        if not data.shape[1]:
            return block.data.shape[1] == 0, settled
        self._buffer = np.concatenate([self._buffer, data], axis=1)
        return True, settled + list(self._cut())

    def is_gap(self, time_ns: int) -> bool:
        """Does something that starts at time_ns leave a hole?"""
        return bool(self._rate_hz) and time_ns - time_of(self._end, self._rate_hz) > GAP_NS

    def flush(self) -> list[Block]:
        """The stream pauses or ends here: what is left is one last block, or a partial one."""
        settled: list[Block] = []
        if self._rate_hz and self._buffer.shape[1]:
            lacking = self._edge(self._number() + 1) - self._end
            if 0 < lacking <= samples_in(FILL_NS, self._rate_hz):
                self._buffer = np.pad(self._buffer, ((0, 0), (0, lacking)))
            settled += self._cut()
        if self._buffer.shape[1]:
            settled += self._settle(self._number(), None)
        self._rate_hz = 0
        self._buffer = self._buffer[:, :0]
        return settled

    def frontier_ns(self, time_ns: int) -> int:
        """The earliest start of a block still to come, given that no input starts before time_ns."""
        if self._rate_hz:
            time_ns = min(time_ns, self._number() * self._block_ns)
        return max(time_ns // self._block_ns, self._next) * self._block_ns

    @property
    def _end(self) -> int:
        return self._origin + int(self._buffer.shape[1])

    def _edge(self, number: int) -> int:
        return samples_in(number * self._block_ns, self._rate_hz)

    def _number(self) -> int:
        """The block that the first sample of the buffer (or the next one to come) belongs to."""
        # The largest number whose rounded edge is at or before the sample.
        number: int = (self._origin * SECOND_NS + SECOND_NS // 2 - 1) // (self._rate_hz * self._block_ns)
        return number

    def _fitted(self, start_ns: int, data: NDArray[np.float32]) -> NDArray[np.float32]:
        off = samples_in(start_ns, self._rate_hz) - self._end
        slack, gap = samples_in(SLACK_NS, self._rate_hz), samples_in(GAP_NS, self._rate_hz)
        if off < -gap:
            return data[:, -off:]
        if off < -slack:
            return data[:, -off - slack :]
        if off > slack and data.shape[1]:
            return np.concatenate([np.repeat(data[:, :1], off - slack, axis=1), data], axis=1)
        return data

    def _cut(self) -> Iterator[Block]:
        number = self._number()
        while (end := self._edge(number + 1)) <= self._end:
            lacking = self._origin - self._edge(number)
            data = self._buffer[:, : end - self._origin].copy()
            self._buffer = self._buffer[:, end - self._origin :]
            self._origin = end
            whole = lacking <= samples_in(FILL_NS, self._rate_hz)
            yield from self._settle(number, _filled(data, lacking) if whole else None)
            number += 1

    def _settle(self, number: int, data: NDArray[np.float32] | None) -> Iterator[Block]:
        """Each block once: after a gap inside a block its second part has no more to say."""
        if number < 0:
            yield Block(number, self._rate_hz, None, "before_start")
        elif number >= self._next:
            self._next = number + 1
            # NaN stops here: it would spread over everything that is computed from the block and its neighbours.
            finite = data is None or bool(np.isfinite(data).all())
            yield Block(number, self._rate_hz, data if finite else None, _reason(data, finite))

    def snapshot(self) -> dict[str, Any]:
        return {"rate_hz": self._rate_hz, "buffer": self._buffer.copy(), "origin": self._origin, "next": self._next}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._rate_hz, self._origin, self._next = state["rate_hz"], state["origin"], state["next"]
        self._buffer = np.array(state["buffer"], np.float32)


def _filled(data: NDArray[np.float32], lacking: int) -> NDArray[np.float32]:
    """With so many zeros before it."""
    return np.pad(data, ((0, 0), (lacking, 0))) if lacking else data


def _reason(data: NDArray[np.float32] | None, finite: bool) -> Literal["partial_block", "not_finite", ""]:
    if data is None:
        return "partial_block"
    return "" if finite else "not_finite"


def blocks_of(grid: Grid, event: StreamEvent) -> Iterator[Block | StreamEvent]:
    """What one event settles: blocks of the grid, and the events that go on. The order is the order to pass them on in."""
    if isinstance(event, Packet):
        if not isinstance(event.payload, AudioBlock):
            raise ContractError(f"AudioBlock wanted, got {event.payload!r} on {event.stream}")
        fresh, blocks = grid.add(event.start_ns, event.payload)
        yield from blocks
        if not fresh:
            yield Dropped(stream=event.stream, reason="overlap", start_ns=event.start_ns)
    elif isinstance(event, Watermark):
        if grid.is_gap(event.time_ns):
            yield from grid.flush()
        yield Watermark(stream=event.stream, time_ns=grid.frontier_ns(event.time_ns))
    else:
        if isinstance(event, Closed):
            yield from grid.flush()
        yield event


class Segment:
    """AudioBlocks of any length -> AudioBlocks of block_ms on the grid: block k is [k, k + 1) * block_ms, and its seq is k.

    So seq is the same after a restart. A block with a hole is Dropped(partial_block); one that starts before session time 0 is
    Dropped(before_start), one with NaN or infinity Dropped(not_finite); a packet whose samples
    all came before is Dropped(overlap). What leaves here never overlaps.
    """

    def __init__(self, *, block_ms: int = 40) -> None:
        if block_ms < 1:
            raise ContractError(f"Segment wants block_ms >= 1, got {block_ms}")
        self._block_ns = block_ms * 1_000_000
        self._grid = Grid(self._block_ns)

    def process(self, event: StreamEvent) -> Iterator[StreamEvent]:
        for item in blocks_of(self._grid, event):
            yield self._packet(event.stream, item) if isinstance(item, Block) else item

    def _packet(self, stream: str, block: Block) -> StreamEvent:
        start_ns = block.number * self._block_ns
        if block.data is None:
            return Dropped(stream=stream, reason=block.reason, start_ns=start_ns)
        payload = AudioBlock(data=block.data, rate_hz=block.rate_hz)
        return Packet(stream=stream, seq=block.number, start_ns=start_ns, end_ns=start_ns + self._block_ns, payload=payload)

    def snapshot(self) -> Mapping[str, Any]:
        return self._grid.snapshot()

    def restore(self, state: Mapping[str, Any]) -> None:
        self._grid.restore(state)
