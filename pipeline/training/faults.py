"""What networks and devices do to a session: delay, loss, outages. Applied in training so that the model has met them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from operators.packet import Packet, Watermark
from pipeline.training.session import LabelledSession, Timed

DELAY_MS = {"video": (45.0, 0.4), "audio": (15.0, 0.3), "text": (600.0, 0.5)}
"""Median and log-deviation of the time under way, by input; others as audio."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How often, as probabilities for a session (`drop`, `outage`: for a stream of a session).

    without  input -> probability that the session has no such stream at all
    drop     ... that a stream loses packets by chance, up to max_drop of them
    outage   ... that a stream falls silent for 0.4 to 3 s
    """

    without: dict[str, float]
    drop: float = 0.2
    max_drop: float = 0.3
    outage: float = 0.12

    def apply(self, session: LabelledSession, rng: np.random.Generator) -> LabelledSession:
        return replace(session, events={name: self._lossy(session.events[name], rng) for name in self.kept(session, rng)})

    def kept(self, session: LabelledSession, rng: np.random.Generator) -> list[str]:
        """The inputs that this session has: one at least."""
        kept = [name for name in session.events if rng.random() >= self.without.get(name, 0.0)]
        return kept or [list(session.events)[int(rng.integers(len(session.events)))]]

    def _lossy(self, events: Sequence[Timed], rng: np.random.Generator) -> Sequence[Timed]:
        rate = rng.uniform(0.02, self.max_drop) if rng.random() < self.drop else 0.0
        gap = (0, 0)
        if rng.random() < self.outage:
            start_ns = int(rng.uniform(0, max(1, events[-1][0])))
            gap = (start_ns, start_ns + int(rng.uniform(0.4e9, 3e9)))
        if rate == 0.0 and gap == (0, 0):
            return events
        return [timed for timed in events if not (isinstance(timed[1], Packet) and (gap[0] <= timed[0] < gap[1] or rng.random() < rate))]


def delayed(session: LabelledSession, rng: np.random.Generator) -> LabelledSession:
    """The session as it arrives: every event later by a random time, in order within its stream; a promise comes with its packet."""
    return replace(session, events={name: _delayed(events, name, rng) for name, events in session.events.items()})


def _delayed(events: Sequence[Timed], name: str, rng: np.random.Generator) -> list[Timed]:
    median_ms, spread = DELAY_MS.get(name, DELAY_MS["audio"])
    scale = median_ms * rng.uniform(0.5, 1.5)
    late: list[Timed] = []
    arrival_ns, delay_ns = 0, 0
    for due_ns, event in events:
        if not isinstance(event, Watermark) or name == "text":
            delay_ns = int(scale * np.exp(spread * rng.standard_normal()) * 1e6)
        arrival_ns = max(arrival_ns, due_ns + delay_ns)
        late.append((arrival_ns, event))
    return late
