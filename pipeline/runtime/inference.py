"""What one session knows of its packets: each is encoded once, and its embedding serves every window that uses it.

The encoding and fusing itself is done for many sessions together, by `pipeline.runtime.batcher`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from operators.packet import Packet
from operators.tensorize import Tensorizer
from operators.window import AlignedWindow
from pipeline.runtime.graphs import Graphs
from pipeline.runtime.samebits import Vector

Steps = Mapping[str, Sequence[Packet | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inferred:
    """logits: (outputs,), finite. encode_ns, fuse_ns: what it took on the injected clock, in whatever company.

    present, coalitions: where attribution was asked for, the streams that are there and the logits of every set of them, in the last row
    those of the window; attribute_ns: what that took. fuse_ns is next to nothing where that was all that was run.
    """

    logits: Vector
    encode_ns: int
    fuse_ns: int
    present: Sequence[str] = ()
    coalitions: Vector | None = None
    attribute_ns: int = 0


class Inference:
    """A session's cache of embeddings; keep_ns: how far back a later (revised) window may reach.

    attribute: also ask what would have been said without some of the streams, for every set of them.
    """

    def __init__(self, graphs: Graphs, keep_ns: int = 0, *, attribute: bool = False) -> None:
        self.graphs, self.attribute = graphs, attribute
        self.encoded = 0
        self._tensorizer = Tensorizer(graphs)
        self._keep_ns = keep_ns
        self._known: dict[str, dict[tuple[int, int], Vector]] = {name: {} for name in graphs.inputs}
        self._last: dict[str, Vector] = {}

    @property
    def cached(self) -> int:
        """Embeddings held now."""
        return sum(len(known) for known in self._known.values())

    @property
    def cost_ns(self) -> int:
        """What one window takes, as far as a warm-up tells."""
        return self.graphs.costs_ns[self.attribute]

    def steps(self, window: AlignedWindow) -> Steps:
        return self._tensorizer.steps(window)

    def unknown(self, name: str, steps: Steps) -> list[Packet]:
        """The packets that are yet to be encoded, in order."""
        known, new = self._known[name], dict[tuple[int, int], Packet]()
        for packet in steps[name]:
            if packet is not None and (key := (packet.seq, packet.start_ns)) not in known:
                new[key] = packet
        return list(new.values())

    def before(self, name: str) -> Vector:
        """(dim,): what the packet encoded before became, for an encoder that carries; zeros at the start."""
        last = self._last.get(name)
        return np.zeros(self.graphs.inputs[name].dim, np.float32) if last is None else last

    def learn(self, name: str, packet: Packet, vector: Vector) -> None:
        """vector: (dim,) of that packet."""
        self._known[name][_key(packet)] = vector
        if self.graphs.inputs[name].carry:
            self._last[name] = vector
        self.encoded += 1

    def gather(self, steps: Steps) -> tuple[dict[str, Vector], dict[str, Vector]]:
        """inputs[name]: (1, steps, dim), zeros where no packet stands for a step; presence[name]: (1, steps)."""
        inputs, presence = {}, {}
        for name, packets in steps.items():
            known = self._known[name]
            at = [step for step, packet in enumerate(packets) if packet is not None]
            rows = inputs[name] = np.zeros((1, len(packets), self.graphs.dims[name]), np.float32)
            there = presence[name] = np.zeros((1, len(packets)), np.float32)
            if at:
                vectors = [known[packet.seq, packet.start_ns] for packet in packets if packet is not None]
                rows[0, at] = np.concatenate(vectors).reshape(len(at), -1)
                there[0, at] = 1.0
        return inputs, presence

    def forget(self, window: AlignedWindow) -> None:
        """Lets go of what no window after this one can use."""
        # No later window looks further back than this one does, except one that is revised, and that by keep_ns.
        for name, known in self._known.items():
            packets = window.slots[name].packets
            oldest_ns = (packets[0].start_ns if packets else window.start_ns) - self._keep_ns
            # In the order in which they were encoded, which is nearly that of time: one that came late goes a little later.
            while known and (first := next(iter(known)))[1] < oldest_ns:
                del known[first]

    def snapshot(self) -> dict[str, Any]:
        """What cannot be made again: the embeddings of encoders that carry, as plain lists."""
        return {
            name: {
                "known": [[*key, vector.tolist()] for key, vector in self._known[name].items()],
                "last": None if name not in self._last else self._last[name].tolist(),
            }
            for name, rule in self.graphs.inputs.items()
            if rule.carry
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        for name, kept in state.items():
            self._known[name] = {(seq, start_ns): np.array(vector, np.float32) for seq, start_ns, vector in kept["known"]}
            if kept["last"] is not None:
                self._last[name] = np.array(kept["last"], np.float32)


def _key(packet: Packet) -> tuple[int, int]:
    return packet.seq, packet.start_ns
