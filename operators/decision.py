"""The decision: what the model said about a span of the session, with everything needed to believe or doubt it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from operators.window import AlignedWindow


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the model says of [start_ns, end_ns) of the session; successive decisions tile the session.

    The span is one hop long and ends lag_ns before the end of the window it was decided from (the model's look-ahead).
    scores       probability by label, sums to 1
    also         what else the model says of the span: question -> answer (`also` of model.yaml); empty where it is asked nothing else
    presence     stream -> "present" | "partial" (deadline cut it) | "empty" | "closed" | "timeout"
    age_ns       stream -> age of its newest packet at the window's end; None: never heard of
    revision     0, or 1 for a decision corrected by late data; both carry the same window
    latency_ns   stage -> nanoseconds (transport, align, encode, fuse, total ...); "total" runs from the window's end to emission;
                 empty where the run was not paced by a clock
    attribution  stream -> what it did for the label (`operators.attribution`), in logits: above 0 for it, below against it; they sum to how
                 much further the label is ahead of its closest rival than with no stream at all; empty unless asked for
    evidence     hash of what was decided from: every packet's stream, number and start, and why a slot is empty
    id           hash of (session, window, revision, config digest, model digest): a decision is written once
    """

    id: str
    session: str
    window: int
    start_ns: int
    end_ns: int
    label: str
    scores: dict[str, float]
    presence: dict[str, str]
    age_ns: dict[str, int | None]
    revision: int
    model: str
    latency_ns: dict[str, int] = field(default_factory=dict)
    attribution: dict[str, float] = field(default_factory=dict)
    also: dict[str, str] = field(default_factory=dict)
    evidence: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values; owns its containers."""
        # Not dataclasses.asdict, which copies every number of it by way of deepcopy and takes ten times as long.
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: dict(value) if isinstance(value, dict) else value for name, value in values.items()}


def evidence_of(window: AlignedWindow) -> str:
    """16 hex digits that differ when two windows do: index, revision, and of every slot its packets or why there are none."""
    parts: list[object] = [window.index, window.revision, window.start_ns, window.end_ns]
    for name, slot in window.slots.items():
        parts += [name, slot.missing, slot.age_ns, slot.complete]
        for packet in slot.packets:
            parts += [packet.seq, packet.start_ns, packet.end_ns]
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def decision_id(session: str, window: int, revision: int, digest: str) -> str:
    """16 hex digits of SHA-256 over the parts; `digest` covers the config and the model."""
    return hashlib.sha256(f"{session}\0{window}\0{revision}\0{digest}".encode()).hexdigest()[:16]
