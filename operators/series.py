"""Transforms of numeric sensors (IMU, vitals), and the value between two readings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.errors import ContractError
from operators.packet import Dropped, Packet, Series, StreamEvent


def interpolate(before: Packet, after: Packet, time_ns: int) -> Packet:
    """The straight line between two readings at time_ns: a packet like `before`, at the instant time_ns.

    Readings are taken at their start. before.start_ns <= time_ns <= after.start_ns is wanted; at either end the value is that
    reading's own, to the bit. A channel that is NaN in one of them is NaN in between. Raises ContractError for readings of another
    kind or number of channels, and for a time that does not lie between them.
    """
    old, new = _values(before), _values(after)
    if old.shape != new.shape:
        raise ContractError(f"{before.stream}: {old.size} channels at {before.start_ns} but {new.size} at {after.start_ns}")
    if not before.start_ns <= time_ns <= after.start_ns:
        raise ContractError(f"{before.stream}: {time_ns} does not lie between readings at {before.start_ns} and {after.start_ns}")
    return replace(before, start_ns=time_ns, end_ns=time_ns, payload=Series(values=_between(before, after, time_ns)))


def _between(before: Packet, after: Packet, time_ns: int) -> NDArray[np.float64]:
    # At an end the other reading has no say: 0 * NaN would be NaN.
    if time_ns == before.start_ns:
        return _values(before)
    if time_ns == after.start_ns:
        return _values(after)
    share = (time_ns - before.start_ns) / (after.start_ns - before.start_ns)
    between: NDArray[np.float64] = (1 - share) * _values(before) + share * _values(after)
    return between


def _values(packet: Packet) -> NDArray[np.float64]:
    if not isinstance(packet.payload, Series):
        raise ContractError(f"Series wanted, got {packet.payload!r} on {packet.stream}")
    return packet.payload.values


class Select:
    """Series -> Series of some of its channels, in the order given (numbers from 0; one may be named twice)."""

    def __init__(self, *, channels: Sequence[int]) -> None:
        if not channels or min(channels) < 0:
            raise ContractError(f"Select wants one or more channel numbers >= 0, got {list(channels)}")
        self._channels = list(channels)

    def process(self, event: StreamEvent) -> Iterator[StreamEvent]:
        if not isinstance(event, Packet):
            yield event
            return
        values = _values(event)
        if max(self._channels) >= values.size:
            raise ContractError(f"{event.stream} has {values.size} channels, from 0 on, but Select wants number {max(self._channels)}")
        yield replace(event, payload=Series(values=values[self._channels]))

    def snapshot(self) -> Mapping[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        pass


class Finite:
    """Series -> Series without NaN or infinity.

    Each such channel takes its own last finite value, if that is at most hold_ms old; else the packet is Dropped(not_finite).
    `filled` counts the values that were held.
    """

    def __init__(self, *, hold_ms: int = 0) -> None:
        if hold_ms < 0:
            raise ContractError(f"Finite wants hold_ms >= 0, got {hold_ms}")
        self._hold_ns = hold_ms * 1_000_000
        self._last: NDArray[np.float64] = np.zeros(0)
        self._last_ns: list[int | None] = []
        self.filled = 0

    def process(self, event: StreamEvent) -> Iterator[StreamEvent]:
        yield self._packet(event) if isinstance(event, Packet) else event

    def _packet(self, packet: Packet) -> StreamEvent:
        values = _values(packet)
        if values.size != self._last.size:
            self._last, self._last_ns = np.zeros(values.size), [None] * values.size
        finite = np.isfinite(values)
        self._last = np.where(finite, values, self._last)
        self._last_ns = [packet.start_ns if good else at for good, at in zip(finite, self._last_ns, strict=True)]
        if finite.all():
            return packet
        if any(at is None or packet.start_ns - at > self._hold_ns for at in self._last_ns):
            return Dropped(stream=packet.stream, reason="not_finite", start_ns=packet.start_ns)
        self.filled += int((~finite).sum())
        return replace(packet, payload=Series(values=self._last.copy()))

    def snapshot(self) -> Mapping[str, Any]:
        return {"last": self._last.copy(), "last_ns": list(self._last_ns), "filled": self.filled}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._last, self._last_ns = np.array(state["last"], np.float64), list(state["last_ns"])
        self.filled = state["filled"]


class Standardise:
    """Series -> Series: (value - mean) / sd, channel by channel; a single number serves all channels. NaN stays NaN."""

    def __init__(self, *, mean: float | Sequence[float] = 0.0, sd: float | Sequence[float] = 1.0) -> None:
        self._mean, self._sd = np.atleast_1d(np.asarray(mean, np.float64)), np.atleast_1d(np.asarray(sd, np.float64))
        if self._mean.ndim != 1 or self._sd.ndim != 1 or not np.isfinite(self._mean).all() or not (self._sd > 0).all():
            raise ContractError(f"Standardise wants finite mean and sd > 0, each a number or one for every channel, got {mean=} {sd=}")

    def process(self, event: StreamEvent) -> Iterator[StreamEvent]:
        if not isinstance(event, Packet):
            yield event
            return
        values = _values(event)
        for name, figures in (("mean", self._mean), ("sd", self._sd)):
            if figures.size not in (1, values.size):
                raise ContractError(f"Standardise has {figures.size} values of {name}, but {event.stream} has {values.size} channels")
        yield replace(event, payload=Series(values=(values - self._mean) / self._sd))

    def snapshot(self) -> Mapping[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        pass
