"""From an aligned window to the steps a model looks at: which packet stands for which step of which input.

 window      [--------------------------------)        length 1600 ms, 4 steps of 400 ms
 steps       |   0   |   1   |   2   |   3   |
 packets       a    b                    c             (where they start)
 chosen          b      (b)     None     c             (b) only where hold_ms reaches that far

Encoders see packets, not windows: a packet that stands for steps of many windows is encoded once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from operators.errors import ContractError
from operators.packet import Embedding, Frame, Packet, Series
from operators.window import AlignedWindow, Slot, Take


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRule:
    """How the packets of one input become its steps.

    steps    the window is cut into this many equal steps; 1 for every take but `window`
    hold_ns  take window: a packet still stands for a step that starts at most this long after the packet's start
    shape, dtype  of one packet's array as given to the encoder
    carry, dim  whether the encoder also takes the embedding of the packet encoded before, and how long that is
    """

    input: str
    take: Take
    steps: int
    hold_ns: int
    shape: tuple[int, ...]
    dtype: str
    carry: bool = False
    dim: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.hold_ns < 0 or (self.take != "window" and self.steps != 1):
            raise ContractError(f"input {self.input}: steps >= 1 (exactly 1 unless take is window) and hold_ns >= 0 wanted, got {self}")


class HasInputRules(Protocol):
    """What a Tensorizer needs of a model."""

    def input_rules(self) -> Mapping[str, InputRule]: ...


class Tensorizer:
    """Cuts windows into steps; stateless, so a window gives the same steps whenever it is asked."""

    def __init__(self, model: HasInputRules) -> None:
        self._rules = dict(model.input_rules())
        self._edges: dict[tuple[str, int], list[tuple[int, int]]] = {}

    def steps(self, window: AlignedWindow) -> dict[str, list[Packet | None]]:
        """Input -> for each of its steps the packet that stands for it, or None. Inputs in the model's order."""
        return {name: self._input_steps(rule, window) for name, rule in self._rules.items()}

    def _input_steps(self, rule: InputRule, window: AlignedWindow) -> list[Packet | None]:
        slot = window.slots.get(rule.input)
        if slot is None:
            raise ContractError(f"window {window.index} has no slot {rule.input!r}, only {sorted(window.slots)}")
        if not slot.packets:
            return [None] * rule.steps
        if rule.take == "window":
            return _newest_by_step(slot.packets, window.start_ns, self._offsets(rule, window.end_ns - window.start_ns))
        return [_blend(slot, window) if rule.take == "interpolate" else slot.packets[-1]]

    def _offsets(self, rule: InputRule, length_ns: int) -> list[tuple[int, int]]:
        """For each step, relative to the window's start: (starts no earlier than, starts before)."""
        key = (rule.input, length_ns)
        if key not in self._edges:
            edges = [length_ns * step // rule.steps for step in range(rule.steps + 1)]
            self._edges[key] = [(start - rule.hold_ns, end) for start, end in pairwise(edges)]
        return self._edges[key]


def _newest_by_step(packets: Sequence[Packet], start_ns: int, offsets: Sequence[tuple[int, int]]) -> list[Packet | None]:
    """packets in order of start; one pass over packets and steps together."""
    starts = [packet.start_ns - start_ns for packet in packets]
    chosen: list[Packet | None] = []
    following, count = 0, len(starts)
    for floor, end in offsets:
        while following < count and starts[following] < end:
            following += 1
        reaches = following > 0 and starts[following - 1] >= floor
        chosen.append(packets[following - 1] if reaches else None)
    return chosen


def _blend(slot: Slot, window: AlignedWindow) -> Packet:
    """The value at the window's centre. Its seq is negative and names the window: a cache of embeddings never mixes it up."""
    if len(slot.packets) == 1:
        return slot.packets[0]
    from operators.series import interpolate

    before, after = slot.packets
    blended = interpolate(before, after, (window.start_ns + window.end_ns) // 2)
    return replace(blended, seq=-1 - (2 * window.index + window.revision))


def packet_array(packet: Packet) -> NDArray[Any]:
    """The array that the packet's encoder is given: no copy. Raises ContractError for sound and text that no transform has prepared."""
    payload = packet.payload
    if isinstance(payload, Frame | Embedding):
        return payload.data
    if isinstance(payload, Series):
        return payload.values
    raise ContractError(
        f"{packet.stream}: an encoder cannot take a {type(payload).__name__}; the model's transforms must make an Embedding of it"
    )


def step_presence(steps: Sequence[Packet | None]) -> NDArray[np.float32]:
    """(steps,): 1 where a packet stands for the step, else 0."""
    return np.array([packet is not None for packet in steps], dtype=np.float32)
