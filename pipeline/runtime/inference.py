"""From an aligned window to logits: each packet is encoded once, and its embedding serves every window that uses it.

Decisions are made in batches of exactly one, so a result never depends on what else happened to arrive with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from operators.attribution import coalitions
from operators.errors import BackendError
from operators.packet import Packet
from operators.tensorize import InputRule, Tensorizer, packet_array
from operators.window import AlignedWindow
from pipeline.clock import Clock
from pipeline.ports import Backend

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inferred:
    """logits: (outputs,), finite. encode_ns, fuse_ns: what it took on the injected clock.

    present, coalitions: where attribution was asked for, the streams that are there and the logits of every set of them
    """

    logits: Vector
    encode_ns: int
    fuse_ns: int
    present: Sequence[str] = ()
    coalitions: Vector | None = None
    attribute_ns: int = 0


class HasInputs(Protocol):
    """What inference needs to know of a model."""

    def input_rules(self) -> Mapping[str, InputRule]: ...


class Inference:
    """The backend and its cache of embeddings; keep_ns: how far back a later (revised) window may reach.

    attribute: also ask what would have been said without some of the streams, for every set of them, in one more batch.
    """

    def __init__(self, model: HasInputs, backend: Backend, clock: Clock, keep_ns: int = 0, *, attribute: bool = False) -> None:
        self._attribute = attribute
        self._backend = backend
        self._rules = dict(model.input_rules())
        self._tensorizer = Tensorizer(model)
        self._clock = clock
        self._keep_ns = keep_ns
        self._known: dict[str, dict[tuple[int, int], Vector]] = {name: {} for name in self._rules}
        self._dims: dict[str, int] = {}
        self._last: dict[str, Vector] = {}
        self.encoded = 0

    def __call__(self, window: AlignedWindow) -> Inferred:
        """Raises BackendError, also for logits that are not finite."""
        begun_ns = self._clock.now_ns()
        inputs, presence = self._gather(window)
        encoded_ns = self._clock.now_ns()
        logits = self._backend.fuse(inputs, presence)[0]
        if not np.isfinite(logits).all():
            raise BackendError(f"window {window.index}: the model gave {logits.tolist()}; scores must be finite")
        self._forget(window)
        fused_ns = self._clock.now_ns()
        inferred = Inferred(logits=logits, encode_ns=encoded_ns - begun_ns, fuse_ns=fused_ns - encoded_ns)
        if not self._attribute:
            return inferred
        names, rows = self._coalitions(inputs, presence)
        return replace(inferred, present=names, coalitions=rows, attribute_ns=self._clock.now_ns() - fused_ns)

    def _coalitions(self, inputs: dict[str, Vector], presence: dict[str, Vector]) -> tuple[list[str], Vector]:
        names, subsets = coalitions(presence)
        count = len(next(iter(subsets.values())))
        rows = self._backend.fuse({name: np.repeat(array, count, axis=0) for name, array in inputs.items()}, subsets)
        if not np.isfinite(rows).all():
            raise BackendError("the model's scores without some of the streams are not finite")
        return names, rows

    @property
    def cached(self) -> int:
        """Embeddings held now."""
        return sum(len(known) for known in self._known.values())

    def warm_up(self) -> int:
        """Runs everything on zeros, so that the first window is not the slow one; gives the clock's nanoseconds of a window's worth."""
        took_ns = 0
        for _ in range(2):
            begun_ns = self._clock.now_ns()
            blank = {name: np.zeros((1, *rule.shape), dtype=rule.dtype) for name, rule in self._rules.items()}
            self._dims = {name: self._encode(name, array).shape[1] for name, array in blank.items()}
            inputs, presence = self._blank()
            self._backend.fuse(inputs, presence)
            if self._attribute:
                self._coalitions(inputs, {name: np.ones_like(there) for name, there in presence.items()})
            took_ns = self._clock.now_ns() - begun_ns
        return took_ns

    def _blank(self) -> tuple[dict[str, Vector], dict[str, Vector]]:
        if not self._dims:
            self.warm_up()
        inputs = {name: np.zeros((1, rule.steps, self._dims[name]), dtype=np.float32) for name, rule in self._rules.items()}
        return inputs, {name: np.zeros((1, rule.steps), dtype=np.float32) for name, rule in self._rules.items()}

    def _gather(self, window: AlignedWindow) -> tuple[dict[str, Vector], dict[str, Vector]]:
        """inputs[name]: (1, steps, dim), zeros where no packet stands for a step; presence[name]: (1, steps)."""
        inputs, presence = self._blank()
        for name, packets in self._tensorizer.steps(window).items():
            for step, packet in enumerate(packets):
                if packet is not None:
                    inputs[name][0, step] = self._embedding(name, packet)
                    presence[name][0, step] = 1.0
        return inputs, presence

    def _embedding(self, name: str, packet: Packet) -> Vector:
        key = (packet.seq, packet.start_ns)
        known = self._known[name]
        if key not in known:
            known[key] = self._encode(name, packet_array(packet)[None])[0]
            if self._rules[name].carry:
                self._last[name] = known[key]
            self.encoded += 1
        return known[key]

    def _encode(self, name: str, array: NDArray[Any]) -> Vector:
        """array: (1, *shape). An encoder that carries also gets what the packet encoded before it became, zeros at the start."""
        rule = self._rules[name]
        if not rule.carry:
            return self._backend.encode(name, array)
        last = self._last.get(name)
        return self._backend.encode(name, array, np.zeros((1, rule.dim), np.float32) if last is None else last[None])

    def snapshot(self) -> dict[str, Any]:
        """What cannot be made again: the embeddings of encoders that carry, as plain lists."""
        return {
            name: {
                "known": [[*key, vector.tolist()] for key, vector in self._known[name].items()],
                "last": None if name not in self._last else self._last[name].tolist(),
            }
            for name, rule in self._rules.items()
            if rule.carry
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        for name, kept in state.items():
            self._known[name] = {(seq, start_ns): np.array(vector, np.float32) for seq, start_ns, vector in kept["known"]}
            if kept["last"] is not None:
                self._last[name] = np.array(kept["last"], np.float32)

    def _forget(self, window: AlignedWindow) -> None:
        # No later window looks further back than this one does, except one that is revised, and that by keep_ns.
        for name, known in self._known.items():
            packets = window.slots[name].packets
            oldest_ns = min((packet.start_ns for packet in packets), default=window.start_ns) - self._keep_ns
            for key in [key for key in known if key[1] < oldest_ns]:
                del known[key]
