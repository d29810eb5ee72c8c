"""What a window of the fault script must hold, by brute force from the script alone: no aligner, no index, no state.

A window closes at the first moment at which every stream has promised its whole length, or at its deadline. It must
then hold exactly the packets that belong to it and had arrived by then; what is missing must be missing for the right reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.fault_script import FaultScript
from operators.packet import Packet
from operators.window import AlignConfig

SlotTruth = tuple[tuple[int, ...], str | None, bool]
"""(seqs in order, why they are missing, complete)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowTruth:
    index: int
    emitted_ns: int
    slots: dict[str, SlotTruth]


@dataclass(frozen=True, slots=True)
class _Stream:
    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    seq: NDArray[np.int64]
    place: NDArray[np.int64]  # in the order of arrival
    promised_ns: NDArray[np.int64]
    promised_place: NDArray[np.int64]


def windows_of(script: FaultScript, config: AlignConfig) -> int:
    """How many windows end within the script."""
    return (script.seconds * 1_000_000_000 - config.start_ns - config.length_ns) // config.hop_ns + 1


def window_truths(script: FaultScript, config: AlignConfig) -> Iterator[WindowTruth]:
    """For takes window and state, deadline mode."""
    arrival_ns = np.array([arrival.arrival_ns for arrival in script.arrivals])
    streams = {rule.stream: _columns(script, rule.stream) for rule in config.streams}
    for index in range(windows_of(script, config)):
        end_ns = config.window_end_ns(index)
        promised = max(_first(stream.promised_place[stream.promised_ns >= end_ns]) for stream in streams.values())
        due = int(np.count_nonzero(arrival_ns <= end_ns + config.deadline_ns))  # events before place `due` come before the tick
        in_time = promised < due
        seen, emitted_ns = (promised, int(arrival_ns[promised])) if in_time else (due - 1, end_ns + config.deadline_ns)
        slots = {
            rule.stream: _slot(streams[rule.stream], rule.take, rule.ttl_ns, end_ns - config.length_ns, end_ns, seen)
            for rule in config.streams
        }
        yield WindowTruth(index=index, emitted_ns=emitted_ns, slots=slots)


def _columns(script: FaultScript, name: str) -> _Stream:
    packets, promises = [], []
    for place, arrival in enumerate(script.arrivals):
        event = arrival.event
        if event.stream == name:
            if isinstance(event, Packet):
                packets.append((event.start_ns, event.end_ns, event.seq, place))
            else:
                promises.append((event.time_ns, place))
    return _Stream(*np.array(packets, np.int64).T, *np.array(promises, np.int64).T)


def _first(places: NDArray[np.int64]) -> int:
    return int(places.min()) if len(places) else 1 << 62


def _slot(stream: _Stream, take: str, ttl_ns: int | None, start_ns: int, end_ns: int, seen: int) -> SlotTruth:
    arrived = stream.place <= seen
    if take == "window":
        chosen = stream.seq[arrived & (stream.start_ns < end_ns) & (stream.end_ns > start_ns)]
    else:
        began = np.flatnonzero(arrived & (stream.start_ns < end_ns))[-1:]
        chosen = stream.seq[[i for i in began if ttl_ns is None or stream.start_ns[i] + ttl_ns > end_ns - 1]]
    complete = bool((stream.promised_ns[stream.promised_place <= seen] >= end_ns).any())
    missing = None if len(chosen) else ("empty" if complete else "timeout")
    return tuple(int(seq) for seq in chosen), missing, complete
