"""Two logs of decisions beside each other: what `replay --verify` and `replay --model` say.

Everything counts but latency_ns, which is measured, and, between models, what names them.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from operators.decision import Decision

MEASURED = ("latency_ns",)


def essence(decision: Decision) -> dict[str, Any]:
    """What must be equal in a replay."""
    return {name: value for name, value in decision.to_json().items() if name not in MEASURED}


class Digest:
    """SHA-256 over decisions in order: of the windows that they were made from, and of all that they say."""

    def __init__(self) -> None:
        self._windows, self._decisions = hashlib.sha256(), hashlib.sha256()
        self.count = 0

    def add(self, decision: Decision) -> None:
        self.count += 1
        self._windows.update(f"{decision.window} {decision.revision} {decision.evidence}\n".encode())
        self._decisions.update(json.dumps(essence(decision), sort_keys=True).encode())

    @property
    def windows(self) -> str:
        return self._windows.hexdigest()[:16]

    @property
    def decisions(self) -> str:
        return self._decisions.hexdigest()[:16]


@dataclass(slots=True)
class Comparison:
    """compared: in both; equal: of these. missing: recorded, not replayed; extra: replayed, not recorded.

    first: the first difference, as a line for a person.
    """

    compared: int = 0
    equal: int = 0
    missing: list[Decision] = field(default_factory=list)
    extra: list[Decision] = field(default_factory=list)
    first: str | None = None
    labels: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def identical(self) -> bool:
        return self.equal == self.compared and not self.missing and not self.extra


def compare(recorded: Iterable[Decision], replayed: Iterable[Decision], *, across_models: bool = False) -> Comparison:
    """across_models: only labels and scores are compared."""
    ours = {(decision.window, decision.revision): decision for decision in recorded}
    theirs = {(decision.window, decision.revision): decision for decision in replayed}
    made = Comparison()
    for key in sorted(ours.keys() | theirs.keys()):
        old, new = ours.get(key), theirs.get(key)
        if old is None or new is None:
            if old is not None:
                made.missing.append(old)
            elif new is not None:
                made.extra.append(new)
            continue
        made.compared += 1
        made.labels[old.label, new.label] += 1
        difference = _difference(old, new, across_models)
        if difference is None:
            made.equal += 1
        elif made.first is None:
            made.first = f"window {key[0]}{' (revised)' if key[1] else ''}, [{old.start_ns} ns, {old.end_ns} ns): {difference}"
    return made


def _difference(old: Decision, new: Decision, across_models: bool) -> str | None:
    before, after = essence(old), essence(new)
    for name in ("label", "scores") if across_models else before:
        if before[name] != after[name]:
            return f"{name} was {_short(before[name])}, is {_short(after[name])}"
    return None


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:99]}…"
