"""What the sinks that send have in common: they hand everything to a courier."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from operators.decision import Decision
from pipeline.outgoing.courier import Carrier, Courier
from pipeline.ports import Status

QUEUE = 10_000
"""A quarter of an hour at 12.5 decisions a second; about 10 MB."""
CLOSE_S = 5.0


class Sending:
    """A sink whose decisions are carried out by a thread of its own; see `pipeline.outgoing.courier`."""

    def __init__(self, name: str, carrier: Carrier, *, queue: int, spool: Path | None, close_s: float) -> None:
        self._courier = Courier(name, carrier, most=queue, spool=spool, close_s=close_s)

    def decision(self, decision: Decision) -> None:
        self._courier.decision(decision)

    def status(self, status: Status) -> None:
        self._courier.status(status)

    def counts(self) -> Mapping[str, int | Mapping[str, int]]:
        """taken, sent, retried, waiting; dropped by reason."""
        return self._courier.counts()

    def close(self) -> None:
        self._courier.close()
